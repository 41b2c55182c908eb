"""A stretch of Pix traffic with its labels and its truth: the simulator's public face.

Everything is a pure function of the plan: the same plan gives the same bytes, whatever the number of
processes, because each day has a source of chance of its own. The population depends on seed and accounts
only, so a live slice after a history is paid by the same accounts, with new ids.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pix.contracts import canonical_json
from pix.simulator import outcomes, published
from pix.simulator.crimes import Crimes, commit
from pix.simulator.flow import HONEST_CAMPAIGN, Flow, Typology, join
from pix.simulator.honest import PAYER_IS_COMPANY, Shift, honest
from pix.simulator.lines import lines
from pix.simulator.messages import payments
from pix.simulator.outcomes import WRONGLY_ACCEPTED_SHARE, Dispute
from pix.simulator.plan import Drift, InvalidPlan, SimulationPlan
from pix.simulator.population import Population, populate
from pix.simulator.rhythm import Floats, Ints, Window, is_payday, local_days, pieces, weight
from pix.simulator.settling import obey

__all__ = ["Drift", "InvalidPlan", "Part", "Simulation", "SimulationPlan", "World", "parts", "simulate", "write"]

_CRIMES, _LIFE = range(2)
_TYPOLOGIES = tuple(None if typology == Typology.HONEST else typology.name.lower() for typology in Typology)
Label = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One day, cut at 6h Brasília.

    Attributes:
        payments: The payment contract's fields as columns, in time order.
        truth: Row by row: end_to_end_id, is_fraud, typology, campaign, hop, verdict, refund, refunded_cents.
        labels: About these payments, whenever they become known.
    """

    payments: pa.Table
    truth: pa.Table
    labels: list[Label]


@dataclass(frozen=True, slots=True)
class World:
    """What all days of a plan share."""

    plan: SimulationPlan
    population: Population
    crimes: Crimes
    windows: list[Window]
    counts: Ints
    doubts: Ints

    def part(self, number: int) -> Part:
        """One day of the plan; days may be asked for in any order."""
        plan, window = self.plan, self.windows[number]
        rng = plan.chance(_LIFE, number)
        flow = self.flow(number, rng)
        table = _without_nulls(plan, window, payments(rng, self.population, self.crimes.directory, flow))
        dispute = _disputes(rng, plan, flow, self.crimes.within(window), int(self.doubts[number]))
        ids = table.column("end_to_end_id")
        written = outcomes.labels(rng, ids.to_pylist(), flow.typology, dispute) if len(flow) else []
        return Part(table, _truth(ids, flow, dispute), written)

    def flow(self, number: int, rng: np.random.Generator) -> Flow:
        """What happens on one day, before anybody writes it down, in time order."""
        window = self.windows[number]
        everyday = honest(
            rng,
            self.population,
            window,
            tuple(self.counts[number].tolist()),
            payday=bool(is_payday(local_days(np.array([window[0]])))[0]),
            shift=_shift(self.plan, window),
        )
        lived = obey(rng, self.population, join([everyday, self.crimes.within(window).flow]), window)
        return _without_outages(rng, self.plan, lived)


def world(plan: SimulationPlan) -> World:
    """Everybody, all crimes, and how much is paid on each day."""
    population = populate(plan.seed, plan.accounts)
    crimes = commit(plan.chance(_CRIMES), population, plan)
    windows = pieces(plan.window)
    honest_payments = max(0, plan.payments - len(crimes.flow))
    relations = _apportion(np.array(published.RELATION_SHARES), honest_payments)
    counts = np.stack(
        [
            _apportion(np.array([weight(window, company=company) for window in windows]), int(n))
            for company, n in zip(PAYER_IS_COMPANY, relations.tolist(), strict=True)
        ],
        axis=1,
    )
    doubts = _apportion(counts.sum(axis=1).astype(np.float64), plan.honest_disputes)
    return World(plan, population, crimes, windows, counts, doubts)


def parts(plan: SimulationPlan) -> Iterator[Part]:
    """The traffic of a plan, day by day; one day at a time is in memory."""
    everything = world(plan)
    for number in range(len(everything.windows)):
        yield everything.part(number)


@dataclass(frozen=True)
class Simulation:
    """JSON-able messages: payments and truth by initiation time, labels by the time they become known."""

    payments: list[dict[str, Any]]
    labels: list[Label]
    truth: list[dict[str, Any]]


def simulate(plan: SimulationPlan) -> Simulation:
    """The traffic of a plan, all of it in memory: for small ones."""
    found = Simulation([], [], [])
    for part in parts(plan):
        found.payments.extend(json.loads(line) for line in lines(part.payments).splitlines())
        found.truth.extend(part.truth.to_pylist())
        found.labels.extend(part.labels)
    found.labels.sort(key=itemgetter("known_at", "label_id"))
    return found


@dataclass(frozen=True, slots=True)
class Written:
    """One day as the bytes of its files."""

    payments: bytes
    truth: bytes
    labels: list[Label]
    rows: int


