"""Have the model's inputs moved? An Evidently report on samples, and what it found.

PSI throughout: at these sample sizes significance tests flag noise. A column that moves all the time, such as an
account's age in a young history, has not drifted: each is held against how far it moves between the reference's own
parts. Missing values are not drift to Evidently, and a column without a single value fails its whole report: such
columns are set aside first, and shares of missing values are compared apart.
What asks for retraining is ``quality.verdict``; reports are kept in ``fraud_assets``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

MAX_ROWS = 15_000
MIN_ROWS = 500
PSI_THRESHOLD = 0.2
TIMES_USUAL = 2.0
"""A column has drifted from so many times the PSI that it has between the reference's own parts."""
PARTS = 4
"""In time; each but the first is compared with all before it."""
MISSING_MOVED = 0.1
"""Change in the share of missing values from which it is told."""
DRIFTED_SHARE = 0.25
"""Share of drifted columns from which the data have drifted: one feature of 250 is no reason."""
# A picture of each of some hundred columns makes a page that takes half a minute to write and nobody reads.
SHOWN = 30
EMPTY_REPORT = b"<!doctype html><title>Drift</title><p>No column has a value on both sides: nothing to compare.</p>"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSummary:
    """What a drift report found; small enough for metadata.

    Attributes:
        report_id: Names the report, and the retraining it may cause.
        rows_reference: Rows of the reference before sampling.
        rows_current: Current rows before sampling.
        psi: Column → population stability index.
        usual: Column → the greatest PSI of a part of the reference against the parts before it.
        drifted: Columns whose PSI reaches the threshold and ``TIMES_USUAL`` the usual one, or that lost all values.
        drifted_share: drifted ÷ columns that have values in the reference.
        dead: Columns without a finite value in the reference or in the current rows; they have no PSI.
        missing: Column → share of missing values in the reference and now, where it moved by ``MISSING_MOVED``.
    """

    report_id: str
    rows_reference: int
    rows_current: int
    psi: Mapping[str, float]
    usual: Mapping[str, float]
    drifted: tuple[str, ...]
    drifted_share: float
    dead: tuple[str, ...]
    missing: Mapping[str, tuple[float, float]]

    def to_metadata(self) -> dict[str, Any]:
        """Plain values, as Dagster metadata takes them."""
        plain = asdict(self)
        lists = {"drifted": list(self.drifted), "dead": list(self.dead)}
        return {**plain, **lists, "missing": {name: list(shares) for name, shares in self.missing.items()}}

    @property
    def enough(self) -> bool:
        """Whether there are rows enough on both sides; with fewer, PSI is noise."""
        return min(self.rows_reference, self.rows_current) >= MIN_ROWS


@dataclass(frozen=True, slots=True)
class Page:
    """Evidently's report: a page of some MB, for a file, and its numbers."""

    html: bytes
    numbers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Beside:
    """A column that has other rows than the features, for the page: what the model says, or what labels say.

    Attributes:
        name: As the page calls it.
        reference: Its values then.
        current: Its values now.
        is_number: Else a category.
    """

    name: str
    reference: pd.Series
    current: pd.Series
    is_number: bool = True


def drift_report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    feature_names: Sequence[str],
    *,
    report_id: str,
    seed: int,
    weights: pd.Series | None = None,
    beside: Sequence[Beside] = (),
    max_rows: int = MAX_ROWS,
) -> tuple[DriftSummary, Page]:
    """Compare current rows with those the model was trained on, and draw what moved most.

    Args:
        reference: Rows of the training set, oldest first.
        current: Recent rows.
        feature_names: Columns to compare; all are numbers.
        report_id: Name of the report; the caller's, so that a retry has the same.
        seed: Seed of the samples.
        weights: Payments that each row of the reference stands for; one each without it.
        beside: Further columns for the page.
        max_rows: Rows of each side that Evidently sees.

    Returns:
        The summary, and Evidently's report of ``beside`` and of the columns that moved most.
    """
    summary = compare(
        reference, current, feature_names, report_id=report_id, seed=seed, weights=weights, max_rows=max_rows
    )
    shown = sorted(summary.psi, key=lambda name: -summary.psi[name])[:SHOWN]
    sides = (_sample(reference, shown, seed, max_rows, weights), _sample(current, shown, seed, max_rows))
    return summary, _page([*beside, *(Beside(name, sides[0][name], sides[1][name]) for name in shown)])


def compare(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    feature_names: Sequence[str],
    *,
    report_id: str,
    seed: int,
    weights: pd.Series | None = None,
    usual: Mapping[str, float] | None = None,
    max_rows: int = MAX_ROWS,
) -> DriftSummary:
    """The numbers alone; see ``drift_report``.

    Args:
        reference: Rows of the training set, oldest first.
        current: Recent rows.
        feature_names: Columns to compare; all are numbers.
        report_id: Name of the report.
        seed: Seed of the samples.
        weights: Payments that each row of the reference stands for; one each without it.
        usual: What an earlier summary of the same reference has; found anew without it.
        max_rows: Rows of each side that are compared.
    """
    names = list(feature_names)
    before, now = _sample(reference, names, seed, max_rows, weights), _sample(current, names, seed, max_rows)
    alive_before = [name for name in names if before[name].notna().any()]
    live = [name for name in alive_before if now[name].notna().any()]
    psi, usual = _psi(before[live], now[live]), _usual(before[live]) if usual is None else usual
    # Without current rows nothing was lost; the summary says that there is too little to judge.
    lost = [name for name in alive_before if name not in live] if len(current) else []
    moved = [name for name in live if has_moved(psi.get(name, 0.0), usual.get(name, 0.0))]
    drifted = tuple(name for name in names if name in lost or name in moved)
    shares = {name: (float(before[name].isna().mean()), float(now[name].isna().mean())) for name in names}
    return DriftSummary(
        report_id=report_id,
        rows_reference=len(reference),
        rows_current=len(current),
        psi=psi,
        usual=usual,
        drifted=drifted,
        drifted_share=len(drifted) / len(alive_before) if alive_before else 0.0,
        dead=tuple(name for name in names if name not in live),
        missing={name: (then, here) for name, (then, here) in shares.items() if abs(here - then) >= MISSING_MOVED},
    )


