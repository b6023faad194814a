"""Hosts on one Linux machine: network namespaces behind a switch of our own, whose wires can be bad.

The switch is a thread that forwards Ethernet frames between TAP devices. It can cut a host off, and delay, drop and
reorder its frames, from a seeded generator: what `tc netem` does, on kernels that do not have it. Needs root.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import signal
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000
FRAME_BYTES = 65536
MTU = 9000
NETWORK = "10.77.1"


def ip(*words: str) -> None:
    """Runs iproute2; its error is ours."""
    subprocess.run(["ip", *words], check=True)


@dataclass(frozen=True)
class Wire:
    """How bad a host's wire is: seconds of delay and jitter, shares (0 to 1) of frames lost and sent ahead of others."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    cut: bool = False


GOOD = Wire()


class Switch(threading.Thread):
    """Forwards frames between the hosts' TAP devices."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="switch", daemon=True)
        self.random = random.Random(seed)
        self.ports: dict[int, str] = {}
        self.wires: dict[str, Wire] = {}
        self.known: dict[bytes, int] = {}
        self.later: list[tuple[float, int, int, bytes]] = []
        self.count = 0
        self.ended = False

    def add(self, host: str, fd: int) -> None:
        """Connects a host before the switch starts."""
        os.set_blocking(fd, False)
        self.ports[fd] = host
        self.wires[host] = GOOD

    def run(self) -> None:
        poll = select.epoll()
        for fd in self.ports:
            poll.register(fd, select.EPOLLIN)
        while not self.ended:
            wait = 0.1 if not self.later else max(0.0, min(0.1, self.later[0][0] - time.monotonic()))
            for fd, _ in poll.poll(wait):
                self.read(fd)
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, port, frame = heapq.heappop(self.later)
                self.write(port, frame)

    def read(self, fd: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(fd, FRAME_BYTES)
            except BlockingIOError:
                return
            target, source = frame[:6], frame[6:12]
            self.known[source] = fd
            port = self.known.get(target)
            for to in [port] if port is not None else [p for p in self.ports if p != fd]:
                self.forward(fd, to, frame)

    def forward(self, source: int, target: int, frame: bytes) -> None:
        delay = 0.0
        for wire in (self.wires[self.ports[source]], self.wires[self.ports[target]]):
            if wire.cut or (wire.loss and self.random.random() < wire.loss):
                return
            if wire.delay and not (wire.reorder and self.random.random() < wire.reorder):
                delay += wire.delay + wire.jitter * self.random.random()
        if delay == 0.0:
            self.write(target, frame)
        else:
            self.count += 1
            heapq.heappush(self.later, (time.monotonic() + delay, self.count, target, frame))

    @staticmethod
    def write(port: int, frame: bytes) -> None:
        try:
            os.write(port, frame)
        except OSError:
            pass  # a full queue drops frames, as real switches do


class Hosts:
    """Some hosts, 10.77.1.1 and up, each with a disk of its own (tmpfs); all gone when closed."""

    def __init__(self, names: list[str], directory: Path, disk_bytes: int, seed: int) -> None:
        self.names = names
        self.directory = directory
        self.switch = Switch(seed)
        self.processes: list[subprocess.Popen[bytes]] = []
        for number, name in enumerate(names, start=1):
            ip("netns", "add", self.namespace(name))
            tap = self.tap(f"thf{number}")
            ip("link", "set", f"thf{number}", "netns", self.namespace(name))
            inside = ["-n", self.namespace(name)]
            ip(*inside, "link", "set", f"thf{number}", "name", "eth0")
            ip(*inside, "link", "set", "eth0", "mtu", str(MTU), "up")
            ip(*inside, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            ip(*inside, "link", "set", "lo", "up")
            self.switch.add(name, tap)
            self.disk(name).mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={disk_bytes}", "none", str(self.disk(name))], check=True
            )
        self.switch.start()

    @staticmethod
    def tap(device: str) -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP_NO_PI))
        return fd

    @staticmethod
    def namespace(name: str) -> str:
        return f"tensorhold-{name}"

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.names.index(name) + 1}"

    def disk(self, name: str) -> Path:
        return self.directory / name

    def wire(self, name: str, wire: Wire) -> None:
        """Makes a host's wire as bad as it says; GOOD mends it."""
        self.switch.wires[name] = wire

    def start(self, name: str, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        """Starts a process on a host; it dies with this one."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(name), *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,
            )
        self.processes.append(process)
        return process

    def run(self, name: str, command: list[str], timeout: float) -> "subprocess.CompletedProcess[str]":
        """Runs a command on a host to its end."""
        return subprocess.run(
            ["ip", "netns", "exec", self.namespace(name), *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def kill(self) -> None:
        """Ends every process."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def keep_disks(self) -> None:
        """Copies what is on the disks beside them, for somebody who wants to know why."""
        for name in self.names:
            subprocess.run(["cp", "-a", str(self.disk(name)), f"{self.disk(name)}-data"], check=False)

    def close(self) -> None:
        """Ends what is left, and takes the hosts and their disks away."""
        self.kill()
        self.switch.ended = True
        self.switch.join()
        for name in self.names:
            subprocess.run(["umount", str(self.disk(name))], check=False)
            subprocess.run(["ip", "netns", "del", self.namespace(name)], check=False)


def die_with_parent() -> None:
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)
