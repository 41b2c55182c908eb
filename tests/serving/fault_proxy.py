"""A TCP proxy that does to a connection what networks and dying servers do: cut answers, delay them, refuse."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

RESET = struct.pack("ii", 1, 0)
CHUNK = 1 << 16


class FaultProxy:
    """Stands before one server; every fault is set by an attribute, from any thread."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        self.is_away = False
        self.cut_after: bytes | None = None
        """The next answer to a request with these bytes is not delivered, though the server gave it."""
        self.stays_away_after_cut = False
        self.cuts = 0
        self.target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_away:
            _reset(writer)
            return
        try:
            upstream, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        self._writers.add(writer)
        cutting = asyncio.Event()
        answers = asyncio.create_task(self._answer(upstream, writer, cutting))
        try:
            while request := await reader.read(CHUNK):
                if self.cut_after is not None and self.cut_after in request:
                    self.cut_after = None
                    cutting.set()
                to_server.write(request)
        except OSError:
            pass
        finally:
            answers.cancel()
            self._writers.discard(writer)
            to_server.close()
            _reset(writer)

    async def _answer(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, cutting: asyncio.Event
    ) -> None:
        while answer := await upstream.read(CHUNK):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if cutting.is_set():
                self.is_away = self.is_away or self.stays_away_after_cut
                self.cuts += 1
                break
            writer.write(answer)
        _reset(writer)

    def go_away(self) -> None:
        """Reset every connection, and every new one."""
        self.is_away = True

        def reset_all() -> None:
            for writer in list(self._writers):
                _reset(writer)

        self._loop.call_soon_threadsafe(reset_all)

    def come_back(self) -> None:
        """Serve again."""
        self.is_away, self.delay_seconds = False, 0.0

    def close(self) -> None:
        """End."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextmanager
def proxied(port: int) -> Iterator[FaultProxy]:
    """A proxy before the server on this port."""
    proxy = FaultProxy(port)
    yield proxy
    proxy.close()
