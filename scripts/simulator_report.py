"""Write the figures, tables and pictures of ``docs/simulator.md`` anew: ``make simulator-docs``, about ten minutes.

Seeds are fixed, so the same code gives the same document. Runs are those that the document describes.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import simulator_plots as plots

from learning import learnability as judge
from learning.recipe import TrainingConfig
from pix.offline.tables import IDENTIFIERS, RAW_PREFIX, raw_columns
from pix.simulator import fidelity
from pix.simulator.document import figure_table, number, replaced, scenario_tables, table
from pix.simulator.fidelity import Figure
from pix.simulator.observed import Observed, observe, pooled
from pix.simulator.plan import Drift, SimulationPlan
from pix.simulator.simulation import parts

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "simulator.md"
IMAGES = REPOSITORY / "docs" / "images"
# Midnight in Brasília: 1 June 2026 and 1 January 2026.
JUNE_MS, JANUARY_MS = 1_780_282_800_000, 1_767_236_400_000
MODEL_SEEDS = (11, 12, 13)
FRAUD_SEEDS = tuple(range(31, 43))
TOP_FIELDS = 15

POPULATION = SimulationPlan(seed=21, start_ms=JUNE_MS, days=60, accounts=40_000, payments=2_000_000)
YEAR = SimulationPlan(seed=22, start_ms=JANUARY_MS, days=365, accounts=20_000, payments=1_000_000)
DRIFTS = tuple(
    Drift(kind=kind, of=of, from_day=15.125)
    for kind, of in (("null", "device_id"), ("outage", "QRES"), ("typology", "remote_access"), ("population", "older"))
)
DRIFTED = SimulationPlan(
    seed=23, start_ms=JUNE_MS, days=30, accounts=20_000, payments=300_000, fraud_per_100k=200, drifts=DRIFTS
)


def fraud_plan(seed: int) -> SimulationPlan:
    """Enough fraud for its own figures."""
    return SimulationPlan(seed=seed, start_ms=JUNE_MS, days=60, accounts=40_000, payments=1_000_000, fraud_per_100k=200)


def model_plan(seed: int) -> SimulationPlan:
    """Small enough for features in plain Python, with enough fraud to learn from."""
    return SimulationPlan(seed=seed, start_ms=JUNE_MS, days=30, accounts=12_000, payments=150_000, fraud_per_100k=600)


def main() -> None:
    """Run everything, then write the document at once."""
    blocks = {"scenarios": scenario_tables(), **figures(), **model_figures()}
    document = DOCUMENT.read_text()
    for name, content in blocks.items():
        document = replaced(document, name, content)
    DOCUMENT.write_text(document)
    say(f"wrote {DOCUMENT.relative_to(REPOSITORY)}")


def figures() -> dict[str, str]:
    """Published against simulated, with the pictures of it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    seen = watched("A", POPULATION, rules=True)
    year = watched("B", YEAR)
    frauds = pooled([watched(f"C, seed {seed}", fraud_plan(seed)) for seed in FRAUD_SEEDS])
    drifted = watched("D", DRIFTED)
    rows = [
        *fidelity.mix(seen, "A"),
        *fidelity.amounts(seen, "A"),
        *fidelity.places(seen, "A"),
        *fidelity.hours(seen, "A"),
        *fidelity.calendar(year, "B"),
        *fidelity.base_rates(seen, "A"),
        *fidelity.frauds(frauds, "C"),
        *fidelity.deadlines(frauds, "C"),
        *fidelity.rules(seen, "A"),
    ]
    drifts = fidelity.drifts(drifted, "D", DRIFTS[0].at_ms(DRIFTED.window))
    plots.amounts(seen, IMAGES / "simulator-amounts.png")
    plots.rhythm(seen, year, IMAGES / "simulator-rhythm.png")
    plots.delays(frauds, IMAGES / "simulator-delays.png")
    return {
        "figures": figure_table(rows),
        "verdict": verdict(rows),
        "drifts": figure_table(drifts),
        "typologies": typologies(frauds),
    }


def watched(name: str, plan: SimulationPlan, *, rules: bool = False) -> Observed:
    """Observe a plan and say how far it is."""
    begun = time.monotonic()

    def tell(done: int, days: int) -> None:
        if done % 20 == 0 or done == days:
            say(f"run {name}: day {done} of {days}, {time.monotonic() - begun:.0f} s")

    return observe(plan, rules=rules, say=tell)


