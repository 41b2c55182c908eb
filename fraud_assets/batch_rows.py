"""Rows of ``gold/batch_scores``: a day's payments as one model version scores them, beside what was decided then.

Read and written by delta-rs, scored in threads (``learning.scoring``): no Spark, whose session alone takes longer than
a day of payments.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.lake import LakeError, LakeResource
from learning.inputs import RAW_PREFIX
from pix.contracts import DAY_MS, LIVE_HISTORY
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.days import begin_ms, listed, widened
from pix.offline.declaration import ARROW_TYPES, Table
from pix.offline.tables import BATCH_SCORES, DECISIONS_GOLD, PAYMENT_FEATURES, PAYMENTS_SILVER, payment_columns

if TYPE_CHECKING:
    import pandas as pd

    from learning.ensemble import Ensemble
    from learning.registry import ChampionRef
    from learning.scoring import Scored
    from serving.policy import Policy

IDENTITY = ["tenant", "end_to_end_id"]
NAMED = pa.schema([(name, pa.string()) for name in (*IDENTITY, "source")] + [("event_time_ms", pa.int64())])
READ = pa.schema([*NAMED, ("fingerprint", pa.string()), ("features", pa.binary())])
DECIDED = {
    "action": "decided_action",
    "fraud_probability": "decided_probability",
    "model_version": "decided_model_version",
    "mode": "decided_mode",
}
"""Column of gold/decisions -> what it is called here."""


class OtherVectors(LakeError):
    """The vectors of a day follow other declarations than this build's."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """What scores.

    Attributes:
        ref: The version.
        ensemble: As it is served.
        policy: Whose thresholds its probabilities are compared with.
        history: ``live``, or the name of an import.
    """

    ref: "ChampionRef"
    ensemble: "Ensemble"
    policy: "Policy"
    history: str

    def of_day(self, day: date) -> str:
        """SQL for what this scorer has to say of a day."""
        return f"event_day = '{day}' and history = '{self.history}' and model_version = '{self.ref.version}'"


@dataclass(slots=True)
class Told:
    """What there is to tell about days that were scored.

    Attributes:
        rows: Payments that got a score.
        empty: Days that have no payment of the history.
        aside: Vectors that follow other declarations and were left out, by their fingerprint.
        actions: Payments by the decision's own action, None where there was none, and by what thresholds ask for.
    """

    rows: int = 0
    empty: list[date] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    actions: Counter[tuple[str | None, str]] = field(default_factory=Counter)


def score_day(lake: LakeResource, day: date, scorer: Scorer, told: Told) -> None:
    """Put a day's scores in place of those of the same version and history; others stay.

    Raises:
        MissingTable: Nothing was folded yet.
        OtherVectors: All of the day's vectors follow other declarations.
        TableBusy: Another process writes the table.
    """
    from deltalake import write_deltalake

    rows = rows_of(lake, day, scorer, told)
    told.rows += rows.num_rows
    if not rows.num_rows:
        told.empty.append(day)
    pairs = rows.group_by(["decided_action", "threshold_action"]).aggregate([([], "count_all")]).to_pylist()
    told.actions.update({(one["decided_action"], one["threshold_action"]): one["count_all"] for one in pairs})
    with lake.only_writer(BATCH_SCORES.name):
        lake.unchanged(BATCH_SCORES)
        write_deltalake(lake.address(BATCH_SCORES.name), rows, mode="overwrite", predicate=scorer.of_day(day))


def rows_of(lake: LakeResource, day: date, scorer: Scorer, told: Told) -> pa.Table:
    """A day's rows of the table, in no order.

    Raises:
        MissingTable: Nothing was folded yet.
        OtherVectors: All of the day's vectors follow other declarations.
    """
    from learning.scoring import scored

    aside: Counter[str] = Counter()
    parts = [_Part.of(one, scorer.policy) for one in scored(scorer.ensemble, _vectors(lake, day, scorer, aside))]
    if aside and not parts:
        raise OtherVectors(
            f"the vectors of {day} in {PAYMENT_FEATURES.name} follow the features {', '.join(sorted(aside))}, this "
            f"build scores {FINGERPRINT}: run features_job, which folds them again, or score by the build they are of"
        )
    told.aside.update(aside)
    rows = pa.Table.from_batches([part.rows for part in parts], _Part.schema())
    rows = rows.append_column("threshold_action", _actions(lake, day, scorer.policy, parts))
    constants = {
        "history": scorer.history,
        "model_name": scorer.ref.name,
        "model_version": scorer.ref.version,
        "model_sha256": scorer.ref.sha256,
        "policy_version": scorer.policy.version,
        "event_day": day,
    }
    for name, value in constants.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value), rows.num_rows))
    beside = _beside_decisions(lake, day, rows, scorer.history)
    wanted = BATCH_SCORES.arrow([]).schema
    return beside.select(wanted.names).cast(wanted)


def _vectors(lake: LakeResource, day: date, scorer: Scorer, aside: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Packed vectors of a day that follow this build's declarations; others are counted."""
    whose = f"history = '{scorer.history}'" + (" or history is null" if scorer.history == LIVE_HISTORY else "")
    # Nothing is folded before it happened, but clocks of two hosts may differ.
    where = (
        f"fold_day >= date '{day - timedelta(days=1)}' and event_time_ms >= {begin_ms(day)} "
        f"and event_time_ms < {begin_ms(day) + DAY_MS} and ({whose})"
    )
    for batch in _scan(lake, PAYMENT_FEATURES, READ, where):
        ours = pc.equal(batch["fingerprint"], FINGERPRINT)
        if pc.all(ours).as_py():
            yield batch
            continue
        aside.update(batch["fingerprint"].filter(pc.invert(ours)).to_pylist())
        if pc.any(ours).as_py():
            yield batch.filter(ours)


