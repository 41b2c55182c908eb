"""Great Expectations judges a suite: on a sample of a table's rows, and on the exact counts over all of them.

Both must hold. The counts (``quality.counting``) see every row; the sample is a second opinion by an evaluator that
shares no code with them, so that a condition which one of them reads wrongly turns its promise red. Great Expectations
runs on pandas in an ephemeral context, without files. Blocking and scheduling live in ``fraud_assets``.

Great Expectations reads its switch for usage statistics from the environment, and only when it is first
imported: process roots apply GX_ENVIRONMENT before they use this module.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pix.features import BRASILIA_OFFSET_MS
from quality.conditions import Condition, Promise, Severity
from quality.errors import ExpectationError
from quality.suites import NUMBERS

if TYPE_CHECKING:
    import pandas as pd

    from quality.counting import Counts

GX_ENVIRONMENT = {"GX_ANALYTICS_ENABLED": "false"}
SAMPLE_ROWS = 10_000
GROUP = re.compile(r"(?<!\\)\((?!\?)")
"""A group that pandas would take for one to extract, and warn of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one promise.

    Attributes:
        name: Name of the promise.
        passed: Whether it holds.
        severity: Its severity.
        rows: Rows counted.
        sampled: Rows that Great Expectations looked at one by one.
        unexpected_count: Rows that break it, exactly, summed over its conditions.
        broken: Its broken conditions.
        observed: One sentence on what was seen.
    """

    name: str
    passed: bool
    severity: Severity
    rows: int
    sampled: int
    unexpected_count: int
    broken: tuple[Condition, ...]
    observed: str


def columns_of(suite: Sequence[Promise]) -> list[str]:
    """The columns that a sample needs; everything else can stay in the lake."""
    judged = [one for promise in suite for one in promise.conditions if _is_of_sample(one)]
    return sorted({name for condition in judged for name in condition.reads})


def frame_of(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str], suite: Sequence[Promise]) -> "pd.DataFrame":
    """Sampled rows as ``validate`` takes them: with numbers as numbers, also where there is none.

    Args:
        rows: As SQL gave them.
        types: Column -> Spark type of the table.
        suite: The promises.
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=[name for name in columns_of(suite) if name in types])
    for name in frame.columns:
        if types[name] in NUMBERS:
            frame[name] = pd.to_numeric(frame[name])
    return frame


def validate(frame: "pd.DataFrame", counts: "Counts", suite: Sequence[Promise]) -> list[Outcome]:
    """Evaluate every promise with Great Expectations, in the suite's order.

    A condition that cannot be asked breaks its promise; an empty table breaks none.

    Args:
        frame: Sampled rows, by ``frame_of``.
        counts: What breaks the conditions over all rows.
        suite: The promises.

    Raises:
        ExpectationError: Great Expectations itself failed.
    """
    conditions = list(dict.fromkeys(one for promise in suite for one in promise.conditions))
    of_sample = [] if frame.empty else [one for one in conditions if _is_of_sample(one) and one not in counts.absent]
    by_rows = _judged(*_as_rows(frame, of_sample), of_sample)
    counted = [one for one in conditions if one not in counts.absent]
    by_counts = _judged(*_as_counts(counts, counted), counted)
    return [_outcome(promise, by_rows, by_counts, counts, len(frame)) for promise in suite]


def _is_of_sample(condition: Condition) -> bool:
    return condition.is_of_rows or condition.kind == "unique"


def _as_rows(frame: "pd.DataFrame", conditions: Sequence[Condition]) -> tuple["pd.DataFrame", list[Any]]:
    """The sample with a column of booleans for what Great Expectations cannot say itself, and the expectations."""
    import pandas as pd

    derived, expectations = {}, []
    for place, condition in enumerate(conditions):
        found = _native(condition)
        if found is None:
            name = f"condition_{place}"
            derived[name] = _keeps(frame, condition)
            found = "ExpectColumnValuesToBeInSet", {"column": name, "value_set": [True]}
        expectations.append(_expectation(*found))
    return pd.concat([frame, pd.DataFrame(derived, index=frame.index)], axis=1), expectations


def _as_counts(counts: "Counts", conditions: Sequence[Condition]) -> tuple["pd.DataFrame", list[Any]]:
    """One row with the exact count of each condition, and that each is 0."""
    import pandas as pd

    names = [f"condition_{place}" for place in range(len(conditions))]
    frame = pd.DataFrame({name: [counts.of(one)] for name, one in zip(names, conditions, strict=True)})
    call = "ExpectColumnValuesToBeInSet"
    return frame, [_expectation(call, {"column": name, "value_set": [0]}) for name in names]


def _judged(
    frame: "pd.DataFrame", expectations: Sequence[Any], conditions: Sequence[Condition]
) -> dict[Condition, bool]:
    """Which conditions hold in a frame."""
    if not conditions:
        return {}
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
    batch = (
        context.data_sources.add_pandas("frame")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frame})
    )
    suite = gx.ExpectationSuite(name="promises", expectations=list(expectations))
    results = batch.validate(suite, result_format="BOOLEAN_ONLY").results
    # Results come grouped by column, not in the order of the suite.
    by_identity = {_identity(result.expectation_config): result for result in results}
    found = {}
    for expectation, condition in zip(expectations, conditions, strict=True):
        result = by_identity[_identity(expectation.configuration)]
        raised = _raised(result.exception_info or {})
        if raised:
            raise ExpectationError(f"Great Expectations could not evaluate {condition}: {raised}")
        found[condition] = bool(result.success)
    return found


