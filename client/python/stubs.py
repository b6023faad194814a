"""Generates the protocol's Python classes, `tensorhold.v1`, from proto/; run it to check them.

python stubs.py          generate
python stubs.py --check  exit with 1 if what is there differs from what proto/ gives
"""

from __future__ import annotations

import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

HERE = Path(__file__).resolve().parent


def proto_root() -> Path:
    """Where the .proto files lie: in the source tree, or beside this file in a source package."""
    packed = HERE / "proto"
    return packed if packed.is_dir() else HERE.parent.parent / "proto" / "src" / "main" / "proto"


def generate(target: Path) -> list[Path]:
    """Writes `tensorhold/v1/*_pb2.py` and their .pyi below a folder; gives what it wrote."""
    import google.rpc
    from grpc_tools import protoc

    root = proto_root()
    sources = sorted(root.glob("tensorhold/v1/*.proto"))
    if not sources:
        raise FileNotFoundError(f"no .proto files below {root}")
    common = Path(next(iter(google.rpc.__path__))).parent.parent
    arguments = [
        "protoc",
        f"-I{root}",
        f"-I{common}",
        f"-I{resources.files('grpc_tools') / '_proto'}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        *map(str, sources),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed: see its messages above")
    folder = target / "tensorhold" / "v1"
    (folder / "__init__.py").write_text('"""The protocol\'s messages, generated from proto/."""\n')
    return sorted(folder.iterdir())


def differing(written: Path) -> list[str]:
    """Names of generated files that are missing, differ or should not be there."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = {path.name: path for path in generate(Path(scratch)) if path.is_file()}
        there = {path.name for path in written.glob("*.py*")}
        return sorted(
            name
            for name in there | fresh.keys()
            if name not in there
            or name not in fresh
            or not filecmp.cmp(fresh[name], written / name, shallow=False)
        )


def main() -> int:
    if "--check" not in sys.argv:
        generate(HERE / "src")
        return 0
    wrong = differing(HERE / "src" / "tensorhold" / "v1")
    if wrong:
        print(f"stubs.py: not what proto/ gives: {', '.join(wrong)}; run stubs.py", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