def has_moved(psi: float, usual: float, threshold: float = PSI_THRESHOLD) -> bool:
    """Whether a PSI is large, and large for this column."""
    return psi >= max(threshold, TIMES_USUAL * usual)


def told(summary: DriftSummary) -> str:
    """What a summary found, as a sentence."""
    if not summary.enough:
        return (
            f"too few rows to judge: {summary.rows_current} current and {summary.rows_reference} reference, "
            f"{MIN_ROWS} needed"
        )
    found = (
        f"{len(summary.drifted)} features drifted, {summary.drifted_share:.0%} against a threshold of "
        f"{DRIFTED_SHARE:.0%}"
    )
    return f"{found}: {', '.join(_named(summary, name) for name in summary.drifted[:5])}" if summary.drifted else found


def number_psi(reference: pd.Series, current: pd.Series) -> tuple[float, float]:
    """PSI of one column of numbers, and the greatest among the reference's own parts.

    Args:
        reference: Oldest first.
        current: Has values.
    """
    sides = [side.dropna().astype("float64").rename("only").to_frame() for side in (reference, current)]
    return _psi(*sides)["only"], _usual(sides[0]).get("only", 0.0)


def category_psi(reference: pd.Series, current: pd.Series) -> float:
    """PSI of one column of words; both sides have values."""
    from evidently.legacy.calculations.stattests import psi_stat_test
    from evidently.legacy.core import ColumnType

    sides = (reference.dropna().astype(str), current.dropna().astype(str))
    return float(psi_stat_test(*sides, ColumnType.Categorical, PSI_THRESHOLD).drift_score)


def _usual(reference: pd.DataFrame) -> dict[str, float]:
    """Per column the greatest PSI of a part of the reference against those before it."""
    found: dict[str, float] = {}
    ends = np.linspace(0, len(reference), PARTS + 1).astype(int)
    for begin, end in zip(ends[1:-1], ends[2:], strict=True):
        before, part = reference.iloc[:begin], reference.iloc[begin:end]
        both = [name for name in reference.columns if before[name].notna().any() and part[name].notna().any()]
        for name, psi in _psi(before[both], part[both]).items():
            found[name] = max(found.get(name, 0.0), psi)
    return found


def _named(summary: DriftSummary, name: str) -> str:
    return f"{name} (PSI {summary.psi[name]:.2f})" if name in summary.psi else f"{name} (no values any more)"


def _sample(
    frame: pd.DataFrame, names: list[str], seed: int, max_rows: int, weights: pd.Series | None = None
) -> pd.DataFrame:
    """At most so many rows in their order, as often as they stand for payments."""
    numbers = frame[names].astype("float64").replace([np.inf, -np.inf], np.nan).reset_index(drop=True)
    if weights is not None and weights.nunique() > 1:
        shares = weights.reset_index(drop=True)
        return numbers.sample(min(max_rows, len(numbers)), replace=True, weights=shares, random_state=seed).sort_index()
    return numbers.sample(max_rows, random_state=seed).sort_index() if len(numbers) > max_rows else numbers


def _psi(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, float]:
    """PSI per column, as Evidently's report would say; columns must have values on both sides."""
    if reference.empty or current.empty:
        return {}
    from evidently.legacy.calculations.stattests import psi_stat_test
    from evidently.legacy.core import ColumnType

    # Constant columns make Evidently's histograms divide by zero; the PSI it returns for them is right.
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            str(name): float(
                psi_stat_test(
                    reference[name].dropna(), current[name].dropna(), ColumnType.Numerical, PSI_THRESHOLD
                ).drift_score
            )
            for name in reference.columns
        }


def _page(columns: Sequence[Beside]) -> Page:
    """Evidently's report; a column without values on both sides is left out, or it would fail."""
    shown = [one for one in columns if one.reference.notna().any() and one.current.notna().any()]
    if not shown:
        return Page(EMPTY_REPORT, {})
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(
        numerical_columns=[one.name for one in shown if one.is_number],
        categorical_columns=[one.name for one in shown if not one.is_number],
    )
    # Columns have lengths of their own, and pandas fills up the shorter ones.
    sides = [
        pd.concat([getattr(one, side).dropna().reset_index(drop=True).rename(one.name) for one in shown], axis=1)
        for side in ("current", "reference")
    ]
    metrics = [ValueDrift(column=one.name, method="psi", threshold=PSI_THRESHOLD) for one in shown]
    with np.errstate(divide="ignore", invalid="ignore"):
        snapshot = Report(metrics, include_tests=True).run(
            *[Dataset.from_pandas(side, data_definition=definition) for side in sides]
        )
    page: str = snapshot.get_html_str(as_iframe=False)
    return Page(page.encode(), json.loads(snapshot.json()))
