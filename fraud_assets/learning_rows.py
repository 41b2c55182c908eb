"""Rows to learn from: chosen, weighed, written, and noted so that they can be made again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa

from fraud_assets import notes
from fraud_assets.lake import LakeError, LakeResource, Written
from learning.registering import Dataset
from pix.contracts import DAY_MS
from pix.features import FEATURE_NAMES
from pix.offline.names import usable
from pix.offline.tables import (
    DECISIONS_SILVER,
    LABELS_SILVER,
    PAYMENT_FEATURES,
    PAYMENTS_SILVER,
    TRAINING_SET,
)

if TYPE_CHECKING:
    import pandas as pd
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame

    from pix.offline.training_frame import Stratum

AT_ONCE = 100_000
LEARNT_FROM = (PAYMENT_FEATURES, PAYMENTS_SILVER, LABELS_SILVER, DECISIONS_SILVER)


class NothingToLearn(LakeError):
    """No payment has a label that is old enough."""


class BadInstant(LakeError):
    """A time that somebody wrote cannot be used."""


class NotRecorded(LakeError):
    """A version of the training set does not say what it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a training set is made from: the same recipe gives the same rows.

    Attributes:
        history: ``live``, or the name of an import.
        as_of_ms: Labels known then count.
        maturity_ms: Age from which silence means honest.
        honest_rows: At most about so many payments that nobody said anything about.
        seed: Chooses them.
        made_from: Table -> its Delta version.
    """

    history: str
    as_of_ms: int
    maturity_ms: int
    honest_rows: int
    seed: int
    made_from: Mapping[str, int]


def recipe_of(config: Mapping[str, Any], lake: LakeResource, *, now_ms: int) -> Recipe:
    """The recipe that somebody asks for, on the newest inputs; or one that was recorded.

    Args:
        config: Fields of ``fraud_assets.features.TrainingSetConfig``.
        lake: The lake.
        now_ms: The clock.

    Raises:
        NotRecorded: The recorded version has no recipe.
        BadInstant: ``as_of`` is no instant, or later than now.
    """
    if (version := config["as_recorded"]) is not None:
        return recorded(lake, version)
    return Recipe(
        history=usable(config["history"]),
        as_of_ms=_instant(config["as_of"], now_ms),
        maturity_ms=int(config["maturity_days"] * DAY_MS),
        honest_rows=config["honest_rows"],
        seed=config["seed"],
        made_from={table.name: lake.version(table.name) for table in LEARNT_FROM},
    )


def recorded(lake: LakeResource, version: int) -> Recipe:
    """What a version of the training set was made from.

    Raises:
        NotRecorded: Its note does not say.
    """
    log = lake.log(TRAINING_SET.name)
    if not 0 <= version <= log.version():
        raise NotRecorded(f"as_recorded {version}: {TRAINING_SET.name} has versions 0 to {log.version()}")
    log.load_as_version(version)
    return _recipe_in(notes.newest(log), f"version {version} of {TRAINING_SET.name}")


def newest_recipe(log: "DeltaTable", history: str) -> Recipe:
    """What a history's rows were made from; other histories may have been written since.

    Args:
        log: The training set, as of the version whose rows are meant.
        history: ``live``, or the name of an import.

    Raises:
        NotRecorded: No note says.
    """
    own = (note for _, note in notes.noted(log) if note.get("history") == history)
    return _recipe_in(next(own, None), f"the history {history} in {TRAINING_SET.name}")


def _recipe_in(note: notes.Note | None, told: str) -> Recipe:
    try:
        return Recipe(**(note or {})["recipe"])
    except (KeyError, TypeError) as unknown:
        raise NotRecorded(
            f"{told} does not say what it was made from; materialise {TRAINING_SET.name} without as_recorded"
        ) from unknown


def write(lake: LakeResource, recipe: Recipe) -> tuple[Written, dict[str, Any]]:
    """Put a recipe's rows in place of its history's; and what there is to tell about them.

    Raises:
        NothingToLearn: There is no row; what was there before stays, because models were made from it.
    """
    from pix.offline import training_frame

    read = [lake.read(table.name, version=recipe.made_from[table.name]) for table in LEARNT_FROM]
    features, payments, labels, decisions = read
    old_enough = training_frame.matured(
        *read, history=recipe.history, as_of_ms=recipe.as_of_ms, maturity_ms=recipe.maturity_ms
    ).persist()
    try:
        known = training_frame.labelled(old_enough)
        there = _classes(known)
        if not there:
            raise NothingToLearn(
                f"no payment of the history {recipe.history!r} has a matured label: import one "
                f"(`sentinela import FILE --history {recipe.history}`) or run `make demo`"
            )
        strata = [training_frame.Stratum(**row.asDict()) for row in training_frame.strata(old_enough).collect()]
        honest = known.where(training_frame.IS_SAMPLED).count()
        chosen = training_frame.sampled(known, min(1.0, recipe.honest_rows / max(honest, 1)), seed=recipe.seed)
        kept = chosen.where(training_frame.IS_SAMPLED).count()
        rows = training_frame.with_facts(
            chosen, features, payments, history=recipe.history, honest_weight=honest / max(kept, 1), strata=strata
        )
        written = _written(lake, rows, recipe)
    finally:
        old_enough.unpersist()
    payments_there = sum(there.values())
    return written, {
        "history": recipe.history,
        "as_of_ms": recipe.as_of_ms,
        "payments": payments_there,
        "honest_kept": kept,
        **{f"{name}_payments": count for name, count in sorted(there.items())},
        "frauds": there.get(training_frame.FRAUD, 0),
        "base_rate": there.get(training_frame.FRAUD, 0) / payments_there,
        **_control_told(strata),
        "made_from": dict(recipe.made_from),
    }


def of_history(name: str) -> str:
    """The rows of one history in the training set."""
    return f"history = '{name}'"


def _written(lake: LakeResource, rows: "DataFrame", recipe: Recipe) -> Written:
    note = {"history": recipe.history, "made_from": dict(recipe.made_from), "recipe": asdict(recipe)}
    if lake.fits(TRAINING_SET):
        return lake.replace(TRAINING_SET, rows, where=of_history(recipe.history), note=note)
    # Rows of earlier feature declarations cannot stand beside these.
    return lake.overwrite(TRAINING_SET, rows, note=note)


def _control_told(strata: "Sequence[Stratum]") -> dict[str, Any]:
    """What a control group's rows stand for, and what nobody stands for."""
    if not strata:
        return {}
    told = [
        f"| {each.instead_of} | {each.propensity:g} | {each.known:,} | {each.unknown:,} | {each.weight:.1f} |"
        for each in sorted(strata)
    ]
    head = "| the score asked for | chance | let go on and known | stopped and unknown | each stands for |\n|-|-|-|-|-|"
    return {
        "control_payments": sum(each.known for each in strata),
        "control_unrepresented": sum(each.unknown for each in strata if not each.known),
        "control_group": dg.MetadataValue.md("\n".join([head, *told])),
    }


