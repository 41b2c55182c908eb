"""The pictures of ``scripts/model_figures.py``: figures of seeds in, PNGs out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from model_figures_page import DRAWN, RARE_PER_100K, SHOWN_RATE, Figures, Protocol, spoken
from simulator_plots import BLUE, DOTS_PER_INCH, GREY, ORANGE

from learning.groups import WEAK_RECALL, pooled
from learning.training import ENSEMBLE, RAW, RULES

SHOWN = tuple(
    (metric, unit, scale, other, colour)
    for metric, unit, scale in (("precision_over", "average precision", 1), ("saved_over", "thousand R$", 1_000))
    for other, colour in ((RAW, BLUE), (RULES, ORANGE))
)
THICK: Mapping[str, Any] = {"linewidth": 6, "alpha": 0.35, "solid_capstyle": "butt"}
THIN: Mapping[str, Any] = {"linewidth": 1.5, "solid_capstyle": "butt"}


def plot_over(protocol: Protocol, found: Sequence[Figures], path: Path) -> None:
    """Paired differences with both intervals, a seed a row."""
    figure = Figure(figsize=(11, 2.0 + 0.65 * len(found)), dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(2, 4, sharey=True)
    for line, (split, rate) in zip(
        panels, (("natural", protocol.fraud_per_100k), ("rare", RARE_PER_100K)), strict=True
    ):
        for axes, (metric, unit, scale, other, colour) in zip(line, SHOWN, strict=True):
            for place, one in enumerate(found):
                by_payment, by_campaign = (one.of(other, split, drawn, metric) for drawn in DRAWN)
                for interval, style in ((by_campaign, THIN), (by_payment, THICK)):
                    axes.plot([interval.low / scale, interval.high / scale], [place] * 2, color=colour, **style)
                axes.plot([by_payment.point / scale], [place], "o", color=colour, markersize=5)
            axes.axvline(0, color=GREY, linewidth=1)
            axes.set_yticks(range(len(found)), [f"seed {one.seed}" for one in found])
            axes.set(ylim=(len(found) - 0.4, -0.6), title=f"{unit} over {other}")
            bare(axes)
        line[0].set_ylabel(f"{rate} per 100,000", fontsize=9)
    figure.supxlabel("ensemble minus the other, 95 %; thick: drawn by payment, thin: by campaign", fontsize=9)
    figure.savefig(path)


def plot_typologies(found: Sequence[Figures], path: Path) -> None:
    """Recall by typology of all seeds together, ensemble and raw fields, each seed a small dot."""
    ours = {group.name: group for group in pooled(one.typologies(ENSEMBLE, SHOWN_RATE) for one in found)}
    names = sorted(ours, key=lambda name: -ours[name].recall.point)
    figure = Figure(figsize=(8, 0.34 * len(names) + 1.1), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    for judged, colour, shift in ((ENSEMBLE, BLUE, -0.15), (RAW, ORANGE, 0.15)):
        together = {group.name: group for group in pooled(one.typologies(judged, SHOWN_RATE) for one in found)}
        for place, name in enumerate(names):
            one = together[name].recall
            axes.plot([one.low, one.high], [place + shift] * 2, color=colour, linewidth=2)
        axes.plot(
            [together[name].recall.point for name in names],
            [place + shift for place in range(len(names))], "o", color=colour, markersize=5,
            label=f"{judged}, all seeds",
        )  # fmt: skip
    for number, seed in enumerate(found):
        label = "" if number else "ensemble, each seed"
        dots = {group.name: group.recall.point for group in seed.typologies(ENSEMBLE, SHOWN_RATE)}
        axes.plot([dots.get(name) for name in names], [place - 0.15 for place in range(len(names))], "|", color=GREY,
                  markersize=8, markeredgewidth=1.5, zorder=3, label=label)  # fmt: skip
    axes.axvline(WEAK_RECALL, color=GREY, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), [f"{spoken(name)} ({ours[name].frauds:,.0f})" for name in names])
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(len(names) - 0.5, -0.5),
        xlabel="share of the frauds found, 1 of 1,000 honest payments flagged",
    )
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    bare(axes)
    figure.savefig(path)


def bare(axes: Axes) -> None:
    """No frame on top and right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.title.set_fontsize(10)
