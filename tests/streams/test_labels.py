"""The label job's own rules, against a hand-written service; the real one stands in ``test_labels_real.py``."""

import json
from collections.abc import Iterator

import pytest

from fraud_streaming import labels
from fraud_streaming.labels import Labels
from fraud_streaming.lifetime import Cadence, Stop
from fraud_streaming.meters import Meters
from pix.contracts import LabelMessage, check_label_live
from pix.tokens import Keyring
from tests.streams.support import Clock, FakeService, MemoryGroup, MemoryLetters, at, client, label

EARLY = "E12345678202611211230abcdefghijk"
KNOWN = "E12345678202611211230abcdefghijz"
ARRIVED_MS = at(0).received_at_ms
WAIT_SECONDS = 120.0


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService()
    yield fake
    fake.close()


class LabelJob:
    """A job over a group and dead letters in memory, with a clock that a test moves."""

    def __init__(self, fake: FakeService, keyring: Keyring) -> None:
        self.clock, self.group, self.letters, self.stop = Clock(), MemoryGroup(), MemoryLetters(), Stop()
        self.told: list[dict[str, object]] = []
        self.job = Labels(
            self.group, client(fake), self.letters, keyring, WAIT_SECONDS,  # type: ignore[arg-type]
            self.stop, self.told.append, Cadence(), Meters(), self.clock,
        )  # fmt: skip

    def pass_seconds(self, seconds: float) -> None:
        """Let the job ask again as often as it would in that time."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += labels.ASK_AGAIN_SECONDS
            self.job.one([])


def ids(*raw: bytes) -> list[str]:
    return [json.loads(one)["label_id"] for one in raw]


def test_a_label_waits_for_its_payment_and_holds_its_partition(service: FakeService, keyring: Keyring) -> None:
    service.known = {KNOWN}
    run = LabelJob(service, keyring)
    run.job.one(
        [
            at(0, label(KNOWN)),
            at(1, label(EARLY)),
            at(2, label(KNOWN, kind="reversed")),
            at(0, label(KNOWN, kind="contested"), 1),
        ]
    )
    assert run.group.committed == {0: 1, 1: 1}
    assert run.job.stats.folded == 3
    service.known.add(EARLY)
    run.pass_seconds(labels.ASK_AGAIN_SECONDS)
    assert run.job.stats.folded == 4
    assert run.group.committed == {0: 3, 1: 1}
    assert run.letters.letters == []


def test_batches_and_their_times_are_told_once(service: FakeService, keyring: Keyring) -> None:
    run = LabelJob(service, keyring)
    for _ in range(2):
        run.job.one([at(0, label(KNOWN)), at(1, label(EARLY))])
        run.job.one([])
    run.stop.ask("TEST")
    run.job.run()
    (report,) = run.told
    assert report["batches"] == 2
    assert report.keys() >= {"offsets", "lag", "messages", "batch_ms_mean", "batch_ms_max"}


def test_a_label_without_a_payment_is_a_dead_letter_in_the_end(service: FakeService, keyring: Keyring) -> None:
    service.known = set()
    run = LabelJob(service, keyring)
    run.job.one([at(0, label(EARLY)), at(1, label(EARLY, kind="reversed"))])
    run.pass_seconds(WAIT_SECONDS - labels.ASK_AGAIN_SECONDS)
    assert run.letters.letters == []
    assert run.group.committed == {0: 0}
    run.pass_seconds(labels.ASK_AGAIN_SECONDS)
    assert run.letters.reasons == ["payment_unknown"] * 2
    assert json.loads(run.letters.letters[0].value)["end_to_end_id"] == EARLY
    assert run.group.committed == {0: 2}
    assert (run.job.stats.unknown, run.job.stats.refused) == (2, 2)


def test_a_service_that_was_away_makes_no_orphans(service: FakeService, keyring: Keyring) -> None:
    """Nobody could decide the payment meanwhile, so that time does not count as waiting for it."""
    service.known = set()
    run = LabelJob(service, keyring)
    run.job.one([at(0, label(EARLY))])
    run.clock.now += 10 * WAIT_SECONDS
    run.job.one([])
    assert run.letters.letters == []
    service.known.add(EARLY)
    run.pass_seconds(labels.ASK_AGAIN_SECONDS)
    assert run.job.stats.folded == 1


def test_labels_of_one_payment_keep_their_order(service: FakeService, keyring: Keyring) -> None:
    service.known = set()
    run = LabelJob(service, keyring)
    first, second = label(EARLY, kind="accepted"), label(EARLY, kind="reversed")
    run.job.one([at(0, first)])
    service.known.add(EARLY)
    run.job.one([at(1, second)])
    assert list(service.folded) == []
    run.pass_seconds(labels.ASK_AGAIN_SECONDS)
    assert list(service.folded) == ids(first, second)


class ForgetfulOnce(FakeService):
    """Cannot take the first label that it sees, once: as a store that is away for a moment."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.forgets: int | None = status

    def _fold(self, content: dict[str, object]) -> dict[str, object]:
        if self.forgets is not None:
            status, self.forgets = self.forgets, None
            return {"status": status, "problem": {"title": "not now"}}
        return super()._fold(content)


