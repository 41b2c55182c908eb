"""What monitoring found, and whether it is time to train again: pure, values in, a verdict with its reasons out.

Every finding has a name. With the champion's version it is what a request for retraining is known by: the same finding
about the same champion asks once. A newly promoted champion may be asked about anew, and whatever asks, asks at most
once in the time that a retraining needs to show its effect.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import log

from quality import concept, drift

COOLDOWN_MS = 3 * 86_400_000
"""After a request: in less time no further day's labels would have matured much, and the machine would only train."""
SETTLE_DAYS = 3
"""From the day on which fraud is seen to be other to the request: a model trained that very day has hardly met the new
fraud, and what else moves for the same reason joins the same request. On these days the challenger is judged: had its
twin learnt from older ones alone, it would know as little of the new fraud as the champion, and could not be better."""
CONCEPT = "concept"
SCORE_PSI = 0.2
TYPES_PSI, TIMES_CHANCE = 0.25, 4.0
"""Of the mix of kinds of fraud, and how many times what so few frauds differ by chance."""
LEAST_LABELS = 20
"""Frauds on either side, found or expected, from which shares are compared."""
SHARE_MOVED = 2.0
"""Times the share of fraud that the champion was trained on, or that part of it."""
CAMPAIGN = 3.0
"""Frauds come so many at a time: they scatter as a third of them would."""
FAR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it was.

    Attributes:
        kind: ``data``, ``prediction``, ``labels``, ``concept`` or ``calibration``.
        what: Of what, in a word that stays the same from day to day.
        told: The evidence, as a sentence.
        waits_days: So many more days it should stand before it asks.
    """

    kind: str
    what: str
    told: str
    waits_days: int = 0

    @property
    def name(self) -> str:
        """What it is known by."""
        return f"{self.kind}:{self.what}"

    def to_dict(self) -> dict[str, str | int]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether to retrain, why or why not, and under which key it is asked for.

    Attributes:
        retrain: Whether to ask.
        reasons: Sentences.
        asks: The findings' names with the champion's version; what is asked once for all.
        newest_days: The challenger's last fold shall judge so many of the newest days (``learning.recipe``); None where
            fraud itself is as it was.
    """

    retrain: bool
    reasons: tuple[str, ...]
    asks: tuple[str, ...] = ()
    newest_days: int | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """Labels of one side.

    Attributes:
        payments: Whose outcome is known.
        frauds: Of these.
        by_type: Kind of fraud -> different payees of such frauds: a campaign pays few payees often.
    """

    payments: float
    frauds: float
    by_type: Mapping[str, float]


def verdict(
    findings: Sequence[Finding],
    *,
    champion: str | None,
    asked: Collection[str],
    last_request_ms: int | None,
    now_ms: int,
    cooldown_ms: int = COOLDOWN_MS,
) -> Verdict:
    """Is it time to train again?

    Args:
        findings: Of the newest report.
        champion: Version of the model that serves; None while there is none.
        asked: What was ever asked for (``Verdict.asks``).
        last_request_ms: When retraining was last asked for, epoch milliseconds.
        now_ms: The clock.
        cooldown_ms: Least time between two requests.
    """
    if champion is None:
        return Verdict(retrain=False, reasons=("no champion serves, so there is nothing to train again",))
    if not findings:
        return Verdict(retrain=False, reasons=("nothing has drifted",))
    new = [one for one in findings if f"v{champion}:{one.name}" not in asked]
    if not new:
        known = ", ".join(one.name for one in findings)
        return Verdict(retrain=False, reasons=(f"asked for already, of champion v{champion}: {known}",))
    if waits := min(one.waits_days for one in new):
        waiting = ", ".join(one.name for one in new)
        return Verdict(retrain=False, reasons=(f"{waits} more days for labels to learn from: {waiting}",))
    asks = tuple(sorted(f"v{champion}:{one.name}" for one in new))
    if last_request_ms is not None and now_ms - last_request_ms < cooldown_ms:
        hours = (last_request_ms + cooldown_ms - now_ms) / 3_600_000
        waiting = ", ".join(one.name for one in new)
        return Verdict(retrain=False, reasons=(f"asked not long ago, {hours:.0f} h to go: {waiting}",))
    newest_days = SETTLE_DAYS if any(one.kind == CONCEPT for one in new) else None
    reasons = tuple(f"{one.kind}: {one.told}" for one in new)
    return Verdict(retrain=True, reasons=reasons, asks=asks, newest_days=newest_days)


def of_features(summary: drift.DriftSummary) -> list[Finding]:
    """The data have drifted where enough features have."""
    if not summary.enough or summary.drifted_share < drift.DRIFTED_SHARE:
        return []
    return [Finding(kind="data", what="features", told=drift.told(summary))]


