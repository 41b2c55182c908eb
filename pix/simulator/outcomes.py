"""What becomes of fraud and of honest doubts: the dispute (MED), its deadlines, its refund, and its labels.

Late, incomplete and sometimes wrong, as in life: fraud that nobody reports stays unlabelled, some disputes of
fraud are rejected, honest payments are disputed far more often than fraud is, a few of them with success, and
an accepted dispute may be reversed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pix.contracts import label_id
from pix.simulator import published
from pix.simulator.flow import HONEST_CAMPAIGN, Flow, Typology
from pix.simulator.letters import timestamps
from pix.simulator.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Bools, Floats, Ints
from pix.simulator.scenarios import SCENARIOS, TRACED, Outcome

NEVER_MS = np.iinfo(np.int64).max // 4
REVERSED_SHARE = 0.02
# Of accepted disputes, those whose payment was honest.
WRONGLY_ACCEPTED_SHARE = 0.03
REFUNDS = tuple(published.REFUND_SHARES)
_OUTCOMES = {scenario.typology: scenario.outcome for scenario in SCENARIOS} | {Typology.MULE_PASS_THROUGH: TRACED}
_SUSPECTED = Outcome(fraud_type="SCAM", reported=1.0, accepted=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """Columns, one row per payment: when it was contested and decided, and how it ended.

    Attributes:
        contested_ms: Epoch ms; ``NEVER_MS`` where nobody did.
        decided_ms: End of the analysis; ``NEVER_MS`` without a dispute.
        accepted: Whether fraud was agreed on.
        reversed_ms: When an accepted one was taken back, else ``NEVER_MS``.
        refund: Place in ``REFUNDS``; -1 where nothing was accepted.
        refunded_cents: What came back.
    """

    contested_ms: Ints
    decided_ms: Ints
    accepted: Bools
    reversed_ms: Ints
    refund: Ints
    refunded_cents: Ints

    def take(self, rows: Ints | Bools | slice) -> "Dispute":
        """The given rows, in that order."""
        return Dispute(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})


def join_disputes(parts: Sequence[Dispute]) -> Dispute:
    """All rows of all parts, in that order."""
    names = [column.name for column in fields(Dispute)]
    return Dispute(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def undisputed(n: int) -> Dispute:
    """Rows that nobody contested."""
    never = np.full(n, NEVER_MS)
    return Dispute(
        contested_ms=never,
        decided_ms=never,
        accepted=np.zeros(n, dtype=np.bool_),
        reversed_ms=never,
        refund=np.full(n, -1),
        refunded_cents=np.zeros(n, dtype=np.int64),
    )


def disputes(rng: np.random.Generator, flow: Flow) -> Dispute:
    """How the fraudulent payments of whole campaigns end.

    A victim reports all payments of a campaign or none; money passed on is found when a victim's dispute is
    traced.
    """
    n = len(flow)
    outcomes = [_OUTCOMES.get(Typology(code), _SUSPECTED) for code in flow.typology.tolist()]
    fraud = flow.typology != Typology.HONEST
    reported = np.array([outcome.reported for outcome in outcomes])
    convincing = np.array([outcome.accepted for outcome in outcomes])
    _, victim = np.unique(flow.campaign * 2**21 + flow.payer, return_inverse=True)
    by_victim = rng.random(int(victim.max(initial=-1)) + 1)[victim]
    contested = flow.at_ms + _until_contested(rng, n)
    root = fraud & (flow.hop == 0) & (by_victim < reported)
    traced = fraud & (flow.hop > 0) & (rng.random(n) < reported) & np.isin(flow.campaign, flow.campaign[root])
    contested = np.where(traced, contested + (rng.uniform(0.2, 3, n) * DAY_MS).astype(np.int64), contested)
    contested = np.minimum(contested, flow.at_ms + published.CONTEST_WITHIN_DAYS * DAY_MS)
    return _decided(rng, flow, root | traced, contested, convincing)


def doubts(rng: np.random.Generator, flow: Flow, n: int, accepted_share: float) -> tuple[Ints, Dispute]:
    """Disputes of honest payments: regrets, quarrels about goods, tries.

    Args:
        rng: Source of chance.
        flow: Payments of a day, frauds among them.
        n: Disputes wanted.
        accepted_share: Of them, wrongly accepted.

    Returns:
        The rows of the flow, and their disputes.
    """
    honest = np.flatnonzero(flow.campaign == HONEST_CAMPAIGN)
    rows = np.sort(rng.choice(honest, min(n, len(honest)), replace=False))
    some = flow.take(rows)
    contested = some.at_ms + _until_contested(rng, len(rows))
    everyone = np.ones(len(rows), dtype=np.bool_)
    return rows, _decided(rng, some, everyone, contested, np.full(len(rows), accepted_share))


def _decided(rng: np.random.Generator, flow: Flow, reported: Bools, contested: Ints, convincing: Floats) -> Dispute:
    n = len(flow)
    analysis = HOUR_MS + (rng.beta(1.2, 2.4, n) * published.ANALYSIS_WITHIN_DAYS * 0.98 * DAY_MS).astype(np.int64)
    accepted = reported & (rng.random(n) < convincing)
    decided = np.where(reported, contested + analysis, NEVER_MS)
    taken_back = accepted & (rng.random(n) < REVERSED_SHARE)
    later = decided + (rng.uniform(2, 30, n) * DAY_MS).astype(np.int64)
    refund = _refund(rng, flow, accepted)
    partial = np.minimum(rng.exponential(published.PARTIAL_RECOVERS, n), 0.9)
    back = np.select(
        [refund == REFUNDS.index(published.FULL), refund == REFUNDS.index(published.PARTIAL)], [1.0, partial]
    )
    return Dispute(
        contested_ms=np.where(reported, contested, NEVER_MS),
        decided_ms=decided,
        accepted=accepted,
        reversed_ms=np.where(taken_back, later, NEVER_MS),
        refund=refund,
        refunded_cents=(flow.amount_cents * np.where(accepted, back, 0.0)).astype(np.int64),
    )


def _refund(rng: np.random.Generator, flow: Flow, accepted: Bools) -> Ints:
    """How much of the money was still there: least where it was passed on, less of large sums."""
    shares = np.array(list(published.REFUND_SHARES.values()))
    weights = np.tile(shares, (len(flow), 1))
    passed_on = np.isin(flow.campaign, flow.campaign[flow.hop > 0]) & (flow.campaign != HONEST_CAMPAIGN)
    weights[:, REFUNDS.index(published.NO_BALANCE)] *= np.where(passed_on, 1.12, 0.8)
    weights[:, REFUNDS.index(published.FULL)] *= np.where(flow.amount_cents < 100_000, 1.2, 0.75)  # noqa: PLR2004
    edges = np.cumsum(weights, axis=1)
    drawn = (rng.random(len(flow))[:, None] * edges[:, -1:] >= edges).sum(axis=1)
    return np.where(accepted, drawn.clip(max=len(REFUNDS) - 1), -1)


def _until_contested(rng: np.random.Generator, n: int) -> Ints:
    """Minutes to 80 days, most within a day or two."""
    delay = np.minimum(rng.lognormal(-0.1, 1.35, n), published.CONTEST_WITHIN_DAYS * 0.99)
    return (delay * DAY_MS).astype(np.int64) + 5 * MINUTE_MS


def labels(rng: np.random.Generator, ids: list[str], typology: Ints, dispute: Dispute) -> list[dict[str, Any]]:
    """All labels that will ever become known about these payments.

    A label is known within the half hour that the rules give the notification.
    """
    notified = (rng.uniform(0.05, 1.0, (len(ids), 3)) * published.NOTIFIED_WITHIN_SECONDS * SECOND_MS).astype(np.int64)
    verdicts = np.where(dispute.accepted, "accepted", "rejected")
    found: list[tuple[int, int, str, int]] = []
    for row in np.flatnonzero(dispute.contested_ms != NEVER_MS).tolist():
        moments = [(dispute.contested_ms[row], "contested"), (dispute.decided_ms[row], str(verdicts[row]))]
        if dispute.reversed_ms[row] != NEVER_MS:
            moments.append((dispute.reversed_ms[row], "reversed"))
        found += [(int(at), row, kind, int(at + notified[row, place])) for place, (at, kind) in enumerate(moments)]
    effective = timestamps(np.array([at for at, *_ in found], dtype=np.int64)).to_pylist()
    known = timestamps(np.array([at for *_, at in found], dtype=np.int64)).to_pylist()
    written = []
    for (_, row, kind, _), effective_at, known_at in zip(found, effective, known, strict=True):
        says_fraud = kind in ("contested", "accepted")
        content: dict[str, Any] = {
            "end_to_end_id": ids[row],
            "kind": kind,
            "fraud_type": _OUTCOMES.get(Typology(int(typology[row])), _SUSPECTED).fraud_type if says_fraud else None,
            "effective_at": effective_at,
            "known_at": known_at,
            "source": "med",
        }
        written.append({"label_id": label_id(content), **content})
    return written
