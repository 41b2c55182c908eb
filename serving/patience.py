"""Connections on which no request comes to be: closed after a while.

uvicorn limits how long a connection stays open after an answer, not how long the head of a request may take. The body
has a limit of its own (``serving.bodies``). A connection costs one timer, a request none unless its head comes in
pieces.
"""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.problems import TOO_SLOW, problem_response

HEAD_SECONDS = 10.0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with an end to its patience."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: TimerHandle | None = None
        self._is_inside_head = True

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """The first head is waited for from here on."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A head that is not whole now is waited for, and bytes between two requests are the beginning of one."""
        super().data_received(data)
        if self._waiting is None and (self._is_inside_head or self._is_between()):
            self._wait()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_inside_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_inside_head = False
        self._wait_no_more()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _is_between(self) -> bool:
        # uvicorn forgets its own limit for idle connections with every byte that comes.
        return self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # An earlier request of this connection is being answered; its answer is not cut.
            self._wait()
            return
        refusal = problem_response(TOO_SLOW, f"the request's head did not arrive within {HEAD_SECONDS:.0f} s")
        head = b"".join(b"%s: %s\r\n" % pair for pair in refusal.raw_headers)
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\n%sconnection: close\r\n\r\n" % head + bytes(refusal.body)
        )
        self.transport.close()
