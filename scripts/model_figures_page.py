"""The page of ``scripts/model_figures.py``: figures of seeds in, Markdown out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from learning.costs import Costs
from learning.evaluation import CONFIDENCE, RESAMPLES, Interval
from learning.groups import FEW_FRAUDS, WEAK_RECALL, Group, pooled, weak
from learning.training import ENSEMBLE, RAW, RULES
from pix.simulator.document import table

PICTURES = {"over": "model-figures-over.png", "typologies": "model-figures-typologies.png"}
RARE_PER_100K = 5
HINDSIGHT = "raw fields, calibrated in hindsight"
OTHERS, DRAWN = (RAW, HINDSIGHT, RULES), ("payment", "campaign")
JUDGED = (ENSEMBLE, RAW, RULES)
SHOWN_RATE, WIDE_RATE = "typology_at_1e-03", "typology_at_1e-02"
METRICS = {
    "average_precision": "Average precision",
    "recall_at_fpr_1e-04": "Recall, FPR 1e-4",
    "recall_at_fpr_1e-03": "FPR 1e-3",
    "recall_at_fpr_1e-02": "FPR 1e-2",
    "precision_at_100_a_day": "Precision at 100 a day: payments",
    "account_precision_at_100_a_day": "accounts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is simulated of every seed, and how it is backtested."""

    payments: int = 2_500_000
    accounts: int = 50_000
    fraud_per_100k: int = 200
    train_days: int = 28
    delay_days: int = 7
    test_days: int = 14
    folds: int = 2

    @property
    def days(self) -> int:
        """Days of a simulation: the last test ends with it."""
        return self.train_days + self.delay_days + self.test_days * self.folds

    def simulated(self, seed: int) -> list[str]:
        """Options of ``sentinela simulate``."""
        sizes = {"seed": seed, "days": self.days, "accounts": self.accounts, "payments": self.payments}
        return options({**sizes, "fraud-per-100k": self.fraud_per_100k})

    def backtested(self, seed: int) -> list[str]:
        """Options of ``sentinela backtest``."""
        days = {"train-days": self.train_days, "delay-days": self.delay_days, "test-days": self.test_days}
        return ["--history", "sim", *options({**days, "folds": self.folds, "seed": seed})]


def options(values: Mapping[str, int]) -> list[str]:
    """Words of a command line."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was found with one seed.

    Attributes:
        seed: The seed.
        first_day: First day that was simulated.
        tested: Payments of the tests.
        unknown: How many of them nobody knows of: contested, and not judged yet.
        known_frauds: Frauds by label.
        true_frauds: Frauds by the simulator's truth.
        campaigns: How many campaigns the known frauds belong to.
        campaigns_by_typology: Typology -> campaigns of the true frauds.
        known_by_typology: Typology -> frauds by truth and by label.
        rows: Every number; see ``learning.judging.row``.
    """

    seed: int
    first_day: str
    tested: int
    unknown: int
    known_frauds: int
    true_frauds: int
    campaigns: int
    campaigns_by_typology: Mapping[str, int]
    known_by_typology: Mapping[str, int]
    rows: Sequence[Mapping[str, Any]]

    def of(self, judged: str, split: str, part: str, metric: str) -> Interval:
        """One number."""
        wanted = {"judged": judged, "split": split, "part": part, "metric": metric}
        found = [row for row in self.rows if wanted.items() <= row.items()]
        if len(found) != 1:
            raise LookupError(f"seed {self.seed} has {len(found)} rows of {wanted}")
        low, high = (found[0][end] for end in ("low", "high"))
        return Interval(point=found[0]["value"], low=low, high=high, confidence=CONFIDENCE)

    def typologies(self, judged: str, split: str) -> tuple[Group, ...]:
        """Recall by typology."""
        return tuple(
            Group(
                by="typology",
                name=row["part"],
                payments=row["frauds"],
                frauds=row["frauds"],
                recall=Interval(point=row["value"], low=row["low"], high=row["high"], confidence=CONFIDENCE),
                false_positive_rate=None,
            )
            for row in self.rows
            if (row["judged"], row["split"]) == (judged, split)
        )


