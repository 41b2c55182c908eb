"""Write the tables and the picture of ``docs/features-worth.md`` anew: ``make features-worth``, about ten minutes.

Seeds are fixed, so the same code gives the same document.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from simulator_plots import BLUE, DOTS_PER_INCH, GREY, ORANGE
from simulator_report import model_plan, raw_names

from learning.feature_worth import RAW, Worth, mean_difference, worth
from learning.inputs import by_importance
from learning.learnability import simulated_frame
from learning.recipe import TrainingConfig
from pix.features import FEATURE_NAMES, FEATURES, FINGERPRINT
from pix.simulator.document import replaced, table

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "features-worth.md"
PICTURE = REPOSITORY / "docs" / "images" / "features-worth.png"
CHOOSING_SEED = 40
SEEDS = (41, 42, 43, 44, 45)
FEW = 20
SIZES = (5, FEW, 80, len(FEATURES))
CONFIG = TrainingConfig()


def main() -> None:
    """Choose, compare, then write the document at once."""
    begun = time.monotonic()
    frame, _ = simulated_frame(model_plan(CHOOSING_SEED), raw_names())
    ordered = by_importance(frame, FEATURE_NAMES, CONFIG)
    say(f"chosen after {time.monotonic() - begun:.0f} s: {', '.join(ordered[:FEW])}")
    judged = []
    for seed in SEEDS:
        frame, _ = simulated_frame(model_plan(seed), raw_names())
        judged.append(worth(frame, {name_of(size): ordered[:size] for size in SIZES}, CONFIG))
        say(f"seed {seed}, {time.monotonic() - begun:.0f} s: {precisions(judged[-1])}")
    blocks = {"fingerprint": f"{len(FEATURES)} features, fingerprint `{FINGERPRINT}`.", "chosen": chosen(ordered[:FEW])}
    blocks |= {"precision": by_seed(judged), "gains": gains(judged)}
    document = DOCUMENT.read_text()
    for name, content in blocks.items():
        document = replaced(document, name, content)
    DOCUMENT.write_text(document)
    plot(judged, PICTURE)
    say(f"wrote {DOCUMENT.relative_to(REPOSITORY)}")


def name_of(size: int) -> str:
    """Name of the model that sees so many features."""
    return f"{size} features"


ALL, SOME = name_of(len(FEATURES)), name_of(FEW)
MODELS = (RAW, *map(name_of, SIZES))


def precisions(one: Worth) -> dict[str, float]:
    """Average precision by model, to three digits."""
    return {name: round(one.precision(name), 3) for name in MODELS}


def chosen(names: Sequence[str]) -> str:
    """The few features, with their groups."""
    groups = {feature.name: feature.group for feature in FEATURES}
    return table(("", "Feature", "Group"), [(str(n), f"`{name}`", groups[name]) for n, name in enumerate(names, 1)])


def by_seed(judged: Sequence[Worth]) -> str:
    """Average precision, seed by seed, with the paired gains of each."""
    header = ("Seed", "Rows judged", "Frauds", *(f"AP, {name}" for name in MODELS), f"All − {FEW} [95 %]",
              f"{FEW} − raw [95 %]")  # fmt: skip
    rows = [
        (
            str(seed), f"{len(one.is_fraud):,}", str(int(one.is_fraud.sum())),
            *(f"{one.precision(name):.3f}" for name in MODELS), interval(one.gain(ALL, SOME)),
            interval(one.gain(SOME, RAW)),
        )
        for seed, one in zip(SEEDS, judged, strict=True)
    ]  # fmt: skip
    means = [f"{np.mean([one.precision(name) for one in judged]):.3f}" for name in MODELS]
    return table(header, [*rows, ("mean", "", "", *means, "", "")])


def gains(judged: Sequence[Worth]) -> str:
    """Paired differences over the seeds."""
    pairs = ((ALL, SOME), (ALL, RAW), (SOME, RAW))
    rows = [
        (
            f"{ours} − {theirs}",
            interval(mean_difference([one.precision(ours) - one.precision(theirs) for one in judged])),
            str(sum(one.precision(ours) > one.precision(theirs) for one in judged)),
        )
        for ours, theirs in pairs
    ]
    return table(("Difference of average precision", "Mean [95 %, Student, paired]", f"Seeds of {len(SEEDS)}"), rows)


def interval(found: object) -> str:
    """An interval to three digits."""
    point, low, high = (getattr(found, name) for name in ("point", "low", "high"))
    return f"{point:+.3f} [{low:+.3f}, {high:+.3f}]"


def plot(judged: Sequence[Worth], path: Path) -> None:
    """Average precision against the number of features, a thin line a seed."""
    figure = Figure(figsize=(6, 3.8), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    curves: Mapping[int, list[float]] = {size: [one.precision(name_of(size)) for one in judged] for size in SIZES}
    for n in range(len(judged)):
        axes.plot(SIZES, [curves[size][n] for size in SIZES], color=GREY, linewidth=0.8)
    axes.plot(SIZES, [np.mean(curves[size]) for size in SIZES], "o-", color=BLUE, linewidth=2, label="features, mean")
    raw = float(np.mean([one.precision(RAW) for one in judged]))
    axes.axhline(raw, color=ORANGE, linewidth=1.5, linestyle="--", label="raw fields, mean")
    axes.set(xscale="log", xlabel="features that the model sees, most important first", ylabel="average precision",
             ylim=(0, None))  # fmt: skip
    axes.set_xticks(SIZES, [str(size) for size in SIZES], minor=False)
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path)


def say(line: str) -> None:
    """One line of progress."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
