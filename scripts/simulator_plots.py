"""The pictures of ``docs/simulator.md``: observations in, small PNGs out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning import plots
from learning.evaluation import Judged
from learning.learnability import Learnability
from pix.simulator import fidelity, published
from pix.simulator.observed import Observed
from pix.simulator.rhythm import Floats

BLUE, ORANGE, GREEN, GREY = "#2f6db3", "#e07b39", "#4c9a6a", "#9a9a9a"
DOTS_PER_INCH = 100
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
AUC_LIMIT = 0.85


def amounts(seen: Observed, path: Path) -> None:
    """Share of payments of at least an amount, with the published points on it."""
    figure, axes = _figure(6, 4)
    paid = fidelity.reais(seen)
    company = fidelity.column_of(seen, "payer_company")
    relation = fidelity.column_of(seen, "relation")
    for name, rows, colour in (
        ("paid by persons", company == 0, BLUE),
        ("paid by businesses", company == 1, ORANGE),
        ("business to business", relation == published.RELATIONS.index("B2B"), GREEN),
    ):
        axes.plot(*_survival(paid[rows]), color=colour, linewidth=1.5, label=name)
    points = (
        (published.PERSON_MEDIAN, 0.5),
        (200, 1 - published.PERSONS_BELOW_200_SHARE),
        (published.PERSON_P95, 0.05),
        (published.PERSON_P99, 0.01),
    )
    axes.plot(*zip(*points, strict=True), "o", color=BLUE, markersize=7, markerfacecolor="white", label="published")
    axes.plot([2_000], [published.B2B_FROM_2000_SHARE], "o", color=GREEN, markersize=7, markerfacecolor="white")
    axes.set(
        xscale="log", yscale="log", xlim=(1, 1e6), ylim=(1e-4, 1.1), xlabel="R$", ylabel="share of payments this large"
    )
    axes.set_xticks([10**power for power in range(7)], ["1", "10", "100", "1,000", "10,000", "100,000", "1,000,000"])
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)


def rhythm(seen: Observed, year: Observed, path: Path) -> None:
    """Hours of the day, weekdays and months."""
    figure = Figure(figsize=(10, 3.2), dpi=DOTS_PER_INCH, layout="constrained")
    hours, weekdays, months = figure.subplots(1, 3, width_ratios=(1.3, 0.9, 1))
    hours.bar(range(24), fidelity.hour_curve(seen), color=BLUE, label="simulated")
    hours.plot(range(24), fidelity.hour_aims(), "o", color=ORANGE, markersize=4, label="published")
    hours.set(xlabel="hour, Brasília", ylabel="% of a day", xticks=range(0, 24, 3))
    daily = fidelity.weekday_curve(year)
    weekdays.bar(WEEKDAYS, daily / daily[4], color=BLUE)
    weekdays.plot([5, 6], [published.SATURDAY_TO_FRIDAY, published.SUNDAY_TO_FRIDAY], "o", color=ORANGE, markersize=6)
    weekdays.set(ylabel="payments a day, Friday = 1")
    weekdays.tick_params(axis="x", labelsize=8)
    months.bar(range(1, 13), fidelity.month_index(year), color=BLUE)
    months.plot([1, 12], [published.MONTHS[0], published.MONTHS[-1]], "o", color=ORANGE, markersize=6)
    months.set(xlabel="month of 2026", ylabel="payments, mean month = 1", xticks=range(1, 13, 2))
    hours.legend(frameon=False, fontsize=9, loc="upper left")
    for axes in (hours, weekdays, months):
        _bare(axes)
    figure.savefig(path)


def delays(frauds: Observed, path: Path) -> None:
    """How long labels take."""
    figure, axes = _figure(6, 3.4)
    contested, decided = fidelity.delays(frauds)
    for name, days, colour in (
        ("payment to dispute", contested, BLUE),
        ("dispute to verdict", decided, ORANGE),
    ):
        axes.plot(np.sort(days), np.linspace(0, 1, len(days)), color=colour, linewidth=1.6, label=name)
    for days, colour, text in (
        (published.CONTEST_WITHIN_DAYS, BLUE, "80 days"),
        (published.ANALYSIS_WITHIN_DAYS, ORANGE, "7 days"),
    ):
        axes.axvline(days, color=colour, linewidth=1, linestyle="--")
        axes.annotate(
            text, (days, 0.03), xytext=(-4, 0), textcoords="offset points", ha="right", color=colour, fontsize=9
        )
    axes.set(xscale="log", xlim=(0.01, 150), ylim=(0, 1.02), xlabel="days", ylabel="share done")
    axes.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    figure.savefig(path)


def fields(accepted: Mapping[str, float], truth: Mapping[str, float], top: int, path: Path) -> None:
    """The single fields that betray most."""
    figure, axes = _figure(7, 4.4)
    names = list(accepted)[:top][::-1]
    axes.barh(names, [accepted[name] for name in names], color=BLUE, label="against accepted disputes", height=0.65)
    axes.plot([truth[name] for name in names], names, "o", color=ORANGE, markersize=5, label="against the truth")
    axes.axvline(AUC_LIMIT, color=GREY, linestyle="--", linewidth=1, label=f"limit {AUC_LIMIT}")
    axes.set(xlim=(0.5, 0.9), xlabel="AUC of the field alone (0.5 is chance)")
    axes.tick_params(axis="y", labelsize=8.5)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path)


def precision_recall(judged: Sequence[Learnability], path: Path) -> None:
    """Raw fields against raw fields with history, over all seeds, against the labels."""
    scores = {
        "raw fields and history": np.concatenate([one.scores for one in judged]),
        "raw fields": np.concatenate([one.raw_scores for one in judged]),
    }
    is_fraud = np.concatenate([one.is_fraud for one in judged])
    nobody = np.zeros(len(is_fraud), np.bool_)
    path.write_bytes(plots.precision_recall(is_fraud, {name: Judged(said, nobody) for name, said in scores.items()}))


def _survival(values: Floats) -> tuple[Floats, Floats]:
    """Some hundred points of the share of values at least as large."""
    at = np.geomspace(1, 1e6, 300)
    return at, 1 - np.searchsorted(np.sort(values), at) / len(values)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