def page(protocol: Protocol, found: Sequence[Figures]) -> str:
    """The page in Markdown; its pictures stand in ``images`` beside it."""
    parts = [
        head(protocol, found),
        standing(found, "natural"),
        f"![What the ensemble has over raw fields and rules, by seed](images/{PICTURES['over']})",
        f"## At {protocol.fraud_per_100k} frauds per 100,000",
        worth(found, "natural"),
        over(found, "natural"),
        RARE.format(rare=RARE_PER_100K, rate=protocol.fraud_per_100k, fewer=protocol.fraud_per_100k / RARE_PER_100K),
        standing(found, "rare"),
        worth(found, "rare"),
        over(found, "rare"),
        OTHER.format(rate=protocol.fraud_per_100k, hidden=hidden(found)),
        others(found, "natural"),
        BY_TRUTH,
        others(found, "truth"),
        typologies(found),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


HEAD = """\
# What the models are worth

Written by `scripts/model_figures.py` on {day}, from {seeds} seeds of the simulator's default mixture of typologies.
It is simulated fraud: [how true](simulator.md) it is limits what these figures say of a bank's.

**Protocol.** Of each seed {payments:,} payments of {accounts:,} accounts in {days} days, {rate} frauds per 100,000,
and `sentinela backtest {backtest}`:
two tests of {test_days} days, {delay_days} days after what each fold learnt from. It learns with the labels that were
known when the test began. Judged is by what all labels say in the end, up to 80 days later: a fraud that nobody
reported counts as honest, as it would in a bank. Three are judged on the same payments: the **ensemble**; a CatBoost
on **raw fields** of the payment, same recipe, no features; the policy's **rules only**. Models alert where that is
expected to be worth its cost (`learning/costs.py`: assumed are R$ {review} for a review, R$ {friction} for an honest
payer's trouble, and that {returned} of a missed fraud comes back), rules where they say so. No cap on alerts a day.
The CatBoost on raw fields is not calibrated as the ensemble is, which costs it R$; so beside it stands the same
calibrated in hindsight, on the very payments that are judged, as well as nobody could have done before.
A simulation ends when it is made: made again on another day, it has other payments.

**Intervals** are 95 % bootstrap intervals of {resamples} resamples, differences paired: both on the same resample.
Frauds come in campaigns that are alike, so a second interval draws whole campaigns of the simulator's truth; it is
the more honest one.

{counts}"""
RARE = """\
## At {rare} per 100,000

A model's ranking does not change with the number of frauds, so no other simulation is needed: the frauds of the
same tests, those that nobody reported too, are weighed down until {rare} per 100,000 payments are known to be
fraud. What each model says is corrected for it, its odds times the same factor (Elkan 2001), before it alerts;
uncorrected it would alert far too often. R$ are of as many payments as above, with {fewer:.0f} times fewer frauds
and less money at stake. Features are those made among {rate} per 100,000: with fewer frauds around, those that
count known frauds nearby would say less, so these figures are likely too good."""
OTHER = """\
## Other figures, at {rate} per 100,000

Recall is the share of frauds found at a false-positive rate (FPR), which does not depend on how rare fraud is;
precision is the share of frauds among a day's 100 most suspicious payments, or payees. First by label, which is
what a bank could measure. There the honest payments hold {hidden} frauds per 100,000 that nobody reported; where a
model finds them they count against it, most of all at an FPR of 1e-4, which is 10 per 100,000."""
BY_TRUTH = """\
The same where all that is fraud by the simulator's truth counts, reported or not:"""


def head(protocol: Protocol, found: Sequence[Figures]) -> str:
    """What was done."""
    costs = Costs()
    rows = [
        (
            str(one.seed), one.first_day, f"{one.tested:,}", f"{one.known_frauds:,}",
            f"{one.campaigns:,}", f"{one.true_frauds:,}",
        )
        for one in found
    ]  # fmt: skip
    header = ("Seed", "First day", "Payments tested", "Frauds by label", "in campaigns", "Frauds by truth")  # fmt: skip
    return HEAD.format(
        day=f"{datetime.now(UTC):%Y-%m-%d}", seeds=len(found), payments=protocol.payments, accounts=protocol.accounts,
        days=protocol.days, rate=protocol.fraud_per_100k, backtest=" ".join(protocol.backtested(0)[2:-2]),
        test_days=protocol.test_days, delay_days=protocol.delay_days, review=costs.review_cents // 100,
        friction=costs.friction_cents // 100, returned=f"{costs.returned_share:.1%}", resamples=RESAMPLES,
        counts=table(header, rows),
    )  # fmt: skip


def standing(found: Sequence[Figures], split: str) -> str:
    """Which differences lie above 0 with their whole interval."""
    every = [
        (f"{said} over {other}, seed {one.seed}, drawn by {drawn}", one.of(other, split, drawn, metric).low > 0)
        for one in found
        for metric, said in (("precision_over", "average precision"), ("saved_over", "R$ saved"))
        for other in OTHERS
        for drawn in DRAWN
    ]
    not_above = [name for name, is_above in every if not is_above]
    if not not_above:
        return (
            f"**All {len(every)} intervals of ensemble minus raw fields (as they are, and calibrated in hindsight) and "
            "minus rules lie above 0**: in average precision and in R$ saved, with every seed, drawn by payment and by "
            "campaign."
        )
    told = "\n".join(f"- {name}" for name in not_above)
    return (
        f"Of {len(every)} intervals of ensemble minus raw fields and minus rules, {len(every) - len(not_above)} lie "
        f"above 0. **Not above 0**:\n\n{told}"
    )


def worth(found: Sequence[Figures], split: str) -> str:
    """Average precision and R$ of each."""
    rows = [
        (
            str(one.seed), name,
            precise(one.of(name, split, "payment", "precision")),
            ends(one.of(name, split, "campaign", "precision"), precisely),
            reais(one.of(name, split, "payment", "saved")),
            ends(one.of(name, split, "campaign", "saved"), "{:,.0f}".format),
            f"{one.of(name, split, '', 'alerts').point:,.0f}",
        )
        for one in found
        for name in (ENSEMBLE, *OTHERS)
    ]  # fmt: skip
    header = ("Seed", "", "Average precision", "by campaign", "R$ saved", "by campaign", "Alerts")
    return table(header, rows)


def over(found: Sequence[Figures], split: str) -> str:
    """What the ensemble has over the others, paired."""
    rows = []
    for one in found:
        for other in OTHERS:
            precision = [one.of(other, split, drawn, "precision_over") for drawn in DRAWN]
            saved = [one.of(other, split, drawn, "saved_over") for drawn in DRAWN]
            rows.append(
                (
                    str(one.seed), other, precise(precision[0]), ends(precision[1], precisely), above(precision),
                    reais(saved[0]), ends(saved[1], "{:,.0f}".format), above(saved),
                )
            )  # fmt: skip
    header = ("Seed", "Ensemble minus", "Average precision", "by campaign", "above 0", "R$ saved", "by campaign",
              "above 0")  # fmt: skip
    return table(header, rows)


def above(intervals: Sequence[Interval]) -> str:
    """Whether both lie above 0."""
    whether = [one.low > 0 for one in intervals]
    return "yes" if all(whether) else "by payment only" if whether[0] else "no"


def hidden(found: Sequence[Figures]) -> str:
    """Frauds that nobody reported, per 100,000 payments."""
    unknown = [one.true_frauds - sum(one.known_by_typology.values()) for one in found]
    return f"{sum(unknown) / sum(one.tested for one in found) * 100_000:,.0f}"


def others(found: Sequence[Figures], split: str) -> str:
    """Recall at false-positive rates, precision a day, calibration."""
    rows = []
    for one in found:
        tests = sorted({row["part"] for row in one.rows if row["split"] == "test"})
        for name in JUDGED:
            values = [precisely(one.of(name, split, "", metric).point) for metric in METRICS]
            if split == "natural":
                values += [precisely(one.of(name, "test", test, "average_precision").point) for test in tests]
                error = "calibration_error"
                values.append("–" if name == RULES else precisely(one.of(name, split, "", error).point))
            rows.append((str(one.seed), name, *values))
    more = ("Average precision, test 1", "test 2", "Calibration error") if split == "natural" else ()
    return table(("Seed", "", *METRICS.values(), *more), rows)


def typologies(found: Sequence[Figures]) -> str:
    """Recall of each typology, and which are weak."""
    together = {group.name: group for group in pooled(one.typologies(ENSEMBLE, SHOWN_RATE) for one in found)}
    raw = {group.name: group for group in pooled(one.typologies(RAW, SHOWN_RATE) for one in found)}
    wide = {group.name: group for group in pooled(one.typologies(ENSEMBLE, WIDE_RATE) for one in found)}
    by_seed = [{group.name: group for group in one.typologies(ENSEMBLE, SHOWN_RATE)} for one in found]
    names = sorted(together, key=lambda name: -together[name].recall.point)
    rows = [
        (
            spoken(name), f"{together[name].frauds:,.0f}", counted(found, "known_by_typology", name),
            counted(found, "campaigns_by_typology", name), *(recall(groups.get(name)) for groups in by_seed),
            f"**{share(together[name])}**", share(raw[name]), share(wide[name]),
        )
        for name in names
    ]  # fmt: skip
    header = (
        "Typology", "True frauds", "known by label", "Campaigns", *(f"Seed {one.seed} (frauds)" for one in found),
        "All seeds", "Raw fields, all seeds", "Ensemble at FPR 1e-2, all seeds",
    )  # fmt: skip
    picture = f"![Recall by typology, ensemble and raw fields](images/{PICTURES['typologies']})"
    return "\n\n".join((TYPOLOGIES, picture, table(header, rows).strip(), weakness(together, raw)))


TYPOLOGIES = f"""\
## By typology

Share of the true frauds of each kind, reported or not, that score above a threshold which 1 of 1,000 honest payments
passes (FPR 1e-3), with 95 % Wilson intervals; each seed has its own threshold. Wilson's take frauds for strangers:
where a kind has few campaigns, they are too narrow. Weak is a kind whose interval over all seeds lies below
{WEAK_RECALL:.0%}; of fewer than {FEW_FRAUDS} frauds nothing is said."""


def weakness(groups: Mapping[str, Group], raw: Mapping[str, Group]) -> str:
    """Names of the weak ones, of those that raw fields find more of, and of those that too few are known of."""
    poor = sorted(weak(groups.values()), key=lambda group: group.recall.point)
    few = [group for group in groups.values() if group.frauds < FEW_FRAUDS]
    less = [one for name, one in groups.items() if one.recall.point < raw[name].recall.point and one not in few]
    told = [
        f"**Weak**: {', '.join(f'{spoken(one.name)} ({share(one)})' for one in poor)}." if poor else
        f"No kind is weak by this bound ({WEAK_RECALL:.0%})."
    ]  # fmt: skip
    if less:
        named = (f"{spoken(one.name)} ({share(one)}; raw fields {share(raw[one.name])})" for one in less)
        told.append(f"**Raw fields alone find more**: {', '.join(named)}.")
    if few:
        told.append(f"Too few to say: {', '.join(spoken(one.name) for one in few)}.")
    return " ".join(told)


def counted(found: Sequence[Figures], name: str, typology: str) -> str:
    """Sum over the seeds."""
    return f"{sum(getattr(one, name).get(typology, 0) for one in found):,}"


def precisely(value: float) -> str:
    """Three figures that count."""
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


def precise(one: Interval) -> str:
    """A number between 0 and 1, with its interval."""
    return f"{precisely(one.point)} {ends(one, precisely)}"


def reais(one: Interval) -> str:
    """R$ with their interval."""
    return f"{one.point:,.0f} {ends(one, '{:,.0f}'.format)}"


def ends(one: Interval, said: Any) -> str:
    """The ends of an interval."""
    return f"[{said(one.low)}, {said(one.high)}]"


def recall(group: Group | None) -> str:
    """A seed's share, with how many frauds it is of."""
    return "–" if group is None else f"{share(group)} ({group.frauds:,.0f})"


def share(group: Group) -> str:
    """A share of frauds with its interval."""
    one = group.recall
    return f"{one.point:.0%} [{one.low:.0%}, {one.high:.0%}]"


def spoken(name: str) -> str:
    """A typology's name as words."""
    return name.replace("_", " ")
