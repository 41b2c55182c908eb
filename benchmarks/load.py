"""An open-loop sender over HTTP: ``python -m benchmarks.load --port P --key-file K --rate R BODIES``.

It runs in a process of its own and starts each request when it was due, whatever the answers do; a latency counts from
when the request was due, so that a service that stalls cannot hide it. Requests are made beforehand, and the answers
are read no further than their status and length, so that the sender takes as little as it can of a shared machine.
"""

import argparse
import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO

CONNECTIONS = 64
PATIENCE_SECONDS = 30.0
READ_BYTES = 1 << 16


@dataclass(eq=False, slots=True)
class Connection:
    """One request at a time over a connection that stays open.

    Attributes:
        socket: Blocking.
        number: Place of the request under way among all.
        due: When the request under way should have been sent, of ``time.perf_counter``.
        received: What came of its answer.
    """

    socket: socket.socket
    number: int = 0
    due: float = 0.0
    received: bytes = b""


@dataclass
class Sender:
    """Sends what is due over whichever connection is free.

    One thread sleeps until the next request is due, because event loops round their timers to milliseconds; another
    one reads the answers.
    """

    log: IO[str] | None = None
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def run(self, port: int, requests: list[bytes], rate: float, connections: int) -> None:
        """Send all at ``rate`` a second (0: each as soon as a connection is free) and wait for the answers."""
        self._free: deque[Connection] = deque()
        self._waiting: deque[tuple[int, bytes, float]] = deque()
        self._selector = selectors.DefaultSelector()
        for _ in range(connections):
            opened = socket.create_connection(("127.0.0.1", port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(opened)
            self._selector.register(opened, selectors.EVENT_READ, connection)
            self._free.append(connection)
        reader = Thread(target=self._read, args=(len(requests),))
        reader.start()
        start = time.perf_counter() + 0.1
        for number, request in enumerate(requests):
            due = start + number / rate if rate else 0.0
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            self._waiting.append((number, request, due))
            self._send()
        reader.join()

    def _send(self) -> None:
        """Bring waiting requests to free connections; both threads may, so each takes before it looks further."""
        while self._waiting and self._free:
            try:
                connection = self._free.popleft()
            except IndexError:
                return
            try:
                number, request, due = self._waiting.popleft()
            except IndexError:
                self._free.append(connection)
                return
            connection.number = number
            connection.due = due or time.perf_counter()
            connection.socket.sendall(request)

    def _read(self, expected: int) -> None:
        heard_at = time.perf_counter()
        while len(self.latencies) + self.lost < expected and time.perf_counter() - heard_at < PATIENCE_SECONDS:
            for key, _ in self._selector.select(1.0):
                heard_at = time.perf_counter()
                self._received(key.data)

    def _received(self, connection: Connection) -> None:
        data = connection.socket.recv(READ_BYTES)
        if not data:
            self._selector.unregister(connection.socket)
            self.lost += 1
            return
        connection.received += data
        head, found, body = connection.received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]):
            return
        connection.received = b""
        self.latencies.append(time.perf_counter() - connection.due)
        status = head[9:12].decode()
        self.statuses[status] += 1
        if self.log:
            self.log.write(f"{connection.number} {status} {self.latencies[-1]:.6f}\n")
        self._free.append(connection)
        self._send()


def main() -> None:
    """Send the bodies of a file, one a line; print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Open-loop load over HTTP.")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/decisions")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0 is one after the other")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--log", type=Path, help="where each answer is written: place, status, seconds")
    asked = parser.parse_args()
    key = asked.key_file.read_text().strip()
    requests = [_request(asked.path, key, body) for body in asked.bodies.read_bytes().splitlines()]
    start, busy = time.perf_counter(), time.process_time()
    with asked.log.open("w") if asked.log else nullcontext() as log:
        sender = Sender(log)
        sender.run(asked.port, requests, asked.rate, asked.connections)
    seconds = time.perf_counter() - start
    found = sorted(sender.latencies)
    if not found:
        raise SystemExit(f"none of {len(requests)} requests was answered")
    places = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    told = {name: found[min(len(found) - 1, int(place * len(found)))] * 1e3 for name, place in places.items()}
    result = {
        "sent": len(requests),
        "answered": len(found),
        "statuses": sender.statuses,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - busy,
        "ms": told,
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _request(path: str, key: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    main()