def _classes(rows: "DataFrame") -> dict[str, int]:
    return {row["label_class"]: row["count"] for row in rows.groupBy("label_class").count().collect()}


def _instant(text: str | None, now_ms: int) -> int:
    if text is None:
        return now_ms
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as unread:
        raise BadInstant(f"as_of {text!r} is no instant; write it like 2026-11-01T00:00:00Z") from unread
    if moment.tzinfo is None:
        raise BadInstant(f"as_of {text!r} has no time zone; write it like 2026-11-01T00:00:00Z")
    at_ms = round(moment.timestamp() * 1000)
    if at_ms > now_ms:
        raise BadInstant(f"as_of {text!r} lies in the future")
    return at_ms


@dataclass(frozen=True, slots=True)
class Read:
    """A history's rows in memory.

    Attributes:
        frame: The rows.
        datasets: What they are, and what they were made from: as a model's record names them.
        recipe: How they were chosen.
    """

    frame: "pd.DataFrame"
    datasets: tuple[Dataset, ...]
    recipe: Recipe


def read(lake: LakeResource, history: str, *, version: int | None = None) -> Read:
    """A history's rows for models, in order of time: features in single precision, texts as categories.

    By delta-rs, in pieces, and put in order a column at a time: as Spark hands a table over, two million rows would
    take several times their size, and who has to sort them afterwards holds them twice.

    Args:
        lake: The lake.
        history: ``live``, or the name of an import.
        version: Of the training set; None is the newest.

    Raises:
        MissingTable: The training set was never made.
        NotRecorded: It was made by another build.
        NothingToLearn: It has no row of this history.
    """
    import pandas as pd

    from learning.inputs import TIME_ORDER

    names = [name for name in TRAINING_SET.names if name not in FEATURE_NAMES]
    log, where = lake.log(TRAINING_SET.name), of_history(history)
    if not lake.fits(TRAINING_SET):
        raise NotRecorded(f"{TRAINING_SET.name} has the columns of another build; materialise it again")
    if version is not None:
        log.load_as_version(version)
    (counted,) = lake.ask(TRAINING_SET.name, f"select count(*) as n from asked where {where}", version=log.version())  # noqa: S608
    if not counted["n"]:
        raise NothingToLearn(f"{TRAINING_SET.name} has no row of the history {history!r}; materialise it for that one")
    recipe = newest_recipe(log, history)
    matrix, parts, at = np.empty((counted["n"], len(FEATURE_NAMES)), np.float32, order="F"), [], 0
    for batch in pa.RecordBatchReader.from_stream(log.scan(predicate=where)):
        for place, name in enumerate(FEATURE_NAMES):
            matrix[at : at + batch.num_rows, place] = batch.column(name).to_numpy(zero_copy_only=False)
        parts.append(_copied(batch, names))
        at += batch.num_rows
    unordered = _categories(pa.Table.from_batches(parts)).to_pandas(split_blocks=True, self_destruct=True)
    facts = unordered.sort_values(list(TIME_ORDER), kind="stable")
    for place in range(matrix.shape[1]):
        matrix[:, place] = matrix[facts.index, place]
    features = pd.DataFrame(matrix, columns=list(FEATURE_NAMES), copy=False)
    frame = pd.concat([facts.reset_index(drop=True), features], axis=1, copy=False)
    own = Dataset(TRAINING_SET.name, lake.path(TRAINING_SET.name), log.version(), digest_of(frame))
    sources = (Dataset(name, lake.path(name), version, None) for name, version in recipe.made_from.items())
    return Read(frame, (own, *sources), recipe)