def verdict(rows: Sequence[Figure]) -> str:
    """How many figures agree, and which do not."""
    outside = [figure.name for figure in rows if not figure.within]
    said = f"{len(rows) - len(outside)} of {len(rows)} figures are inside their tolerance."
    return said + (f" Outside: {'; '.join(outside)}." if outside else "")


def typologies(frauds: Observed) -> str:
    """What victims reported, by typology, next to Febraban's mix."""
    aims = {"fake_sale": 38, "false_call_centre": 31, "whatsapp_relative": 16, "fake_investment": 4.6,
            "remote_access": 0.7}  # fmt: skip
    shares = sorted(fidelity.typology_shares(frauds).items(), key=lambda item: -item[1])
    rows = [
        (name.replace("_", " "), number(100 * share), number(aims[name]) if name in aims else "")
        for name, share in shares
    ]
    return table(("Typology", "Of payments that victims report, %", "Febraban, H1 2025, of cases, %"), rows)


def raw_names() -> list[str]:
    """Fields of the payment that a model without features may see; the frame adds the hour itself."""
    return [column.name.removeprefix(RAW_PREFIX) for column in raw_columns() if column.name != f"{RAW_PREFIX}hour"]


def model_figures() -> dict[str, str]:
    """What single fields and models make of the fraud, with the pictures of it."""
    raw = raw_names()
    judged = []
    for seed in MODEL_SEEDS:
        begun = time.monotonic()
        judged.append(judge.learnability(model_plan(seed), raw, TrainingConfig()))
        say(f"run E, seed {seed}: {judged[-1].gain}, {time.monotonic() - begun:.0f} s")
    say("single fields")
    accepted, truth = field_aucs()
    plots.fields(accepted, truth, TOP_FIELDS, IMAGES / "simulator-fields.png")
    plots.precision_recall(judged, IMAGES / "simulator-precision-recall.png")
    top = [(name, f"{area:.3f}", f"{truth[name]:.3f}") for name, area in list(accepted.items())[:TOP_FIELDS]]
    return {
        "fields": table(("Field alone", "AUC, accepted", "AUC, truth"), top),
        "models": models(judged),
        "powers": powers(judged),
    }


def field_aucs() -> tuple[dict[str, float], dict[str, float]]:
    """Single fields against the labels' verdict and against the truth, over all runs E."""
    days = [day for seed in MODEL_SEEDS for day in parts(model_plan(seed))]
    payments = pa.concat_tables([day.payments for day in days])
    truth = pa.concat_tables([day.truth for day in days])
    accepted = np.array([verdict == "accepted" for verdict in truth.column("verdict").to_pylist()])
    is_fraud = truth.column("is_fraud").to_numpy()
    return tuple(judge.single_field_aucs(payments, rows, IDENTIFIERS) for rows in (accepted, is_fraud))  # type: ignore[return-value]


def models(judged: Sequence[judge.Learnability]) -> str:
    """Raw fields against raw fields with history, seed by seed."""
    rows = [
        (
            str(seed),
            f"{len(one.is_fraud):,}",
            str(int(one.is_fraud.sum())),
            f"{one.raw_precision:.3f}",
            f"{one.precision:.3f}",
            f"{one.ratio:.2f}",
            f"{one.gain.point:+.3f} [{one.gain.low:+.3f}, {one.gain.high:+.3f}]",
        )
        for seed, one in zip(MODEL_SEEDS, judged, strict=True)
    ]
    return table(("Seed", "Rows judged", "Frauds", "AP, raw fields", "AP, with history", "Ratio", "Gain [95 %]"), rows)


def powers(judged: Sequence[judge.Learnability]) -> str:
    """By typology, against the truth, over all seeds."""
    rows = [
        (
            power.typology.replace("_", " "), str(power.payments),
            f"{power.raw_precision:.3f}", f"{power.precision:.3f}",
        )
        for power in judge.by_typology(judged)
    ]  # fmt: skip
    return table(("Typology", "Payments", "AP, raw fields", "AP, with history"), rows)


def say(line: str) -> None:
    """One line of progress."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
