"""Whether the online store is what lake and logs say, key by key and review by review, while decisions go on.

The live states are read first; then base and logs are folded in memory, each key up to the number that it had.
So a busy key is compared at a number, not at a moment.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pix.engines.layout import STATE_LAYOUT
from pix.store.errors import LayoutMismatch
from pix.store.interface import Store, Stored, open_store
from pix.store.memory import MemoryStore
from pix.tokens import Keyring
from serving.base import Base, read_base
from serving.logs import LakeAndKafka, Logs, Messages
from serving.replay import Replay
from serving.review_replay import ReviewReplay

SHOWN = 20
ROUNDS = 10
PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found.

    Attributes:
        generation: The generation that was compared.
        keys: Keys in the store, in base and logs, or in both.
        equal: Of these, with the same number and bytes.
        differing: With the same number and other bytes.
        missing_in_store: In base or logs only.
        missing_in_logs: In the store, at a number that base and logs do not reach.
        reviews_differing: Reviews that the queue lost, or has open although a label closed them.
        examples: Some of the keys and reviews that are not equal, each with what is wrong.
    """

    generation: int
    keys: int
    equal: int
    differing: int
    missing_in_store: int
    missing_in_logs: int
    reviews_differing: int
    examples: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every key is equal, and every review is there."""
        return self.equal == self.keys and not self.reviews_differing

    def described(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "ok": self.ok}


def compare(
    store: Store,
    logs: Logs,
    base: Callable[[int | None], Base],
    *,
    now_ms: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Comparison:
    """Compare the generation in use, and the queue of reviews, with base and logs.

    Args:
        store: The online store; only read.
        logs: Lake and Kafka.
        base: Gives the base of a Delta version; asked for the one that the generation was built on.
        now_ms: Epoch milliseconds; reviews that ended a record's life before are not looked for.
        sleep: Waits for what was committed and is not published yet.
    """
    active = store.active()
    number = active.number if active else 0
    live = store.states(number)
    version = active.identity.base_version if active else None
    scratch = MemoryStore()
    if version is not None:
        scratch.write_states(0, base(version).states())
    replay, reviews = Replay(scratch, 0, {key: found.number for key, found in live.items()}), ReviewReplay(now_ms)

    def take(messages: Messages) -> None:
        reviews.take(messages)
        replay.take(messages)
        replay.fold()

    for messages in logs.lake():
        take(messages)
    start = logs.lake_ends()
    for _ in range(ROUNDS):
        ends = logs.ends()
        for messages in logs.tail(start, ends):
            take(messages)
        start = {**start, **ends}
        if not any(scratch.read_states(0, [key])[key].number < found.number for key, found in live.items()):
            break
        sleep(PAUSE_SECONDS)
    rebuilt = scratch.states(0)
    # Keys that the logs know and the store did not: new since then, or lost.
    unseen = [*replay.unknown, *(key for key in rebuilt if key not in live)]
    lost = [key for key, found in store.read_states(number, unseen).items() if found.number == 0]
    return _judged(number, live, rebuilt, lost, reviews.differing(store))


def compare_online(
    url: str, *, lake_root: str, kafka: Mapping[str, str], keyring: Keyring, now_ms: int
) -> Comparison | None:
    """Compare an instance's store with its lake and Kafka; None while nothing was built.

    Args:
        url: Address of the store.
        lake_root: Root of the Delta tables.
        kafka: librdkafka configuration.
        keyring: Keys of the tokens.
        now_ms: Epoch milliseconds.
    """
    store = open_store(url, STATE_LAYOUT)
    try:
        active = store.active()
        if active is None:
            return None
        if active.identity.layout != STATE_LAYOUT:
            raise LayoutMismatch(
                f"the store has states of layout {active.identity.layout}, this build folds {STATE_LAYOUT}; "
                "run `sentinela store rebuild`"
            )

        def base(version: int | None) -> Base:
            return read_base(lake_root, STATE_LAYOUT, keyring.current, version)

        return compare(store, LakeAndKafka(lake_root, kafka), base, now_ms=now_ms)
    finally:
        store.close()


def _judged(
    number: int, live: dict[str, Stored], rebuilt: dict[str, Stored], lost: list[str], reviews: list[str]
) -> Comparison:
    differing = [key for key, found in live.items() if key in rebuilt and _differ(found, rebuilt[key])]
    beyond = [key for key, found in live.items() if key not in rebuilt or rebuilt[key].number != found.number]
    told = [
        *(f"{key}: other bytes at number {live[key].number}" for key in sorted(differing)),
        *(f"{key}: not in the store" for key in sorted(lost)),
        *(f"{key}: the store is at number {live[key].number}, base and logs at "
          f"{rebuilt[key].number if key in rebuilt else 0}" for key in sorted(beyond)),
        *reviews,
    ]  # fmt: skip
    return Comparison(
        generation=number,
        keys=len(live) + len(lost),
        equal=len(live) - len(differing) - len(beyond),
        differing=len(differing),
        missing_in_store=len(lost),
        missing_in_logs=len(beyond),
        reviews_differing=len(reviews),
        examples=tuple(told[:SHOWN]),
    )


def _differ(live: Stored, rebuilt: Stored) -> bool:
    return live.number == rebuilt.number and live.blob != rebuilt.blob
