"""The package as it is installed: a wheel with the protocol's classes, and a check of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

import stubs  # noqa: E402


def test_the_wheel_has_all_it_needs(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=HERE,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    installed = tmp_path / "installed"
    assert (installed / "tensorhold" / "py.typed").is_file()
    generated = {path.stem for path in (installed / "tensorhold" / "v1").glob("*_pb2.py")}
    assert generated == {path.stem + "_pb2" for path in stubs.proto_root().rglob("*.proto")}
    imported = subprocess.run(
        [sys.executable, "-c", "import tensorhold.torch; print(tensorhold.__file__)"],
        env={"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert imported.stdout.startswith(str(installed))


def test_classes_that_differ_from_proto_are_named(tmp_path):
    stubs.generate(tmp_path)
    written = tmp_path / "tensorhold" / "v1"
    assert stubs.differing(written) == []
    (written / "data_pb2.py").write_text("# of another day\n")
    (written / "rows_pb2.pyi").unlink()
    shutil.copy(written / "types_pb2.py", written / "gone_pb2.py")
    assert stubs.differing(written) == ["data_pb2.py", "gone_pb2.py", "rows_pb2.pyi"]
