"""The law: whatever happens to an account, every engine says of it what the definitions say, bit for bit.

Hypothesis chooses lives (``lives``); the oracle and a plain list of events per key referee the decision pipeline on
every store, and the offline engine in Spark.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from lives import DAILY, RUSH, Labelling, Paying, Recipe, Step, live, past, recipes
from test_parity import live_states, offline
from traffic import KEYRING, Clock, StubbornModel, arrival, pipeline

from pix.contracts import DAY_MS, Payment, behind_the_door, canonical_json
from pix.engines import kernel, layout, online, oracle
from pix.engines.events import Carried, Event, Labelled, entity_keys, flows_by_key, kind_of
from pix.engines.layout import STATE_LAYOUT
from pix.engines.online import Desk, Packed, pack
from pix.features import FEATURES
from pix.labels import PaymentReference, apply_label, reference_key, unpack_reference
from pix.store.interface import Store, open_store
from pix.store.memory import MemoryStore
from serving import pipeline as serving_pipeline
from serving.outcomes import Done
from serving.pipeline import DecisionPipeline

Vector = tuple[float | None, ...]
T = TypeVar("T")
LABEL_FEATURES = [n for n, feature in enumerate(FEATURES) if feature.group == "label"]


@dataclass
class Referee:
    """Every event of every key, and of every payment what its labels made of it, by plain rules."""

    pasts: dict[str, list[Event]] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    fraud_since: dict[str, int] = field(default_factory=dict)
    contested: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)

    def vector(self, payment: Payment, at_ms: int, *, is_imported: bool) -> Vector:
        keys = entity_keys(payment)
        histories = {role: self.pasts.get(key, []) for role, key in keys.items()}
        return oracle.vector(payment, at_ms, histories, is_imported=is_imported)

    def fold(self, payment: Payment, at_ms: int, vector: Vector, *, is_allowed: bool, is_imported: bool) -> None:
        keys = self.keys[payment.end_to_end_id] = entity_keys(payment)
        said = dict(zip(FEATURE_NAMES, vector, strict=True))
        carried = Carried((said["payer_in_frauds_90d"] or 0) > 0, (said["payee_frauds_90d"] or 0) > 0)
        events = oracle.seen(payment, keys, at_ms, carried, is_allowed=is_allowed, is_imported=is_imported)
        for key, event in events.items():
            self.pasts.setdefault(key, []).append(event)

    def label(self, step: Labelling) -> None:
        if step.label.label_id in self.labels:
            return
        self.labels.add(step.label.label_id)
        identity, kind = step.label.end_to_end_id, step.label.kind
        known_ms = max(step.label.known_at, step.received_ms)
        if kind == "contested" and identity not in self.contested:
            self.contested.add(identity)
            self._fold_label(identity, known_ms, "contests", 1, known_ms)
        elif kind in ("accepted", "confirmed") and identity not in self.fraud_since:
            self.fraud_since[identity] = known_ms
            self._fold_label(identity, known_ms, "frauds", 1, known_ms)
        elif kind in ("rejected", "reversed", "dismissed") and identity in self.fraud_since:
            self._fold_label(identity, known_ms, "frauds", -1, self.fraud_since.pop(identity))

    def _fold_label(self, identity: str, known_ms: int, measure: str, change: int, counted_ms: int) -> None:
        for key, flows in flows_by_key(self.keys[identity]).items():
            self.pasts[key].append(Labelled(known_ms, flows, measure, change, counted_ms))


FEATURE_NAMES = [feature.name for feature in FEATURES]


@dataclass
class Tally:
    """What was compared."""

    payments: int = 0
    values: int = 0
    telling: int = 0
    late: int = 0
    tied: int = 0
    labelled: int = 0
    attempted: int = 0
    known_again: int = 0
    forgotten: int = 0

    def count(self, vector: Vector, at_ms: int, pasts: Sequence[Sequence[Event]]) -> None:
        self.payments += 1
        self.values += len(vector)
        self.telling += sum(value is not None and value != 0 for value in vector)
        times = [[event.time_ms for event in past] for past in pasts if past]
        self.late += any(max(past) > at_ms for past in times)
        self.tied += any(at_ms in past for past in times)
        self.labelled += any(vector[n] for n in LABEL_FEATURES)
        self.forgotten += any(len(oracle.remembered_events(past, at_ms)) < len(past) for past in pasts)


def differing(ours: Sequence[float | None], theirs: Vector) -> dict[str, tuple[float | None, float | None]]:
    """Features whose 64 bits differ."""
    mine, other = (np.array(values, np.float64) for values in (ours, theirs))
    same = (mine.view(np.int64) == other.view(np.int64)) | (np.isnan(mine) & np.isnan(other))
    return {FEATURE_NAMES[n]: (ours[n], theirs[n]) for n in np.flatnonzero(~same)}


class Base:
    """The past of a life as the store's base: folded on a desk, refereed on the way."""

    def __init__(self, steps: list[Step], referee: Referee, tally: Tally) -> None:
        self.states: dict[str, tuple[int, bytes]] = {}
        self.vectors: dict[str, Vector] = {}
        for step in steps:
            if isinstance(step, Paying):
                self._pay(step, referee, tally)
            else:
                self._label(step)
                referee.label(step)

    def _pay(self, step: Paying, referee: Referee, tally: Tally) -> None:
        payment = behind_the_door(step.message, KEYRING)
        keys, at_ms = entity_keys(payment), payment.initiated_at_ms
        packed, desk = pack(payment, keys), Desk()
        desk.load(packed, at_ms, [self._blob(key) for key in packed.slots], is_imported=True)
        vector, carried = desk.read()
        expected = self.vectors[payment.end_to_end_id] = referee.vector(payment, at_ms, is_imported=True)
        tally.count(expected, at_ms, [referee.pasts.get(key, []) for key in keys.values()])
        assert differing(kernel.listed(vector), expected) == {}
        referee.fold(payment, at_ms, expected, is_allowed=True, is_imported=True)
        for key, blob in zip(packed.slots, desk.fold(carried, is_allowed=True), strict=True):
            self._put(key, blob)
        self._put(reference_key(payment.tenant, payment.end_to_end_id), PaymentReference(keys).pack())

    def _label(self, step: Labelling) -> None:
        key = reference_key(step.label.tenant, step.label.end_to_end_id)
        label, before = step.label, unpack_reference(self.states[key][1])
        reference, change = apply_label(before, label.label_id, label.kind, label.known_at)
        self._put(key, reference.pack())
        for state, event in (change.events(reference.keys) if change else {}).items():
            self._put(state, kernel.fold(self._blob(state), kind_of(state), event))

    def _blob(self, key: str) -> bytes | None:
        return self.states[key][1] if key in self.states else None

    def _put(self, key: str, blob: bytes) -> None:
        self.states[key] = (self.states.get(key, (0, b""))[0] + 1, blob)


