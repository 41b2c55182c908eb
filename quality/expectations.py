"""Great Expectations suites of the tables that carry promises, and how to run one.

A suite is data: names that are true sentences, and what makes them true. Great Expectations evaluates
them on pandas in an ephemeral context, without files. Blocking and scheduling live in ``fraud_assets``.

Great Expectations reads its switch for usage statistics from the environment, and only when it is first
imported: process roots apply GX_ENVIRONMENT before they use this module.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from quality.errors import ExpectationError, UnknownSuite

GX_ENVIRONMENT = {"GX_ANALYTICS_ENABLED": "false"}

Severity = Literal["critical", "warning", "info"]
Kind = Literal["unique", "not_null", "not_null_if", "in_set", "between", "whole_numbers", "matches", "differ"]

SAMPLE_SIZE = 5
MS_2000 = 946_684_800_000
MS_2100 = 4_102_444_800_000
TOKEN = r"^k[0-9]+:"  # noqa: S105 - the visible prefix of a token, not a secret
END_TO_END_ID = r"^E[0-9A-Z]{8}[0-9]{12}[A-Za-z0-9]{11}$"
ACTIONS = ("ALLOW", "REVIEW", "BLOCK_AND_REVIEW", "BLOCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One promise about a table.

    Attributes:
        name: The promise as a true sentence; unique in its suite.
        kind: What is evaluated.
        columns: Columns it reads: several for ``unique``, two for ``differ``, else one.
        severity: ``critical`` blocks what is downstream.
        values: The set of ``in_set``.
        low: Smallest value of ``between``, inclusive.
        high: Largest value of ``between``, inclusive.
        pattern: Regular expression of ``matches``.
        where: Column and value that a row must have for the promise to apply to it.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    severity: Severity = "critical"
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    pattern: str = ""
    where: tuple[str, str] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column the evaluation needs."""
        return self.columns if self.where is None else (*self.columns, self.where[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one expectation found.

    Attributes:
        name: Name of the expectation.
        passed: Whether the promise holds.
        severity: Severity of the expectation.
        unexpected_count: Rows that break it.
        sample: Some of the values that break it, as text.
        observed: One sentence on what was seen.
    """

    name: str
    passed: bool
    severity: Severity
    unexpected_count: int
    sample: tuple[str, ...]
    observed: str


SILVER_PAYMENTS = (
    Expectation(name="payments_are_unique", kind="unique", columns=("tenant", "end_to_end_id")),
    Expectation(name="ids_are_end_to_end_ids", kind="matches", columns=("end_to_end_id",), pattern=END_TO_END_ID),
    Expectation(name="amounts_are_present", kind="not_null", columns=("amount_cents",)),
    Expectation(name="amounts_are_whole_centavos", kind="whole_numbers", columns=("amount_cents",)),
    Expectation(name="amounts_are_positive", kind="between", columns=("amount_cents",), low=1),
    Expectation(name="payers_are_present", kind="not_null", columns=("payer_account",)),
    Expectation(name="payees_are_present", kind="not_null", columns=("payee_account",)),
    Expectation(name="payers_are_tokens", kind="matches", columns=("payer_account",), pattern=TOKEN),
    Expectation(name="payees_are_tokens", kind="matches", columns=("payee_account",), pattern=TOKEN),
    Expectation(name="nobody_pays_himself", kind="differ", columns=("payer_account", "payee_account")),
    Expectation(name="sources_are_known", kind="in_set", columns=("source",), values=("live", "history")),
    Expectation(name="history_names_its_import", kind="not_null_if", columns=("history",), where=("source", "history")),
    Expectation(name="event_times_are_present", kind="not_null", columns=("event_time_ms",)),
    Expectation(
        name="event_times_are_milliseconds",
        kind="between",
        columns=("event_time_ms",),
        low=MS_2000,
        high=MS_2100,
    ),
    Expectation(
        name="initiations_are_known",
        kind="in_set",
        columns=("initiation",),
        values=("MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APES", "APDN"),
        severity="warning",
    ),
)

GOLD_DECISIONS = (
    Expectation(name="decisions_are_unique", kind="unique", columns=("tenant", "end_to_end_id")),
    Expectation(name="ids_are_present", kind="not_null", columns=("end_to_end_id",)),
    Expectation(name="actions_are_present", kind="not_null", columns=("action",)),
    Expectation(name="actions_are_known", kind="in_set", columns=("action",), values=ACTIONS),
    Expectation(name="probabilities_lie_in_0_1", kind="between", columns=("fraud_probability",), low=0, high=1),
    Expectation(
        name="normal_decisions_have_a_probability",
        kind="not_null_if",
        columns=("fraud_probability",),
        where=("mode", "normal"),
    ),
    Expectation(
        name="normal_decisions_name_their_model",
        kind="not_null_if",
        columns=("model_version",),
        where=("mode", "normal"),
    ),
    Expectation(name="modes_are_known", kind="matches", columns=("mode",), pattern=r"^(?:normal|degraded:.+)$"),
    Expectation(name="modes_are_present", kind="not_null", columns=("mode",)),
    Expectation(name="policies_are_named", kind="not_null", columns=("policy_version",)),
    Expectation(name="amounts_are_present", kind="not_null", columns=("amount_cents",)),
    Expectation(name="amounts_are_positive", kind="between", columns=("amount_cents",), low=1),
    Expectation(
        name="decision_times_are_milliseconds",
        kind="between",
        columns=("decided_at_ms",),
        low=MS_2000,
        high=MS_2100,
    ),
)

SUITES: Mapping[str, tuple[Expectation, ...]] = MappingProxyType(
    {"silver/payments": SILVER_PAYMENTS, "gold/decisions": GOLD_DECISIONS}
)


def suite_of(table: str) -> tuple[Expectation, ...]:
    """The expectations of a table such as ``silver/payments``.

    Raises:
        UnknownSuite: There is none.
    """
    try:
        return SUITES[table]
    except KeyError:
        raise UnknownSuite(f"no expectations for table {table!r}; there are some for {sorted(SUITES)}") from None


def columns_of(suite: Sequence[Expectation]) -> list[str]:
    """The columns a caller must read to validate the suite; everything else can stay in the lake."""
    return sorted({name for expectation in suite for name in expectation.reads})


def validate(frame: pd.DataFrame, suite: Sequence[Expectation]) -> list[Outcome]:
    """Evaluate every expectation with Great Expectations, in the suite's order.

    A column that the frame lacks fails its expectations; an empty frame breaks no promise.

    Raises:
        ExpectationError: Great Expectations itself failed.
    """
    import great_expectations as gx

    derived = _with_derived(frame, suite)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
    batch = (
        context.data_sources.add_pandas("frame")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": derived})
    )
    return [_outcome(batch, derived, expectation) for expectation in suite]


def _with_derived(frame: pd.DataFrame, suite: Sequence[Expectation]) -> pd.DataFrame:
    """Only the columns in question, and a boolean per promise that GX core cannot express."""
    derived = frame[[name for name in columns_of(suite) if name in frame.columns]].copy()
    for expectation in suite:
        if expectation.kind in DERIVED and set(expectation.columns) <= set(frame.columns):
            derived[expectation.name] = DERIVED[expectation.kind](*(frame[name] for name in expectation.columns))
    return derived


def _differ(left: "pd.Series[Any]", right: "pd.Series[Any]") -> "pd.Series[bool]":
    return ((left != right) | left.isna() | right.isna()).astype(bool)


def _whole(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Whether each value is an integer or null; with nulls the column is float, so types cannot tell."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return pd.Series(column.isna(), index=column.index)
    return (column.isna() | (column % 1 == 0).fillna(False)).astype(bool)


DERIVED: Mapping[str, Callable[..., "pd.Series[bool]"]] = MappingProxyType({"differ": _differ, "whole_numbers": _whole})


def _outcome(batch: Any, frame: pd.DataFrame, expectation: Expectation) -> Outcome:
    absent = [name for name in expectation.reads if name not in frame.columns]
    if absent:
        return _found(expectation, f"the table has no column {', '.join(absent)}", passed=False)
    if frame.empty:
        return _found(expectation, "the table has no rows", passed=True)
    result = batch.validate(_gx(expectation))
    raised = _raised(result.exception_info or {})
    if raised:
        raise ExpectationError(
            f"Great Expectations could not evaluate {expectation.name} on {expectation.columns}: {raised}"
        )
    # Under a row condition only the rows it selects are counted.
    rows = result.result.get("element_count", len(frame))
    if result.success:
        return _found(expectation, f"{rows} rows", passed=True)
    count = int(result.result["unexpected_count"])
    sample = _sample(frame, expectation, result.result)
    return _found(expectation, f"{count} of {rows} rows break it", passed=False, unexpected_count=count, sample=sample)


def _found(
    expectation: Expectation,
    observed: str,
    *,
    passed: bool,
    unexpected_count: int = 0,
    sample: tuple[str, ...] = (),
) -> Outcome:
    return Outcome(
        name=expectation.name,
        passed=passed,
        severity=expectation.severity,
        unexpected_count=unexpected_count,
        sample=sample,
        observed=observed,
    )


def _sample(frame: pd.DataFrame, expectation: Expectation, details: Mapping[str, Any]) -> tuple[str, ...]:
    if expectation.kind in DERIVED:
        # The derived column only says False; the value says which rows to look for.
        rows = frame.loc[~frame[expectation.name], expectation.columns[0]]
        return tuple(str(value) for value in rows.head(SAMPLE_SIZE))
    unique = dict.fromkeys(str(value) for value in details.get("partial_unexpected_list", ()))
    return tuple(unique)[:SAMPLE_SIZE]


def _raised(info: Mapping[str, Any]) -> str:
    """The message of an exception inside a GX result, which nests it per metric or not at all."""
    nested = [info] if "raised_exception" in info else [v for v in info.values() if isinstance(v, Mapping)]
    return "; ".join(str(entry["exception_message"]) for entry in nested if entry.get("raised_exception"))


def _gx(expectation: Expectation) -> Any:
    gxe = importlib.import_module("great_expectations.expectations")
    name, options = _gx_call(expectation)
    return getattr(gxe, name)(severity=expectation.severity, **options)


def _gx_call(expectation: Expectation) -> tuple[str, dict[str, Any]]:
    """Class of Great Expectations and its options."""
    column = expectation.columns[0]
    match expectation.kind:
        case "unique":
            columns = list(expectation.columns)
            return "ExpectCompoundColumnsToBeUnique", {"column_list": columns, "ignore_row_if": "never"}
        case "not_null":
            return "ExpectColumnValuesToNotBeNull", {"column": column}
        case "not_null_if":
            return "ExpectColumnValuesToNotBeNull", {
                "column": column,
                "row_condition": _condition(expectation),
            }
        case "in_set":
            return "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(expectation.values)}
        case "between":
            limits = {"min_value": expectation.low, "max_value": expectation.high}
            return "ExpectColumnValuesToBeBetween", {"column": column, **limits}
        case "matches":
            return "ExpectColumnValuesToMatchRegex", {"column": column, "regex": expectation.pattern}
        case "differ" | "whole_numbers":
            return "ExpectColumnValuesToBeInSet", {"column": expectation.name, "value_set": [True]}


def _condition(expectation: Expectation) -> Any:
    from great_expectations.expectations.row_conditions import Column

    if expectation.where is None:
        raise ExpectationError(f"{expectation.name} is not_null_if without `where`; say for which rows it holds")
    column, value = expectation.where
    return Column(column) == value
