"""What simulated fraud gives away: how far one field goes, and how much history adds to all of them. Pure.

Traffic that one field betrays teaches a model nothing about fraud; traffic in which history adds nothing does not
need a platform that keeps it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from learning import inputs
from learning.evaluation import Interval, average_precision_difference
from learning.ranking import Bools, Floats, average_precision, roc_auc
from learning.recipe import TrainingConfig
from learning.small_history import frame
from pix.contracts import DAY_MS, behind_the_door, label_from, payment_from
from pix.features import FEATURE_NAMES
from pix.simulator.flow import Typology
from pix.simulator.rhythm import local_hour
from pix.simulator.simulation import SimulationPlan, simulate
from pix.tokens import Keyring

if TYPE_CHECKING:
    import pandas as pd

MATURITY_MS = 7 * DAY_MS
_LARGEST = np.finfo(np.float64).max
_KEYRING = Keyring(1, {1: b"learnability".ljust(32, b".")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnability:
    """Two models of one recipe on the later rows of one simulation.

    Attributes:
        is_fraud: Labels as known at the end.
        typology: The truth: the typology's name, None where the payment was honest.
        raw_scores: Of a CatBoost on the payment's own fields.
        scores: Of one that sees the history features, too.
        gain: Average precision of the second minus that of the first.
    """

    is_fraud: Bools
    typology: Sequence[str | None]
    raw_scores: Floats
    scores: Floats
    gain: Interval

    @property
    def raw_precision(self) -> float:
        """Average precision of the raw fields."""
        return average_precision(self.is_fraud, self.raw_scores)

    @property
    def precision(self) -> float:
        """Average precision with history."""
        return average_precision(self.is_fraud, self.scores)

    @property
    def ratio(self) -> float:
        """How many times the average precision of the raw fields history reaches."""
        return self.precision / self.raw_precision


def learnability(plan: SimulationPlan, raw: Sequence[str], config: TrainingConfig) -> Learnability:
    """Simulate a plan and learn from its first days.

    Args:
        plan: What to simulate; all of it must fit into memory.
        raw: Fields of the payment that both models see.
        config: The recipe.
    """
    whole, typologies = simulated_frame(plan, raw)
    return _judge(whole, typologies, config)


def simulated_frame(plan: SimulationPlan, raw: Sequence[str]) -> "tuple[pd.DataFrame, dict[str, str | None]]":
    """The training frame of a simulation as known at its end, in order of time, and the typology of each payment.

    Args:
        plan: What to simulate; all of it must fit into memory.
        raw: Fields of the payment that a model without features may see.
    """
    simulation = simulate(plan)
    payments = [behind_the_door(payment_from(one), _KEYRING) for one in simulation.payments]
    labels = [label_from(one) for one in simulation.labels]
    whole = frame(payments, labels, raw, as_of_ms=plan.window[1], maturity_ms=MATURITY_MS)
    whole = whole.sort_values(["event_time_ms", "end_to_end_id"], kind="stable", ignore_index=True)
    return whole, {one["end_to_end_id"]: one["typology"] for one in simulation.truth}


def _judge(whole: "pd.DataFrame", typologies: dict[str, str | None], config: TrainingConfig) -> Learnability:
    split = inputs.split_by_time(whole, test_share=config.test_share, gap_ms=config.gap_ms)
    is_fraud = inputs.labels(split.after)
    raw_scores = inputs.split_field_scores(split, config)
    scores = inputs.split_field_scores(split, config, FEATURE_NAMES)
    return Learnability(
        is_fraud=is_fraud,
        typology=[typologies[identity] for identity in split.after["end_to_end_id"]],
        raw_scores=raw_scores,
        scores=scores,
        gain=average_precision_difference(is_fraud, scores, raw_scores, rng=np.random.default_rng(config.seed)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TypologyPower:
    """How well some fraud is told from honest payments: a typology's, ``ALL`` of it, or ``BY_VICTIMS``."""

    typology: str
    payments: int
    raw_precision: float
    precision: float


ALL, BY_VICTIMS = "all", "all but mules"
_MULES = Typology.MULE_PASS_THROUGH.name.lower()


def by_typology(judged: Sequence[Learnability]) -> list[TypologyPower]:
    """Average precision against the truth, pooled over simulations: all fraud, what victims pay, each typology."""
    typology = np.array([one or "" for part in judged for one in part.typology])
    raw = np.concatenate([part.raw_scores for part in judged])
    scores = np.concatenate([part.scores for part in judged])
    honest = typology == ""
    groups = {ALL: ~honest, BY_VICTIMS: ~honest & (typology != _MULES)}
    groups |= {name: typology == name for name in sorted(set(typology[~honest].tolist()))}
    found = []
    for name, frauds in groups.items():
        rows = honest | frauds
        found.append(
            TypologyPower(
                typology=name,
                payments=int(frauds.sum()),
                raw_precision=average_precision(frauds[rows], raw[rows]),
                precision=average_precision(frauds[rows], scores[rows]),
            )
        )
    return found


def single_field_aucs(payments: pa.Table, is_fraud: Bools, identifiers: Collection[str]) -> dict[str, float]:
    """How well each field alone ranks fraud above the rest, best first.

    In whichever direction it does better, with missing values at either end or left out. A category ranks by its
    own share of fraud in these very rows, and a time counts as itself and as an age at the payment. All of that
    flatters the field.

    Args:
        payments: Columns of the payment contract.
        is_fraud: Row by row.
        identifiers: Fields that name somebody or something; a model never sees them.
    """
    now = payments.column("initiated_at").cast(pa.int64())
    found = {"hour": _category_auc(pa.array(local_hour(now.to_numpy())), is_fraud)}
    for name in payments.column_names:
        column = payments.column(name).combine_chunks()
        if name in identifiers or name == "initiated_at":
            continue
        if pa.types.is_timestamp(column.type):
            at_ms = column.cast(pa.int64())
            found[name] = _number_auc(at_ms, is_fraud)
            found[f"{name}, age"] = _number_auc(pc.subtract(now, at_ms), is_fraud)
        elif pa.types.is_string(column.type):
            found[name] = _category_auc(column, is_fraud)
        else:
            found[name] = _number_auc(column, is_fraud)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _number_auc(column: pa.Array, is_fraud: Bools) -> float:
    values = column.cast(pa.float64())
    known = values.is_valid().to_numpy(zero_copy_only=False)
    areas = [roc_auc(is_fraud, pc.fill_null(values, end).to_numpy()) for end in (-_LARGEST, _LARGEST)]
    if 0 < is_fraud[known].sum() < known.sum():
        areas.append(roc_auc(is_fraud[known], values.drop_null().to_numpy()))
    return max(max(area, 1 - area) for area in areas)


def _category_auc(column: pa.Array, is_fraud: Bools) -> float:
    """Missing is a category of its own."""
    codes = pc.fill_null(column.dictionary_encode().indices, -1).to_numpy().astype(np.int64) + 1
    shares = np.bincount(codes, is_fraud) / np.maximum(np.bincount(codes), 1)
    return roc_auc(is_fraud, shares[codes])