class Courts:
    """The pipeline on several stores, side by side, each asked to decide the same."""

    def __init__(self, stores: Sequence[Store], base: Base) -> None:
        self.clock = Clock()
        self.stores = stores
        for store in stores:
            store.load_base(1, [(key, number, blob) for key, (number, blob) in base.states.items()])
        self.pipelines = [pipeline(store, self.clock, StubbornModel()) for store in stores]

    def take(self, step: Step) -> bytes:
        """The record of a payment or label, the same bytes from every store."""
        self.clock.now_ms = step.received_ms
        if isinstance(step, Paying):
            came = arrival(step.received_ms, step.number)
            outcomes = [each.decide(step.message, came) for each in self.pipelines]
        else:
            outcomes = [each.fold_label(step.label, step.received_ms) for each in self.pipelines]
        records = {outcome.record for outcome in outcomes if isinstance(outcome, Done)}
        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert len(records) == 1, "the stores disagree"
        return records.pop()


@dataclass
class Judged:
    """What came of a life: its past and logs, what the oracle says of each payment, and the states at the end."""

    past: Sequence[Step]
    base: dict[str, tuple[int, bytes]]
    vectors: dict[str, Vector]
    decisions: dict[str, bytes] = field(default_factory=dict)
    folds: dict[str, bytes] = field(default_factory=dict)
    states: dict[str, tuple[int, bytes | None]] = field(default_factory=dict)


