"""The examples run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]


def run(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(HERE / "src")}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("launcher", [(), ("-m", "torch.distributed.run", "--nproc-per-node=2")])
def test_the_textbooks_loop_learns_digits(own_server, launcher):
    example = str(HERE / "examples" / "textbook.py")
    printed = run(*launcher, example, own_server.address, "2", "6")
    sizes = re.findall(r"digits(-q8)?: ([\d,]+) bytes, (0\.\d+)", printed)
    assert [one[0] for one in sizes] == ["", "-q8"]
    assert int(sizes[1][1].replace(",", "")) < 0.3 * int(sizes[0][1].replace(",", ""))
    assert all(float(one[2]) > 0.8 for one in sizes)


def test_the_readme_prints_the_textbooks_loop():
    code = (HERE / "examples" / "textbook.py").read_text()
    assert f"```python\n{code}```" in (HERE / "README.md").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 42


def test_the_readmes_example_runs(own_server):
    text = (HERE / "README.md").read_text()
    (example,) = re.findall(r"```python\n(# ten lines\n.*?)```", text, re.DOTALL)
    lines = [line for line in example.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 10
    printed = run("-c", example.replace("127.0.0.1:7070", own_server.address))
    assert "Model net: 2 parameters" in printed
