"""Requests that come while too much is under way: told to wait before anything is made of them.

Refusing has to be cheap, or a service that gets three times what it can take spends itself on saying so. Such a request
costs its parsing and one write: no task, no route, no key. Whoever has no key is told to wait as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from serving.patience import PatientProtocol
from serving.version import PREFIX

MAX_UNDER_WAY = 128
API = f"{PREFIX}/".encode()


class SheddingProtocol(PatientProtocol, ABC):
    """uvicorn's protocol, with an end to what it takes on at once; probes are always answered."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_shed = False

    @abstractmethod
    def refusal(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> bytes:
        """The whole answer to a request that is not taken on."""

    def data_received(self, data: bytes) -> None:
        """The rest of what was refused is waited for as long as a head."""
        super().data_received(data)
        if self._is_shed and self._waiting is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """Take it on, or refuse it."""
        # A request behind another one of its connection waits for that one's answer first.
        is_next = self.cycle is None or self.cycle.response_complete
        method = self.parser.get_method()
        # An answer to HEAD has no body; the API refuses it where need be.
        is_ours = self.url.startswith(API) and method != b"HEAD"
        self._is_shed = len(self.tasks) >= MAX_UNDER_WAY and is_next and is_ours
        if not self._is_shed:
            super().on_headers_complete()
            return
        self._is_inside_head = False
        path = self.url.partition(b"?")[0].decode("ascii", "replace")
        # Before the body: its sender may wait to be told to go on.
        self.transport.write(self.refusal(method.decode(), path, dict(self.headers)))

    def on_body(self, body: bytes) -> None:
        """What was refused is read and forgotten."""
        if not self._is_shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The connection is free for the next request."""
        if not self._is_shed:
            super().on_message_complete()
            return
        self._is_shed = False
        self._wait_no_more()
        if not self.parser.should_keep_alive():
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