def judge(recipe: Recipe, stores: Sequence[Store], tally: Tally) -> Judged:
    """Live through one life on these stores, refereed at every step."""
    referee, before = Referee(), past(recipe)
    base = Base(before, referee, tally)
    judged, courts = Judged(before, base.states, base.vectors), Courts(stores, base)
    for step in live(recipe, before):
        record = courts.take(step)
        if isinstance(step, Labelling):
            referee.label(step)
            assert judged.folds.setdefault(step.label.label_id, record) == record
        elif step.message.end_to_end_id in judged.decisions:
            tally.known_again += 1
            assert judged.decisions[step.message.end_to_end_id] == record
        else:
            payment, logged = behind_the_door(step.message, KEYRING), json.loads(record)
            expected = referee.vector(payment, step.at_ms, is_imported=False)
            pasts = [referee.pasts.get(key, []) for key in entity_keys(payment).values()]
            tally.count(expected, step.at_ms, pasts)
            assert differing(logged["features"], expected) == {}
            is_allowed = logged["outcome"] == "allowed"
            tally.attempted += not is_allowed
            referee.fold(payment, step.at_ms, expected, is_allowed=is_allowed, is_imported=False)
            judged.decisions[payment.end_to_end_id] = record
            judged.vectors[payment.end_to_end_id] = expected
    first, *others = [store.states() for store in stores]
    assert all(each == first for each in others)
    judged.states = live_states(stores[0])
    return judged


@contextmanager
def opened(urls: Sequence[str]) -> Iterator[list[Store]]:
    stores = [open_store(url, STATE_LAYOUT) for url in urls]
    try:
        yield stores
    finally:
        for store in stores:
            store.close()


