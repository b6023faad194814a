"""The socket transport against peers that do not keep to the protocol."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import tensorhold
from tensorhold._call import PullCall
from tensorhold._http2 import Connection, Pool
from tensorhold._layout import shards_of
from tensorhold._pull import Plain
from tensorhold._transport import frame_prefix, split, varint
from tensorhold.v1 import data_pb2


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


@pytest.fixture
def peer() -> Iterator[Callable[[bytes], str]]:
    """Listens, and answers whoever connects with the bytes given, then closes."""
    listeners = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(answer)
                accepted.shutdown(socket.SHUT_WR)
                while accepted.recv(65536):
                    pass

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def outcome(address: str) -> tensorhold.TensorholdError:
    class Nowhere:
        def place(self, header: data_pb2.PullHeader) -> list[memoryview]:
            return [memoryview(bytearray(block.payload_bytes)) for block in header.blocks]

        def placed(self, header: data_pb2.PullHeader) -> None:
            pass

    async def call() -> None:
        one = PullCall(Pool(), address, Nowhere(), 5, 5)
        await one.write(Plain(data_pb2.PullRequest(model_id=1)))
        await one.done_writing()
        async for _ in one.headers():
            pass

    with pytest.raises(tensorhold.TensorholdError) as failed:
        asyncio.run(asyncio.wait_for(call(), 20))
    return failed.value


def message(header: data_pb2.PullHeader, payload: bytes, size: int | None = None) -> bytes:
    body = frame_prefix(header, len(payload)) + payload
    return struct.pack(">BI", 0, len(body) if size is None else size) + body


ONE_BLOCK = data_pb2.PullHeader(blocks=[data_pb2.BlockHeader(payload_bytes=8)])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "UNAVAILABLE"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100, "UNAVAILABLE"),
        (frame(4, 0, 0), "UNAVAILABLE"),
        (frame(7, 0, 0, bytes(8)), "UNAVAILABLE"),
        (frame(3, 0, 1, bytes(4)), "UNAVAILABLE"),
        (frame(1, 0, 1, b"\x88") + frame(0, 0, 1, b"no continuation"), "UNAVAILABLE"),
        (frame(0, 0, 1, message(ONE_BLOCK, bytes(8))[:-3]), "UNAVAILABLE"),
        (frame(0, 0, 1, message(ONE_BLOCK, bytes(8), 1 << 30)), "CHECKSUM"),
        (frame(0, 0, 1, message(ONE_BLOCK, bytes(7))), "PAYLOAD_LENGTH"),
        (frame(0, 0, 1, message(ONE_BLOCK, bytes(9))), "PAYLOAD_LENGTH"),
        (frame(0, 0, 1, struct.pack(">BI", 0, 12) + b"\xff" * 12), "CHECKSUM"),
        (frame(0, 0, 1, struct.pack(">BI", 0, 6) + b"\x0a\x04\xff\xff\xff\xff"), "INTERNAL"),
    ],
    ids=[
        "closes", "speaks-http-1", "says-nothing-more", "goes-away", "resets", "cuts-headers",
        "cuts-a-message", "claims-a-gigabyte", "short-payload", "long-payload", "no-varint",
        "no-protobuf",
    ],
)  # fmt: skip
def test_a_peer_that_breaks_the_protocol_ends_the_call(peer, answer, reason):
    assert outcome(peer(answer)).reason == reason


def test_large_frames_follow_the_acknowledgement_that_allows_them():
    def serve(accepted: socket.socket, frames: list[tuple[int, int]]) -> None:
        with accepted, accepted.makefile("rb") as reader:
            reader.read(24)
            accepted.sendall(frame(4, 0, 0) + frame(8, 0, 0, struct.pack(">I", 8 << 20)))
            received = 0
            while received < 1 << 20:
                head = reader.read(9)
                size, kind = int.from_bytes(head[:3], "big"), head[3]
                reader.read(size)
                frames.append((kind, size))
                if kind == 0:
                    received += size
                if kind == 0 and received == 65535:  # all that the first window takes
                    settings = struct.pack(">HIHI", 4, 8 << 20, 5, 256 << 10)
                    accepted.sendall(frame(4, 0, 0, settings))

    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connection = Connection(f"127.0.0.1:{listener.getsockname()[1]}")
            accepted, _ = listener.accept()
        frames: list[tuple[int, int]] = []
        peer = threading.Thread(target=serve, args=(accepted, frames))
        peer.start()
        connection.begin("Push", None)
        answers = threading.Thread(target=ends, args=(connection,))
        answers.start()
        connection.message([bytes(1 << 20)])
        peer.join()
        answers.join()
        first = next(i for i, (kind, size) in enumerate(frames) if kind == 0 and size > 16384)
        assert [kind for kind, _ in frames[:first]].count(4) == 3  # its own, and both answers


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_data_to_a_host_that_is_gone_ends_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(f"127.0.0.1:{listener.getsockname()[1]}")
        limit = connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        connection.close()
    assert limit == 30_000


def ends(connection: Connection) -> None:
    with pytest.raises(tensorhold.UnavailableError):
        connection.next_message()
    connection.close()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(tensorhold.UnavailableError, match=str(port)):
        Connection(f"127.0.0.1:{port}")


def test_messages_split_as_protobuf_says():
    header = data_pb2.PushHeader(session=3, seq=9)
    encoded = frame_prefix(header, 4) + b"data"
    assert data_pb2.PushRequest.FromString(encoded).payload == b"data"
    head, payload = split(encoded)
    assert data_pb2.PushHeader.FromString(bytes(head)) == header
    assert bytes(payload) == b"data"
    for cut in range(1, len(encoded)):
        if cut != len(head) + 2:  # a header alone is a message too
            with pytest.raises(tensorhold.DamagedError):
                split(encoded[:cut])
    assert [varint(n) for n in (0, 127, 128, 300)] == [b"\0", b"\x7f", b"\x80\x01", b"\xac\x02"]


def test_shards_are_the_protocols():
    """Against the definition in docs/formats.md, in Python's own integers."""
    mask = (1 << 64) - 1
    for parameter in (1, 12345, 2**63 + 7):
        for shards in (1, 3, 8, 256):
            expected = []
            for block in range(50):
                z = (parameter * 0x9E3779B97F4A7C15 + block + 1) & mask
                z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
                z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
                expected.append((z ^ z >> 31) * shards >> 64)
            np.testing.assert_array_equal(shards_of(parameter, 0, 50, shards), expected)


def test_blocks_travel_through_grpcio_as_well(server, name):
    with tensorhold.connect(server.address) as client:
        client.core.cluster.through_grpcio = True
        values = {"w": np.arange(600_000, dtype=np.float32), "ids": np.arange(9)}
        model = client.create_model(name, values)
        pulled = client.push_pull(model, {"w": values["w"]}, "add")
        np.testing.assert_array_equal(pulled["w"], 2 * values["w"])
        np.testing.assert_array_equal(client.pull(model)["ids"], values["ids"])