def digest_of(frame: "pd.DataFrame") -> str:
    """Hash of rows that a model is fit on, in whatever order they come."""
    import pandas as pd

    columns = ["end_to_end_id", "event_time_ms", "is_fraud", "fraud_known_at_ms", "cleared_at_ms", "weight"]
    rows = pd.util.hash_pandas_object(frame[columns], index=False).to_numpy()
    for start in range(0, len(frame), AT_ONCE):
        part = frame.iloc[start : start + AT_ONCE][list(FEATURE_NAMES)]
        rows[start : start + AT_ONCE] ^= pd.util.hash_pandas_object(part, index=False).to_numpy()
    return blake2b(np.sort(rows).tobytes(), digest_size=16).hexdigest()


def _copied(batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
    """Some columns of a batch; as they came over from delta-rs each keeps all the others in memory."""
    every = pa.array(np.arange(batch.num_rows))
    columns = [batch.column(name) for name in names]
    # Views of texts cannot be taken.
    plain = [column.cast(pa.string()) if pa.types.is_string_view(column.type) else column for column in columns]
    return pa.RecordBatch.from_arrays([column.take(every) for column in plain], names=names)


def _categories(facts: pa.Table) -> pa.Table:
    """Texts that have few values by their number: two million Python strings are slow to make and to compare."""
    for place, column in enumerate(facts.schema):
        is_text = pa.types.is_string(column.type) or pa.types.is_string_view(column.type)
        if is_text and column.name != "end_to_end_id":
            encoded = facts.column(place).cast(pa.string()).combine_chunks().dictionary_encode()
            facts = facts.set_column(place, column.name, encoded)
    return facts
