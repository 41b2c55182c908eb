"""One decision, step by step: known? states, features, score, policy, reasons, commit.

Everything here is synchronous and short; transport, publishing and answering stand around it. The
order commit, publish, answer is kept by ``serving.decision_routes``: what this module returns is committed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pix import topics
from pix.contracts import (
    LabelMessage,
    PaymentMessage,
    behind_the_door,
    canonical_json,
    payment_digest,
)
from pix.engines import kernel
from pix.engines.events import entity_keys, kind_of
from pix.engines.online import Desk, Packed, desk_of_this_thread, pack
from pix.labels import PaymentReference, apply_label, reference_key, unpack_reference
from pix.store.interface import (
    LIVE_NUMBERS,
    Committed,
    Fold,
    Message,
    QueueChange,
    Snapshot,
    Store,
    next_number,
)
from pix.tokens import Keyring
from serving.outcomes import (
    Arrival,
    Conflict,
    Done,
    FoldedBefore,
    Judgement,
    Model,
    Sighting,
    TooManyRaces,
    UnknownPayment,
)
from serving.policy import Case, Policy, Verdict
from serving.reasons import explained
from serving.records import parse_record, publicly
from serving.reviews import REVIEWED, opened
from serving.stopwatch import COMMIT, ENSEMBLE, FEATURES, PARSE, POLICY, REASONS, RECORD, SNAPSHOT

PAYEE_SIDE = frozenset({"payee_account", "payee_person"})
MAX_RACES = 100
OTHER_BODY = "end_to_end_id was decided before with another body"
NOT_NEW = "end_to_end_id was decided or imported before; a dry run needs an id of its own"
IMPORTED = "end_to_end_id belongs to an imported payment"
FORGOTTEN = "end_to_end_id was decided so long ago that its answer is not kept any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPipeline:
    """The parts a decision needs; ``champion`` and ``policy`` are asked anew for each one.

    ``shadow`` is told tenant, id and features of each payment once its decision is final, ``without_value`` the names
    of rules and segments whose condition could not be computed.
    """

    store: Store
    keyring: Keyring
    champion: Callable[[], Model | None]
    policy: Callable[[], Policy]
    now_ms: Callable[[], int]
    build: str
    shadow: Callable[[str, str, Sequence[float | None]], None] = lambda *_: None
    without_value: Callable[[Sequence[str]], None] = lambda _: None

    def decide(self, message: PaymentMessage, arrival: Arrival) -> Done | Conflict:
        """Decide and commit one payment, or return what was decided before.

        Raises:
            TooManyRaces: The commit lost its race too often.
            pix.store.interface.StoreError: The store cannot answer.
        """
        sighting = self.seen(message, arrival)
        payment, record_id = sighting.payment, sighting.record_id
        packed = pack(payment, entity_keys(payment))
        reference = reference_key(payment.tenant, payment.end_to_end_id)
        judgement: Judgement | None = None
        races: Counter[str] = Counter()
        arrival.stopwatch.lap(PARSE)
        for _ in range(MAX_RACES):
            snapshot = self.store.snapshot(record_id, [*packed.slots, reference])
            arrival.stopwatch.lap(SNAPSHOT)
            if snapshot.record is not None:
                return known_decision(snapshot, record_id, sighting.digest)
            if number := snapshot.states[reference].number:
                return Conflict(IMPORTED if number < LIVE_NUMBERS else FORGOTTEN)
            desk = desk_of_this_thread()
            desk.load(packed, sighting.event_ms, [snapshot.states[key].blob for key in packed.slots])
            is_judged = judgement is not None and _still_holds(judgement, snapshot, packed.keys)
            if judgement is not None:
                races["payee" if is_judged else "payer"] += 1
            if judgement is None or not is_judged:
                judgement = self._judge(sighting, desk, packed.keys, snapshot)
            done = self._commit(sighting, packed, desk, snapshot, judgement, races)
            if done is not None:
                self.shadow(payment.tenant, payment.end_to_end_id, judgement.features)
                return done
        raise TooManyRaces(f"{payment.end_to_end_id}: lost {MAX_RACES} races for its accounts; try again")

    def seen(self, message: PaymentMessage, arrival: Arrival) -> Sighting:
        """What is certain of a payment before anything is read."""
        payment = behind_the_door(message, self.keyring)
        event_ms = min(payment.initiated_at_ms, arrival.received_at_ms)
        return Sighting(payment, payment_digest(payment), event_ms, arrival)

    def dry_run(self, message: PaymentMessage, arrival: Arrival) -> bytes | Conflict:
        """What would be decided on a new payment now; nothing is stored.

        Returns:
            The answer, marked ``dry_run``; a conflict where the id has been decided, so that its answer stands.

        Raises:
            pix.store.interface.StoreError: The store cannot answer.
        """
        sighting = self.seen(message, arrival)
        payment = sighting.payment
        packed = pack(payment, entity_keys(payment))
        reference = reference_key(payment.tenant, payment.end_to_end_id)
        snapshot = self.store.snapshot(sighting.record_id, [*packed.slots, reference])
        if snapshot.record is not None or snapshot.states[reference].number:
            return Conflict(NOT_NEW)
        desk = desk_of_this_thread()
        desk.load(packed, sighting.event_ms, [snapshot.states[key].blob for key in packed.slots])
        judgement = self._judge(sighting, desk, packed.keys, snapshot)
        return canonical_json({**publicly(sighting, judgement, judgement.mode), "dry_run": True})

    def _judge(self, sighting: Sighting, desk: Desk, keys: Mapping[str, str], snapshot: Snapshot) -> Judgement:
        stopwatch = sighting.arrival.stopwatch
        vector, carried = desk.read()
        features = kernel.listed(vector)
        stopwatch.lap(FEATURES)
        champion = self.champion()
        raw = champion.raw_score(vector) if champion else None
        probability = champion.probability(raw) if champion and raw is not None else None
        stopwatch.lap(ENSEMBLE)
        policy, decided_at_ms = self.policy(), self.now_ms()
        verdict = self.verdict(policy, sighting, Case(probability, features, sighting.payment, decided_at_ms))
        stopwatch.lap(POLICY)
        told = explained(champion, features, verdict.rule_hits, policy) if verdict.action != "ALLOW" else []
        stopwatch.lap(REASONS)
        return Judgement(
            generation=snapshot.generation,
            imports=snapshot.imports,
            read={role: snapshot.states[key].number for role, key in keys.items()},
            features=features,
            carried=carried,
            raw_score=raw,
            probability=probability,
            verdict=verdict,
            reasons=told,
            model=champion.identity if champion else None,
            policy=policy,
            decided_at_ms=decided_at_ms,
        )

    def verdict(self, policy: Policy, sighting: Sighting, case: Case) -> Verdict:
        """What the policy says, or a test account."""
        verdict = policy.judge(case)
        if verdict.failed:
            self.without_value(verdict.failed)
        forced = sighting.arrival.forced
        return verdict if forced is None else verdict.forced(forced)

    def _commit(
        self,
        sighting: Sighting,
        packed: Packed,
        desk: Desk,
        snapshot: Snapshot,
        judgement: Judgement,
        races: Mapping[str, int],
    ) -> Done | None:
        # Whoever replays a decision knows no other time than the one on its record.
        now_ms, payment = judgement.decided_at_ms, sighting.payment
        blobs = desk.fold(judgement.carried, is_allowed=judgement.is_allowed)
        folds = next_folds(snapshot, packed.slots, blobs, now_ms)
        states = {
            role: {"key": key, "read": judgement.read[role], "got": folds[key].got} for role, key in packed.keys.items()
        }
        public = publicly(sighting, judgement, judgement.mode)
        record = self.record(sighting, judgement, public, states=states, carried=_carried(judgement))
        arrival = sighting.arrival
        message = Message(
            sighting.record_id, topics.DECISIONS, payment.payer_account, record, now_ms, arrival.traceparent
        )
        reference = PaymentReference(packed.keys)
        key = reference_key(payment.tenant, payment.end_to_end_id)
        written = [*folds.values(), Fold(key, 0, next_number(0, now_ms), reference.pack())]
        opening = _opening(judgement, record)
        arrival.stopwatch.lap(RECORD)
        result = self.store.commit(message, written, judgement.generation, opening)
        arrival.stopwatch.lap(COMMIT)
        # AlreadyKnown: another worker decided the same id a moment ago; the next snapshot finds its record.
        if not isinstance(result, Committed):
            return None
        gaps = {role: gap(judgement.read[role], folds[key].got) for role, key in packed.keys.items()}
        return Done(record, message, judgement.facts(judgement.mode, gaps, races), public)

    def record(
        self,
        sighting: Sighting,
        judgement: Judgement,
        public: Mapping[str, object],
        *,
        states: Mapping[str, object],
        carried: Mapping[str, object],
    ) -> bytes:
        """The final bytes of a decision.

        Args:
            sighting: The payment as it came in.
            judgement: What was concluded.
            public: What the caller is told; see ``publicly``.
            states: Role -> key and number of the state that was read and written.
            carried: What the accounts' states said, and the number that they were read at.
        """
        payment, arrival = sighting.payment, sighting.arrival
        return canonical_json(
            {
                **public,
                "tenant": payment.tenant,
                "decided_at_ms": judgement.decided_at_ms,
                "event_time_ms": sighting.event_ms,
                "received_at_ms": arrival.received_at_ms,
                "payment": payment.to_dict(),
                "payment_digest": sighting.digest,
                "body_token": self.keyring.body_token(arrival.body_sha256),
                "features": judgement.features,
                "carried": carried,
                "generation": judgement.imports,
                "store_generation": judgement.generation,
                "states": states,
                "outcome": "allowed" if judgement.is_allowed else "attempted",
                "control_group": judgement.verdict.control.described() if judgement.verdict.control else None,
                "raw_score": judgement.raw_score,
                "origin": arrival.origin,
                "build": self.build,
                "token_key_version": self.keyring.current,
            }
        )

    def fold_label(self, label: LabelMessage, received_at_ms: int) -> Done | UnknownPayment | FoldedBefore:
        """Fold one label into the states of its payment's entities, or return what was folded before.

        Raises:
            TooManyRaces: The commit lost its race too often.
            pix.store.interface.StoreError: The store cannot answer.
        """
        record_id = f"{label.tenant}|label|{label.label_id}"
        reference = reference_key(label.tenant, label.end_to_end_id)
        known_ms = max(label.known_at, received_at_ms)
        for _ in range(MAX_RACES):
            snapshot = self.store.snapshot(record_id, [reference])
            if snapshot.record is not None:
                return _done(snapshot, record_id, topics.FOLDS, label.end_to_end_id)
            found = snapshot.states[reference]
            if found.blob is None:
                return UnknownPayment()
            known = unpack_reference(found.blob)
            if known.knows(label.label_id):
                return FoldedBefore()
            snapshot = self.store.snapshot(record_id, [reference, *dict.fromkeys(known.keys.values())])
            done = self._commit_label(label, known_ms, reference, snapshot)
            if done is not None:
                return done
        raise TooManyRaces(f"label {label.label_id}: lost {MAX_RACES} races for its accounts; try again")

    def _commit_label(self, label: LabelMessage, known_ms: int, reference_id: str, snapshot: Snapshot) -> Done | None:
        now_ms = self.now_ms()
        found = snapshot.states[reference_id]
        if found.blob is None:
            return None
        reference, change = apply_label(unpack_reference(found.blob), label.label_id, label.kind, known_ms)
        folds: dict[str, Fold] = {}
        states: dict[str, object] = {}
        if change is not None:
            events = change.events(reference.keys)
            blobs = kernel.fold_all([(snapshot.states[key].blob, kind_of(key), event) for key, event in events.items()])
            folds = next_folds(snapshot, events, blobs, now_ms)
            states = {
                role: {"key": key, "read": folds[key].read, "got": folds[key].got}
                for role, key in reference.keys.items()
            }
        written = [
            Fold(reference_id, found.number, next_number(found.number, now_ms), reference.pack()),
            *folds.values(),
        ]
        record = canonical_json(
            {
                "fold_id": label.label_id,
                "kind": "label",
                "tenant": label.tenant,
                "end_to_end_id": label.end_to_end_id,
                "label_kind": label.kind,
                "time_ms": known_ms,
                "measure": change.measure if change else "frauds",
                "change": change.change if change else 0,
                "counted_at_ms": change.counted_at_ms if change else None,
                "generation": snapshot.imports,
                "store_generation": snapshot.generation,
                "folded_at_ms": now_ms,
                "states": states,
                "reference": {"key": reference_id, "read": found.number, "got": written[0].got},
            }
        )
        record_id = f"{label.tenant}|label|{label.label_id}"
        message = Message(record_id, topics.FOLDS, label.end_to_end_id, record, now_ms)
        result = self.store.commit(message, written, snapshot.generation)
        return Done(record, message) if isinstance(result, Committed) else None


def known_decision(snapshot: Snapshot, record_id: str, digest: str) -> Done | Conflict:
    """What to answer for an id that was decided before."""
    content = parse_record(snapshot.record or b"{}")
    if content["payment_digest"] != digest:
        return Conflict(OTHER_BODY)
    return _done(snapshot, record_id, topics.DECISIONS, content["payment"]["payer_account"])


def _done(snapshot: Snapshot, record_id: str, topic: str, key: str) -> Done:
    record = snapshot.record or b""
    # Committed long ago or not: a record that is still in the outbox is published before it is answered.
    return Done(record, None if snapshot.is_published else Message(record_id, topic, key, record, 0))


def _opening(judgement: Judgement, record: bytes) -> QueueChange | None:
    """The review that a decision opens, if any; made from its bytes, as a rebuild makes it."""
    review = opened(parse_record(record)) if judgement.verdict.action in REVIEWED else None
    return QueueChange(None, review.entry()) if review else None


def _still_holds(judgement: Judgement, snapshot: Snapshot, keys: Mapping[str, str]) -> bool:
    """Whether only the payee moved on: then the score stands and just the folds are repeated."""
    return judgement.generation == snapshot.generation and all(
        snapshot.states[key].number == judgement.read[role] for role, key in keys.items() if role not in PAYEE_SIDE
    )


def gap(read: int, got: int) -> int:
    """Folds of others between the state that was read and the fold that followed; 0 for a key's first live fold."""
    return got - read - 1 if read >= LIVE_NUMBERS else 0


def _carried(judgement: Judgement) -> dict[str, dict[str, object]]:
    """The carried facts, each with the number of the state that it was read at."""
    return {
        "payer_flagged": {"value": judgement.carried.payer_flagged, "read": judgement.read["payer_account"]},
        "payee_flagged": {"value": judgement.carried.payee_flagged, "read": judgement.read["payee_account"]},
    }


def next_folds(snapshot: Snapshot, keys: Iterable[str], blobs: Iterable[bytes], now_ms: int) -> dict[str, Fold]:
    """Key -> its next state."""
    folds = {}
    for key, blob in zip(keys, blobs, strict=True):
        number = snapshot.states[key].number
        folds[key] = Fold(key, number, next_number(number, now_ms), blob)
    return folds