def test_every_engine_tells_what_the_oracle_tells(
    valkey: str, spark: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A million values and more, at least half of them telling, with enough of every awkward case."""
    import redis

    tally = Tally()
    lived: list[Judged] = []

    @settings(max_examples=9, deadline=None, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink])
    @given(recipes(imported=80, payments=320))
    def every_life(recipe: Recipe) -> None:
        redis.Redis.from_url(valkey).flushall()
        with opened(["memory://", f"lmdb://{tmp_path / str(tally.values)}", valkey]) as stores:
            lived.append(judge(replace(recipe, place=len(lived)), stores, tally))

    every_life()
    record_property("figures", str(tally))
    assert tally.values >= 1_000_000, tally
    assert tally.telling >= tally.values / 2, tally
    for case in (tally.late, tally.tied, tally.labelled, tally.attempted):
        assert case >= tally.payments / 20, tally
    assert tally.known_again, tally
    assert tally.forgotten, tally
    assert in_spark(spark, lived) == tally.payments


def in_spark(spark: Any, lived: Sequence[Judged]) -> int:
    """How many vectors Spark computed from the lake that lives left, each equal, as are the states at the end."""
    payments, labels = past_rows(step for each in lived for step in each.past)
    records = [record for each in lived for record in each.decisions.values()]
    folds = [record for each in lived for record in each.folds.values()]
    found = offline(spark, payments, labels, records, folds)
    assert {row.key: (row.number, bytes(row.blob)) for row in found.base_states} == _all(each.base for each in lived)
    assert found.states == _all(each.states for each in lived)
    ours, theirs = {**found.history, **found.live}, _all(each.vectors for each in lived)
    assert ours.keys() == theirs.keys()
    assert {name: different for name in ours if (different := differing(ours[name], theirs[name]))} == {}
    return len(ours)


def past_rows(steps: Iterable[Step]) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Imported payments and labels as the lake has them."""
    payments: list[tuple[object, ...]] = []
    labels: list[tuple[object, ...]] = []
    for step in steps:
        if isinstance(step, Labelling):
            label = step.label
            labels.append((label.end_to_end_id, label.tenant, label.known_at, label.label_id, label.kind))
        else:
            payment = behind_the_door(step.message, KEYRING)
            text = canonical_json(payment.to_dict()).decode()
            payments.append(("live", 1, payment.end_to_end_id, payment.tenant, step.at_ms, text))
    return payments, labels


def _all(parts: Iterable[Mapping[str, T]]) -> dict[str, T]:
    return {name: value for part in parts for name, value in part.items()}


LIFE = Recipe(seed=11, accounts=5, late=0.1, labels=0.5, paces=(RUSH, DAILY), imported=60, payments=140)


class FoldsTwice(Desk):
    """A desk that folds each payment twice."""

    def load(self, packed: Packed, event_ms: int, states: Sequence[bytes | None], *, is_imported: bool = False) -> None:
        self._asked = (packed, event_ms, is_imported)
        super().load(packed, event_ms, states, is_imported=is_imported)

    def fold(self, carried: Carried, *, is_allowed: bool) -> list[bytes]:
        packed, event_ms, is_imported = self._asked
        once = super().fold(carried, is_allowed=is_allowed)
        self.load(packed, event_ms, once, is_imported=is_imported)
        return super().fold(carried, is_allowed=is_allowed)


def a_hop_is_one_tile_too_long(patch: pytest.MonkeyPatch) -> None:
    plans, start = layout.ALL_PLANS.copy(), int(layout.PLACES[layout.AT_PLANS + layout.KINDS.index("account")])
    banks = list(layout.LAYOUTS["account"].banks)
    place = next(n for n, bank in enumerate(banks) if bank.flow == "out" and bank.minus_window_ms == -DAY_MS)
    plans[start + layout.PLAN_HEADER + place * layout.BANK_FIELDS + layout.BANK_TILES] += 1
    patch.setattr(online, "ALL_PLANS", plans)


def a_payment_is_folded_twice(patch: pytest.MonkeyPatch) -> None:
    desk = FoldsTwice()
    patch.setattr(serving_pipeline, "desk_of_this_thread", lambda: desk)


def a_label_is_folded_twice(patch: pytest.MonkeyPatch) -> None:
    once = kernel.fold_all

    def twice(folds: Sequence[tuple[bytes | None, str, Event]]) -> list[bytes]:
        return once([(blob, kind, event) for blob, (_, kind, event) in zip(once(folds), folds, strict=True)])

    patch.setattr(kernel, "fold_all", twice)


def a_label_counts_from_its_effect(patch: pytest.MonkeyPatch) -> None:
    from_known = DecisionPipeline.fold_label
    # Without the time at which it came, what is left is the time that the sender wrote: its effect.
    patch.setattr(DecisionPipeline, "fold_label", lambda self, label, _: from_known(self, label, 0))


@pytest.mark.parametrize(
    ("skew", "seen_in"),
    [
        (a_hop_is_one_tile_too_long, "_24h"),
        (a_payment_is_folded_twice, "(attempts|count)_"),
        (a_label_is_folded_twice, "frauds_"),
        (a_label_counts_from_its_effect, "frauds_"),
    ],
)
def test_a_planted_skew_breaks_the_law(
    monkeypatch: pytest.MonkeyPatch, skew: Callable[[pytest.MonkeyPatch], None], seen_in: str
) -> None:
    skew(monkeypatch)
    with pytest.raises(AssertionError, match=seen_in):
        judge(LIFE, [MemoryStore()], Tally())
