"""Real servers for the tests: a process each, on free ports, with data of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tensorhold

ROOT = Path(__file__).resolve().parents[3]
LAUNCH = """
here={root}
. "$here/deploy/bin/jdk.sh"
. "$here/deploy/bin/run.sh"
tensorhold_run "$here/client/cli/target/classes:$here/client/cli/target/lib/*" "$@"
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """One server process; killed and started again it goes on with its data."""

    def __init__(self) -> None:
        # In memory where that is there: hundreds of steps wait for an fsync each.
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.address = f"127.0.0.1:{free_port()}"
        self._raft = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            ["bash", "-c", LAUNCH.format(root=ROOT), "tensorhold", "server",
             "--data-dir", str(self.folder / "data"), "--listen", self.address,
             "--raft.listen", self._raft, "--shards", "4", "--disk.reserve", "1MiB",
             "--memory.budget", "512MiB"],
            stdout=log, stderr=log,
        )  # fmt: skip
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                break
            try:
                tensorhold.connect(self.address, deadline=1).close()
            except tensorhold.UnavailableError:
                continue
            return self
        raise RuntimeError(f"no server: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    yield from _running()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may kill."""
    yield from _running()


def _running() -> Iterator[Server]:
    one = Server()
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[tensorhold.Client]:
    with tensorhold.connect(server.address, deadline=20) as connected:
        yield connected


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own."""
    return str(request.node.name)