@pytest.mark.parametrize("status", [404, 503])
def test_no_label_overtakes_another_of_its_payment_within_a_batch(status: int, keyring: Keyring) -> None:
    """The payment is decided, or the store is back, between two labels of one request."""
    fake = ForgetfulOnce(status)
    try:
        run = LabelJob(fake, keyring)
        raw = [label(EARLY, kind=kind) for kind in ("contested", "accepted", "reversed")]
        run.job.one([at(0, raw[0]), at(1, raw[1]), at(2, label(KNOWN)), at(3, raw[2])])
        run.pass_seconds(labels.ASK_AGAIN_SECONDS)
        assert [one for one in fake.folded if one in ids(*raw)] == ids(*raw)
        assert run.group.committed == {0: 4}
    finally:
        fake.close()


def test_equal_ids_of_two_tenants_do_not_wait_for_each_other(service: FakeService, keyring: Keyring) -> None:
    run = LabelJob(service, keyring)
    service.known = set()
    run.job.one([at(0, label(EARLY))])
    service.known = {EARLY}
    run.job.one([at(1, label(EARLY, tenant="other"))])
    assert run.job.stats.folded == 1


def test_a_label_with_a_wrong_id_is_refused(service: FakeService, keyring: Keyring) -> None:
    run = LabelJob(service, keyring)
    run.job.one([at(0, label(EARLY).replace(b"SCAM", b"OTHER"))])
    assert run.letters.reasons == ["invalid_fields"]
    assert run.group.committed == {0: 1}


def test_a_label_known_ahead_of_its_arrival_is_held_until_then(service: FakeService, keyring: Keyring) -> None:
    run = LabelJob(service, keyring)
    ahead, behind_it = label(EARLY, now_ms=ARRIVED_MS + 30_000), label(EARLY, kind="reversed")
    run.job.one([at(0, ahead), at(1, behind_it), at(2, label(KNOWN))])
    run.pass_seconds(28)
    assert list(service.folded) == ids(label(KNOWN))
    assert run.group.committed == {0: 0}
    run.pass_seconds(4)
    assert list(service.folded)[1:] == ids(ahead, behind_it)
    assert run.group.committed == {0: 3}


def test_a_label_from_the_far_future_moves_no_clock(service: FakeService, keyring: Keyring) -> None:
    run = LabelJob(service, keyring)
    run.job.one([at(0, label(KNOWN, now_ms=ARRIVED_MS + 60_001))])
    assert list(service.folded) == []
    (letter,) = run.letters.letters
    assert json.loads(letter.value)["errors"] == [
        {"field": "known_at", "reason": "is more than 60 s ahead of the label's arrival"}
    ]
    check_label_live(LabelMessage.model_validate_json(label(KNOWN, now_ms=ARRIVED_MS + 60_000)), ARRIVED_MS)