def _scan(lake: LakeResource, table: Table, wanted: pa.Schema, where: str) -> Iterator[pa.RecordBatch]:
    """Columns of a table, without Spark; delta-rs hands texts and bytes over as views, which Arrow cannot join."""
    found = lake.log(table.name).scan(columns=wanted.names, predicate=where)
    for batch in pa.RecordBatchReader.from_stream(found):
        if batch.num_rows:
            yield batch.select(wanted.names).cast(wanted)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some scored payments without their vectors.

    Attributes:
        rows: Ids and scores.
        suspicious: Which of them thresholds may ask something for.
        features: Of these, the features that segments read; by name.
    """

    rows: pa.RecordBatch
    suspicious: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    features: dict[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"]

    @staticmethod
    def schema() -> pa.Schema:
        return pa.schema([*NAMED, ("raw_score", pa.float64()), ("fraud_probability", pa.float64())])

    @classmethod
    def of(cls, one: "Scored", policy: "Policy") -> "_Part":
        from pix.offline.vectors import matrix
        from serving.threshold_actions import least_threshold, read_by_segments

        columns = [*one.batch.select(NAMED.names).columns, pa.array(one.raw_scores), pa.array(one.probabilities)]
        suspicious = one.probabilities >= least_threshold(policy)
        names, _ = read_by_segments(policy)
        vectors = matrix(one.batch["features"])[suspicious] if names else np.empty((0, len(FEATURE_NAMES)))
        read = {name: vectors[:, FEATURE_NAMES.index(name)] for name in names}
        return cls(pa.record_batch(columns, schema=cls.schema()), suspicious, read)


def _actions(lake: LakeResource, day: date, policy: "Policy", parts: list[_Part]) -> pa.Array:
    """What thresholds ask for; facts of a payment are read only of those for which they may ask something."""
    from serving.policy import ACTIONS
    from serving.threshold_actions import read_by_segments, threshold_actions

    suspicious = np.concatenate([part.suspicious for part in parts]) if parts else np.empty(0, np.bool_)
    found = np.full(len(suspicious), ACTIONS[0], object)
    if suspicious.any():
        rows = pa.Table.from_batches([part.rows.filter(pa.array(part.suspicious)) for part in parts])
        frame = rows.select([*IDENTITY, "fraud_probability"]).to_pandas()
        features, fields = read_by_segments(policy)
        for name in features:
            frame[name] = np.concatenate([part.features[name] for part in parts])
        if fields:
            frame = frame.merge(_facts(lake, day, fields, rows["end_to_end_id"]), how="left", on=IDENTITY)
        found[suspicious] = threshold_actions(policy, frame["fraud_probability"].to_numpy(), frame)
    return pa.array(found, pa.string())


def _facts(lake: LakeResource, day: date, fields: list[str], ids: pa.ChunkedArray) -> "pd.DataFrame":
    """Facts of a day's payments as ``raw_...``, of those with these ids."""
    types = {column.name: ARROW_TYPES[column.type] for column in payment_columns()}
    wanted = pa.schema([(name, types[name]) for name in fields] + [(name, pa.string()) for name in IDENTITY])
    batches = list[pa.RecordBatch]()
    if lake.exists(PAYMENTS_SILVER.name):
        batches = [
            batch.filter(pc.is_in(batch["end_to_end_id"], value_set=ids))
            for batch in _scan(lake, PAYMENTS_SILVER, wanted, f"event_day = date '{day}'")
        ]
    table = pa.Table.from_batches(batches, wanted).select([*IDENTITY, *fields])
    frame: pd.DataFrame = table.rename_columns([*IDENTITY, *(RAW_PREFIX + name for name in fields)]).to_pandas()
    return frame


def _beside_decisions(lake: LakeResource, day: date, rows: pa.Table, history: str) -> pa.Table:
    """The rows with what was decided; a payment that was decided after its import is no history."""
    types = {name: pa.float64() if name == "fraud_probability" else pa.string() for name in (*IDENTITY, *DECIDED)}
    wanted, batches = pa.schema(list(types.items())), list[pa.RecordBatch]()
    if history == LIVE_HISTORY and lake.exists(DECISIONS_GOLD.name):
        near = f"event_day in ({listed(widened([day], 1))})"
        batches = list(_scan(lake, DECISIONS_GOLD, wanted, near))
    decided = pa.Table.from_batches(batches, wanted).rename_columns([*IDENTITY, *DECIDED.values()])
    joined = rows.join(decided, IDENTITY, join_type="left outer")
    was_past = pc.and_(pc.equal(joined["source"], "history"), pc.is_valid(joined["decided_action"]))
    return joined.filter(pc.invert(was_past))
