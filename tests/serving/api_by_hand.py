"""The API on a store in memory, with a broker by hand behind it."""

from collections.abc import Mapping, Sequence

from documented import ApiClient
from starlette.applications import Starlette
from starlette.testclient import TestClient
from traffic import NOW_MS, Clock, StubbornModel, pipeline

from pix.features import FINGERPRINT
from pix.store.interface import Message
from pix.store.memory import MemoryStore
from serving.door import door_by_hand
from serving.http import create_app
from serving.running import Running

KEY = {"Authorization": "Bearer key"}


class HandBroker:
    """Takes what it is given, unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.taken: list[Message] = []

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:  # noqa: ARG002
        if self.is_away:
            return []
        self.taken += messages
        return [message.record_id for message in messages]


def trimmed(client: TestClient) -> None:
    """What Kafka holds is out of the outbox, without waiting for it."""
    client.app.state.running.delivery.trim()  # type: ignore[attr-defined]


class HandModels:
    """A champion and no challenger."""

    def described(self) -> dict[str, object]:
        held = {"feature_fingerprint": FINGERPRINT, "members": ["hand"], "loaded_at_ms": NOW_MS, "source": "registry"}
        return {"model": {**StubbornModel().identity, **held}, "challenger": None}


def api(
    store: MemoryStore,
    kafka: HandBroker,
    *,
    clock: Clock | None = None,
    model: object | None = None,
    test_accounts: Mapping[str, str] | None = None,
    keys: Mapping[str, Mapping[str, object]] | None = None,
) -> Starlette:
    """The application around these parts."""
    app = create_app()
    door = door_by_hand({"key": {}, **(keys or {})}, clock or Clock())
    running = Running(pipeline(store, clock, model or StubbornModel()), kafka, door, models=HandModels())  # type: ignore[arg-type]
    running.test_accounts = test_accounts or {}
    app.state.running = running
    return app


def opened(app: Starlette, **named: object) -> ApiClient:
    """A client with the key."""
    return ApiClient(app, headers=KEY, **named)  # type: ignore[arg-type]