def of_scores(psi: float, usual: float, *, rows: int) -> list[Finding]:
    """Predictions have drifted where the distribution of the log-odds has.

    Args:
        psi: Between then and now.
        usual: The greatest between parts of then.
        rows: Of the smaller side.
    """
    if rows < drift.MIN_ROWS or not drift.has_moved(psi, usual, SCORE_PSI):
        return []
    told = f"PSI {psi:.2f} of the champion's log-odds, {usual:.2f} among rows of its own time"
    return [Finding(kind="prediction", what="scores", told=told)]


def of_labels(before: Shares, now: Shares) -> list[Finding]:
    """Labels have drifted where the share of fraud among matured payments has, or the mix of its kinds."""
    return [*_of_share(before, now), *_of_types(before, now)]


def _of_share(before: Shares, now: Shares) -> list[Finding]:
    if not (before.payments and now.payments and before.frauds >= LEAST_LABELS):
        return []
    expected = before.frauds / before.payments * now.payments
    # As if there had been one more of each: no fraud at all has a logarithm, too.
    ratio = (now.frauds + 1) / (expected + 1)
    noise = (CAMPAIGN * (1 / (now.frauds + 1) + 1 / (before.frauds + 1))) ** 0.5
    is_usual = 1 / SHARE_MOVED <= ratio <= SHARE_MOVED or abs(log(ratio)) < FAR * noise
    if is_usual or max(now.frauds, expected) < LEAST_LABELS:
        return []
    told = f"{now.frauds:.0f} frauds in {now.payments:.0f} matured payments, {ratio:.1f} times the share before"
    return [Finding(kind="labels", what=f"share-{'up' if ratio > 1 else 'down'}", told=told)]


def _of_types(before: Shares, now: Shares) -> list[Finding]:
    counts = (sum(before.by_type.values()), sum(now.by_type.values()))
    if min(counts) < LEAST_LABELS:
        return []
    kinds = sorted({*before.by_type, *now.by_type})
    # As if each kind had half a fraud more: a kind that is new has no logarithm.
    sides = [
        [(side.get(kind, 0) + 0.5) / (count + 0.5 * len(kinds)) for kind in kinds]
        for side, count in zip((before.by_type, now.by_type), counts, strict=True)
    ]
    psi = sum((one - other) * log(one / other) for one, other in zip(*sides, strict=True))
    by_chance = CAMPAIGN * (len(kinds) - 1) * (1 / counts[0] + 1 / counts[1])
    if psi < max(TYPES_PSI, TIMES_CHANCE * by_chance):
        return []
    moved = max(zip(*sides, kinds, strict=True), key=lambda one: abs(one[1] - one[0]))
    most = f"{moved[2]} {moved[0]:.0%} before, {moved[1]:.0%} now"
    told = f"PSI {psi:.2f} of the kinds of fraud, {by_chance:.2f} of it by chance; {most}"
    return [Finding(kind="labels", what="types", told=told)]


def of_days(
    days: Sequence[concept.Day], *, before: Sequence[concept.Day] = (), learnt_until: date | None = None
) -> list[Finding]:
    """Fraud is other than the model believes whose matured days say so.

    Args:
        days: The champion's own, in order; while it has none, those of the model before it.
        before: Those before them (``concept.watched``).
        learnt_until: Newest day that the champion learnt from. Where fraud was seen to be other so long before that it
            has met it, the days of the model before it say nothing more. None where it learnt from none of them.
    """
    shares = {
        "alert-precision": concept.precision_drift(days, before),
        "alert-recall": concept.recall_drift(days, before),
    }
    seen = {what: each for what, each in shares.items() if each is not None}
    if residual := concept.residual_drift(days):
        seen = {f"residual-{residual.direction}": residual, **seen}
    settled = timedelta(days=SETTLE_DAYS)
    if learnt_until is not None and any(each.day + settled <= learnt_until for each in seen.values()):
        return []
    waits = {what: max(0, SETTLE_DAYS - (days[-1].day - each.day).days) for what, each in seen.items()}
    return [Finding(kind=CONCEPT, what=what, told=each.told, waits_days=waits[what]) for what, each in seen.items()]


def of_probabilities(days: Sequence[concept.Day], *, reported: float) -> list[Finding]:
    """Probabilities are wrong by a factor where all matured days of the champion together say so.

    Args:
        days: Its own, in order.
        reported: Share of its training set's frauds that were known when they matured.
    """
    told = concept.miscalibration(days, reported=reported)
    return [Finding(kind="calibration", what="probabilities", told=told)] if told else []