def _identity(configuration: Any) -> str:
    """What is expected of what; two equal expectations have one verdict."""
    chosen = {name: value for name, value in configuration.kwargs.items() if name not in ("batch_id", "result_format")}
    return f"{configuration.type} {sorted(chosen.items(), key=lambda each: each[0])!r}"


def _outcome(
    promise: Promise, by_rows: dict[Condition, bool], by_counts: dict[Condition, bool], counts: "Counts", sampled: int
) -> Outcome:
    absent = [counts.absent[one] for one in promise.conditions if one in counts.absent]
    broken = tuple(one for one in promise.conditions if not by_counts.get(one, False))
    alone = [one for one in promise.conditions if not by_rows.get(one, True) and one not in broken]
    count = sum(counts.of(one) for one in broken)
    told = [
        f"{counts.of(one)} of {counts.total} in {', '.join(one.columns)}" for one in broken if one not in counts.absent
    ]
    told += [f"the sample breaks it in {', '.join(one.columns)}, the count does not" for one in alone]
    if sampled == counts.total:
        doubted = [one for one in broken if by_rows.get(one, False)]
        told += [f"the count breaks it in {', '.join(one.columns)}, all rows sampled do not" for one in doubted]
    told += dict.fromkeys(absent)
    return Outcome(
        name=promise.name,
        passed=not (broken or alone),
        severity=promise.severity,
        rows=counts.total,
        sampled=sampled,
        unexpected_count=count,
        broken=(*broken, *alone),
        observed=f"{'; '.join(told) or 'holds'} ({counts.total} rows counted, {sampled} sampled)",
    )


def _raised(info: Any) -> str:
    """The message of an exception inside a GX result, which nests it per metric or not at all."""
    nested = [info] if "raised_exception" in info else [v for v in info.values() if isinstance(v, dict)]
    return "; ".join(str(entry["exception_message"]) for entry in nested if entry.get("raised_exception"))


def _expectation(name: str, options: dict[str, Any]) -> Any:
    return getattr(importlib.import_module("great_expectations.expectations"), name)(**options)


def _native(condition: Condition) -> tuple[str, dict[str, Any]] | None:
    """Class of Great Expectations and its options; None for what it cannot say without help."""
    column = {"column": condition.columns[0]}
    if condition.where is not None:
        return None
    match condition.kind:
        case "unique":
            columns = list(condition.columns)
            if len(columns) == 1:
                return "ExpectColumnValuesToBeUnique", column
            options = {"column_list": columns, "ignore_row_if": "any_value_is_missing"}
            return "ExpectCompoundColumnsToBeUnique", options
        case "present":
            return "ExpectColumnValuesToNotBeNull", column
        case "one_of":
            return "ExpectColumnValuesToBeInSet", {**column, "value_set": list(condition.values)}
        case "between":
            return "ExpectColumnValuesToBeBetween", {
                **column,
                "min_value": condition.low,
                "max_value": condition.high,
            }
        case "matches":
            return "ExpectColumnValuesToMatchRegex", {**column, "regex": GROUP.sub("(?:", condition.pattern)}
        case _:
            return None


def _keeps(frame: "pd.DataFrame", condition: Condition) -> "pd.Series[bool]":
    """Whether each row keeps a condition; one of nulls breaks nothing but ``present``."""
    broken = _breaks(frame, condition)
    if condition.where is not None:
        name, values = condition.where
        broken = broken & frame[name].isin(values)
    kept: pd.Series[bool] = ~broken.fillna(False).astype(bool)
    return kept


def _breaks(frame: "pd.DataFrame", condition: Condition) -> Any:
    import pandas as pd

    first, *others = (frame[name] for name in condition.columns)
    is_there = first.notna()
    match condition.kind:
        case "present":
            return ~is_there
        case "absent":
            return is_there
        case "one_of":
            return is_there & ~first.isin(condition.values)
        case "between":
            low, high = condition.low, condition.high
            below = (first < low) if low is not None else ~is_there
            return is_there & (below | ((first > high) if high is not None else ~is_there))
        case "matches":
            return is_there & ~first.astype(str).str.fullmatch(condition.pattern)
        case "whole":
            return is_there & (pd.to_numeric(first, errors="coerce") % 1 != 0)
        case "differ":
            return is_there & (first == others[0])
        case "at_least":
            return is_there & others[0].notna() & (first < others[0])
        case "adds_up":
            total = sum(others[1:], start=others[0])
            return is_there & total.notna() & (first != total)
        case "ratio":
            parts = sum(others[2:], start=others[1])
            return (first * others[0] - parts).abs() > 1e-6 * others[0]
        case "day_of":
            found = pd.to_datetime(others[0] + BRASILIA_OFFSET_MS, unit="ms").dt.date
            return is_there & others[0].notna() & (first != found)
        case _:
            raise ExpectationError(f"{condition.kind} is not asked of a row of a sample")