def write(plan: SimulationPlan, folder: Path, processes: int = 1, say: "Progress | None" = None) -> dict[str, int]:
    """Write payments.jsonl, labels.jsonl and truth.jsonl into a folder, which is made if missing.

    Args:
        plan: What to simulate.
        folder: Where to.
        processes: How many work at it; the bytes are the same.
        say: Told payments written so far, and all of them.

    Returns:
        Lines written, by file name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, labels = 0, list[Label]()
    with (folder / "payments.jsonl").open("wb") as to_payments, (folder / "truth.jsonl").open("wb") as to_truth:
        for day in _days(plan, processes):
            to_payments.write(day.payments)
            to_truth.write(day.truth)
            labels += day.labels
            rows += day.rows
            if say is not None:
                say(rows, plan.payments)
    labels.sort(key=itemgetter("known_at", "label_id"))
    (folder / "labels.jsonl").write_bytes(b"".join(canonical_json(label) + b"\n" for label in labels))
    return {"payments.jsonl": rows, "labels.jsonl": len(labels), "truth.jsonl": rows}


def _days(plan: SimulationPlan, processes: int) -> Iterator[Written]:
    """The days in order, written by one process or by several."""
    if processes <= 1:
        everything = world(plan)
        yield from (_written(everything.part(number)) for number in range(len(everything.windows)))
        return
    numbers = range(len(pieces(plan.window)))
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_prepare, initargs=(plan,)) as pool:
        yield from pool.map(_written_here, numbers)


_here: dict[str, World] = {}
"""The world of a worker process, made once."""


def _prepare(plan: SimulationPlan) -> None:
    _here["world"] = world(plan)


def _written_here(number: int) -> Written:
    return _written(_here["world"].part(number))


def _written(part: Part) -> Written:
    return Written(lines(part.payments), lines(part.truth), part.labels, part.payments.num_rows)


def _apportion(weights: Floats, total: int) -> Ints:
    """Whole numbers in proportion to the weights that sum to the total."""
    if not weights.sum():
        weights = np.ones(len(weights))
    edges = np.round(np.cumsum(weights) / weights.sum() * total).astype(np.int64)
    counts: Ints = np.diff(np.concatenate([[0], edges]))
    return counts


def _shift(plan: SimulationPlan, window: Window) -> Shift:
    drifted = {drift.of for drift in plan.drifts if drift.kind == "population" and window[1] > drift.at_ms(plan.window)}
    return Shift(older=0.5 if "older" in drifted else 0.0, amounts=1.6 if "amounts" in drifted else 1.0)


def _without_outages(rng: np.random.Generator, plan: SimulationPlan, flow: Flow) -> Flow:
    """Payers whose initiation form is away take another one."""
    shares = np.array(published.INITIATION_SHARES)
    initiation = flow.initiation
    for drift in plan.drifts:
        if drift.kind == "outage":
            form = published.INITIATIONS.index(drift.of)
            others = np.where(np.arange(len(shares)) == form, 0.0, shares)
            instead = rng.choice(len(shares), len(flow), p=others / others.sum())
            away = (initiation == form) & (flow.at_ms >= drift.at_ms(plan.window))
            initiation = np.where(away, instead, initiation)
    return replace(flow, initiation=initiation)


def _without_nulls(plan: SimulationPlan, window: Window, table: pa.Table) -> pa.Table:
    """The table with the fields that are no longer filled set to null."""
    for drift in plan.drifts:
        if drift.kind == "null" and drift.of in table.column_names and window[1] > drift.at_ms(plan.window):
            column = table.column(drift.of)
            still = pc.less(table.column("initiated_at").cast(pa.int64()), drift.at_ms(plan.window))
            kept = pc.if_else(still, column, pa.scalar(None, column.type))
            table = table.set_column(table.column_names.index(drift.of), drift.of, kept)
    return table


def _disputes(rng: np.random.Generator, plan: SimulationPlan, flow: Flow, crimes: Crimes, doubts: int) -> Dispute:
    """The disputes of a day's payments, row by row."""
    wrong = plan.accepted_frauds * WRONGLY_ACCEPTED_SHARE / max(1, plan.honest_disputes)
    rows, doubted = outcomes.doubts(rng, flow, doubts, min(1.0, wrong))
    # Neither drawing nor obeying limits changes the order of crimes.
    of_crimes = np.flatnonzero(flow.campaign != HONEST_CAMPAIGN)
    rest = np.setdiff1d(np.arange(len(flow)), np.concatenate([of_crimes, rows]))
    whole = outcomes.join_disputes([crimes.dispute, doubted, outcomes.undisputed(len(rest))])
    return whole.take(np.argsort(np.concatenate([of_crimes, rows, rest])))


def _truth(ids: pa.ChunkedArray, flow: Flow, dispute: Dispute) -> pa.Table:
    in_campaign = flow.campaign != HONEST_CAMPAIGN
    disputed = dispute.contested_ms != outcomes.NEVER_MS
    return pa.table(
        {
            "end_to_end_id": ids,
            "is_fraud": pa.array(flow.typology != Typology.HONEST),
            "typology": pa.array(_TYPOLOGIES).take(pa.array(flow.typology)),
            "campaign": pa.array(flow.campaign, mask=~in_campaign),
            "hop": pa.array(flow.hop, mask=~in_campaign),
            "verdict": pa.array(["rejected", "accepted"]).take(
                pa.array(dispute.accepted.astype(np.int64), mask=~disputed)
            ),
            "refund": pa.array(outcomes.REFUNDS).take(pa.array(dispute.refund, mask=dispute.refund < 0)),
            "refunded_cents": pa.array(dispute.refunded_cents, mask=dispute.refund < 0),
        }
    )
