"""What a hostile or broken caller does with connections, against a real server with the service's own protocol."""

import asyncio
import json
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import psutil
import pytest
from api_by_hand import HandBroker, api
from serving_by_hand import Address, served
from traffic import body

from pix.store.memory import MemoryStore
from serving import patience

LIMIT = 0.3
SLOW = 500
KEY = b"Authorization: Bearer key\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PAYMENT = json.dumps(body(1)).encode()
HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n" + KEY + b"Content-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(PAYMENT) + PAYMENT


@pytest.fixture
def server(kafka: HandBroker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    monkeypatch.setattr(patience, "HEAD_SECONDS", LIMIT)
    with served(api(store, kafka), timeout_keep_alive=2) as address:
        yield address


def until_closed(connection: socket.socket, seconds: float = 5.0) -> bytes:
    """What comes until the other side closes."""
    connection.settimeout(seconds)
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


def answered(connection: socket.socket) -> bytes:
    """One answer; the connection stays open."""
    connection.settimeout(5)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    head, _, rest = answer.partition(b"\r\n\r\n")
    (size,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(rest) < size:
        rest += connection.recv(65_536)
    return head


@pytest.mark.parametrize("begun", [b"", b"P", HEAD, HEAD + b"X-Slow: " + b"a" * 1_000])
def test_a_head_that_never_ends_is_given_up(server: Address, kafka: HandBroker, begun: bytes) -> None:
    with closing(socket.create_connection(server)) as connection:
        connection.sendall(begun)
        start = time.monotonic()
        answer = until_closed(connection)
        assert LIMIT * 0.8 < time.monotonic() - start < LIMIT + 2
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/too-slow" in answer
    assert kafka.taken == []


def test_a_byte_now_and_then_does_not_prolong_it(server: Address) -> None:
    with closing(socket.create_connection(server)) as connection:
        start = time.monotonic()
        with suppress(OSError):
            for byte in HEAD + b"X-Slow: " + b"a" * 500:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - start < LIMIT + 2


@pytest.mark.parametrize("begun", [b"\r\n", b"G", b"GET /v1/policy HTTP/1.1\r\nHost: x\r\n"])
def test_the_second_head_of_a_connection_is_not_waited_for_either(server: Address, begun: bytes) -> None:
    with closing(socket.create_connection(server)) as connection:
        connection.sendall(WHOLE)
        assert answered(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(begun)
        start = time.monotonic()
        assert until_closed(connection).startswith(b"HTTP/1.1 408 ")
        assert LIMIT * 0.8 < time.monotonic() - start < LIMIT + 1


def test_a_quiet_connection_and_a_slow_answer_are_left_alone(
    server: Address, kafka: HandBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = kafka.publish

    async def slowly(*given: object) -> list[str]:
        await asyncio.sleep(3 * LIMIT)
        return await publish(*given)  # type: ignore[arg-type]

    with closing(socket.create_connection(server)) as connection:
        connection.sendall(WHOLE)
        assert answered(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(2 * LIMIT)
        monkeypatch.setattr(kafka, "publish", slowly)
        other = json.dumps(body(2)).encode()
        head = HEAD + b"Content-Length: %d\r\n\r\n" % len(other)
        # The next head begins while this one is being answered.
        connection.sendall(head + other + b"GET /v1/pol")
        first, _, second = until_closed(connection).partition(b"HTTP/1.1 408 ")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert b"/problems/too-slow" in second


def test_slowloris_holds_up_nobody(server: Address) -> None:
    process = psutil.Process()
    before, times = process.memory_info().rss, []
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(socket.create_connection(server))) for _ in range(SLOW)]
        for connection in slow:
            connection.sendall(HEAD[:40])
        with closing(socket.create_connection(server)) as clean:
            for _ in range(50):
                start = time.monotonic()
                clean.sendall(WHOLE)
                assert answered(clean).startswith(b"HTTP/1.1 200 ")
                times.append(time.monotonic() - start)
        grown = process.memory_info().rss - before
        closed = [until_closed(connection)[:12] for connection in slow]
    assert closed == [b"HTTP/1.1 408"] * SLOW
    assert grown < 100 * 2**20
    # Slow answers would be as slow as the slow ones are patient; the rest is the machine's.
    assert statistics.median(times) < LIMIT / 10


def test_who_hangs_up_is_no_fault_of_the_service(kafka: HandBroker, store: MemoryStore) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer key"), (b"content-type", b"application/json")]
    path = {"method": "POST", "path": "/decisions", "raw_path": b"/decisions", "query_string": b"", "root_path": ""}
    ends = {"server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "scheme": "http", "http_version": "1.1"}
    asyncio.run(api(store, kafka)({"type": "http", "headers": headers, **path, **ends}, receive, send))
    assert sent[0]["status"] == 400


SMUGGLED = b"GET /v1/store HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n"
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAYMENT), PAYMENT)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + CHUNKED + b"Content-Length: 4\r\n\r\n" + CHUNK + SMUGGLED,
        HEAD + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + CHUNK + SMUGGLED,
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK + SMUGGLED,
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNK + SMUGGLED,
        HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + CHUNK + SMUGGLED,
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}" + SMUGGLED,
        HEAD + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
        HEAD + b"Content-Length: 2, 2\r\n\r\n{}" + SMUGGLED,
        HEAD + CHUNKED + b"\r\n-1\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + CHUNKED + b"\r\n2 \n{}\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"X-Bad\x00: 1\r\n\r\n" + SMUGGLED,
        HEAD + b" folded: 1\r\n\r\n" + SMUGGLED,
        HEAD + b"X: 1\nX: 2\r\n\r\n" + SMUGGLED,
    ],
)
def test_no_second_request_is_smuggled_in(server: Address, kafka: HandBroker, head: bytes) -> None:
    """Where two parties could disagree about where a request ends, it is refused, and nothing behind it is read."""
    with closing(socket.create_connection(server)) as connection:
        connection.sendall(head)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"generation"' not in answer
    assert kafka.taken == []
