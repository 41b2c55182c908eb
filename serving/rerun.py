"""A past decision once more, from lake and registry alone, held against what it logged.

    folds up to the numbers that were read -> features -> the model that decided -> the policy that judged
        -> action, hold, reasons: bit for bit what stands on the record, or a difference that has a name

The online store, the service and Kafka are not asked. Whoever needs many of them gives them together: the lake is
then read once, and each model and policy loaded once. What was folded is replayed by ``serving.rerun_states``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from learning.ensemble import vector_of
from learning.errors import ArtefactRefused
from pix.contracts import Payment, payment_digest
from pix.engines import kernel
from pix.engines.events import Carried, entity_keys
from pix.engines.kernel import Integers
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.logged import DEGRADED_STORE, SIDES, is_without_states
from pix.tokens import Keyring
from serving.rerun_errors import EvidenceAway, OtherBuild, RerunError
from serving.rerun_lake import Evidence
from serving.rerun_models import Loaded, PastModels
from serving.rerun_states import Read, Unreached, states_read
from serving.rerun_verdict import PastPolicies, Vote, WrongPolicy, judged

SUM_TOLERANCE = 1e-9
"""Contributions and the expected value sum to the raw score within this, log-odds."""
Vector = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that was logged and does not come out again.

    Attributes:
        what: Its name on the record; of a feature, ``features.`` and the feature's name.
        logged: What the record says.
        recomputed: What came out.
    """

    what: str
    logged: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.what}: logged {_text(self.logged)}, recomputed {_text(self.recomputed)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What became of one decision.

    Attributes:
        tenant: Its tenant.
        end_to_end_id: Its id.
        differences: What does not come out again.
        away: What was not there to compare with, None if everything was.
        members: Member of the ensemble -> its log-odds.
        reasons: Those that the payer or an analyst is told, for ALLOW too, where they are computed on demand.
        model: Where the model's files were found, when it was trained, and from which versions of which tables.
    """

    tenant: str
    end_to_end_id: str
    differences: tuple[Difference, ...]
    away: str | None = None
    members: Mapping[str, float] = field(default_factory=dict)
    reasons: Sequence[Mapping[str, Any]] = ()
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether everything was compared, and nothing differs."""
        return not self.differences and self.away is None

    def described(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "tenant": self.tenant,
            "end_to_end_id": self.end_to_end_id,
            "equal": self.is_equal,
            "differences": [asdict(difference) for difference in self.differences],
            "not_compared": self.away,
            "member_scores": dict(self.members),
            "model": dict(self.model),
            "reasons": list(self.reasons),
        }


class Rerunner:
    """Re-runs decisions of one lake and one registry."""

    def __init__(self, evidence: Evidence, models: PastModels, keyring: Keyring | None) -> None:
        """Begin with nothing loaded.

        Args:
            evidence: The lake.
            models: The registry.
            keyring: Keys of the tokens, which tell test accounts; None where the home has none.
        """
        self.evidence = evidence
        self._models = models
        self._policies = PastPolicies(evidence, keyring)

    def rerun(self, records: Sequence[Mapping[str, Any]]) -> Iterator[Rerun]:
        """Each decision once more, in their order.

        Args:
            records: Decision records, parsed.

        Raises:
            EvidenceAway: Bronze is not there.
        """
        ours = [record for record in records if record["feature_fingerprint"] == FINGERPRINT]
        states = _States.of(self.evidence, ours)
        for record in records:
            yield self._one(record, states)

    def _one(self, record: Mapping[str, Any], states: "_States") -> Rerun:
        found = _Findings(record)
        try:
            _require_our_features(record)
            vector = _vector_again(found, states)
            self._judge_again(found, vector)
        except RerunError as away:
            found.away = str(away)
        return found.told()

    def _judge_again(self, found: "_Findings", vector: Vector) -> None:
        record, model = found.record, None
        try:
            model = self._models.of(record["model"]) if record["model"] else None
        except ArtefactRefused as refused:
            found.differ("model", record["model"]["sha256"], str(refused))
            return
        vote = _score_again(found, model, vector)
        try:
            policy = self._policies.of(record["policy_version"])
        except WrongPolicy as wrong:
            found.differ("policy_version", record["policy_version"], str(wrong))
            return
        again = judged(policy, record, vote, forced=self._policies.forced(record))
        for name, value in again.logged.items():
            found.compare(name, value)
        found.reasons = again.reasons


class _Findings:
    """What was found of one decision so far."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.differences: list[Difference] = []
        self.away: str | None = None
        self.members: Mapping[str, float] = {}
        self.reasons: Sequence[Mapping[str, Any]] = ()
        self.model: Mapping[str, Any] = {}

    def differ(self, what: str, logged: Any, recomputed: Any) -> None:
        """Note a difference."""
        self.differences.append(Difference(what, logged, recomputed))

    def compare(self, name: str, recomputed: Any) -> None:
        """Note a difference if the record's field is not the same to the last bit; older records lack some."""
        if name in self.record and _bits(self.record[name]) != _bits(recomputed):
            self.differ(name, self.record[name], recomputed)

    def told(self) -> Rerun:
        """The result."""
        return Rerun(
            tenant=self.record["tenant"],
            end_to_end_id=self.record["end_to_end_id"],
            differences=tuple(self.differences),
            away=self.away,
            members=self.members,
            reasons=self.reasons,
            model=self.model,
        )


def _require_our_features(record: Mapping[str, Any]) -> None:
    if record["feature_fingerprint"] != FINGERPRINT:
        raise OtherBuild(
            f"build {record['build']} decided it by the features {record['feature_fingerprint']}, this build computes "
            f"{FINGERPRINT}; run the command of build {record['build']} on this home"
        )


@dataclass(frozen=True, slots=True)
class _States:
    """What the states said to some decisions.

    Attributes:
        reads: Each reading, and what it found.
        away: Imports -> why the base that so many of them left is not there.
    """

    reads: Mapping[Read, Integers | Unreached]
    away: Mapping[int, str]

    @classmethod
    def of(cls, evidence: Evidence, records: Sequence[Mapping[str, Any]]) -> "_States":
        """Fold again what these decisions read."""
        reads = [read for record in records for read in reads_of(record).values()]
        keys = {read.key for read in reads}
        folds = evidence.folds(keys) if keys else {}
        bases, away = {}, {}
        for imports in {read.imports for read in reads}:
            try:
                bases[imports] = evidence.base(imports, {read.key for read in reads if read.imports == imports})
            except EvidenceAway as gone:
                away[imports] = str(gone)
        return cls(states_read([read for read in reads if read.imports in bases], folds, bases), away)


def reads_of(record: Mapping[str, Any]) -> dict[str, Read]:
    """Role -> the reading that a decision logged; none if it was made without states."""
    if is_without_states(dict(record)):
        return {}
    return {
        role: Read(record["generation"], state["key"], state["read"], record["event_time_ms"])
        for role, state in record["states"].items()
    }


def _vector_again(found: _Findings, states: _States) -> Vector:
    """The features from payment and states; the logged ones where a state cannot be had, which is a difference."""
    record = found.record
    payment = Payment(**record["payment"])
    found.compare("payment_digest", payment_digest(payment))
    found.compare("event_time_ms", min(payment.initiated_at_ms, record["received_at_ms"]))
    keys = entity_keys(payment)
    found.compare("states", {role: {**record["states"].get(role, {}), "key": key} for role, key in keys.items()})
    reads = reads_of(record)
    if record["generation"] in states.away and reads:
        raise EvidenceAway(states.away[record["generation"]])
    said: dict[str, Integers] = {}
    for role, read in reads.items():
        of_role = states.reads[read]
        if isinstance(of_role, Unreached):
            found.differ(f"states.{role}.read", read.number, str(of_role))
        else:
            said[role] = of_role
    if len(said) < len(reads):
        return tuple(record["features"])
    vector = kernel.listed(kernel.evaluate(_row(payment, record, said))[0])
    logged = record["features"]
    if len(logged) != len(vector):
        found.differ("features", f"{len(logged)} values", f"{len(vector)} values")
    for name, before, after in zip(FEATURE_NAMES, logged, vector, strict=False):
        if _bits(before) != _bits(after):
            found.differ(f"features.{name}", before, after)
    _compare_carried(found, said)
    return vector


def _row(payment: Payment, record: Mapping[str, Any], said: Mapping[str, Integers]) -> Integers:
    row: Integers = np.stack([kernel.integers_of(payment, record["event_time_ms"], said)])
    return row


def _compare_carried(found: _Findings, said: Mapping[str, Integers]) -> None:
    carried = {side: {"value": None, "read": None} for side in SIDES}
    if said:
        flagged = Carried(
            payer_flagged=kernel.is_flagged(said["payer_account"]),
            payee_flagged=kernel.is_flagged(said["payee_account"]),
        )
        states = found.record["states"]
        carried = {
            side: {"value": getattr(flagged, side), "read": states[side.replace("flagged", "account")]["read"]}
            for side in SIDES
        }
    found.compare("carried", carried)


def _score_again(found: _Findings, model: Loaded | None, vector: Vector) -> Vote:
    """Raw score and probability of the vector, and what each feature adds."""
    record = found.record
    if model is None:
        found.compare("raw_score", None)
        found.compare("fraud_probability", None)
        found.compare("mode", DEGRADED_STORE if is_without_states(dict(record)) else "degraded:model")
        return Vote(None, None, vector)
    taken = vector_of(vector)
    ensemble = model.ensemble
    raw = ensemble.raw_score(taken)
    found.compare("raw_score", raw)
    found.compare("fraud_probability", ensemble.probability(raw))
    found.compare("mode", "normal")
    total = ensemble.expected + sum(ensemble.contributions(taken))
    if not abs(total - raw) <= SUM_TOLERANCE:
        found.differ("sum of contributions", raw, total)
    found.members, found.model = ensemble.member_scores(taken), model.described()
    return Vote(ensemble, ensemble.probability(raw), vector)


def _bits(value: Any) -> str:
    """Texts that are equal if, and only if, their values are, down to the sign of zero."""
    return json.dumps(value, sort_keys=True)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
