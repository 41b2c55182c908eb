"""Have the model's inputs moved? An Evidently report on samples, and the verdict it supports.

PSI throughout: at these sample sizes significance tests flag noise. Missing values are not drift to
Evidently, and a column without a single value fails its whole report: such columns are set aside first.
Storage of the report and the request for retraining live in ``fraud_assets``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

MAX_ROWS = 15_000
MIN_ROWS = 500
PSI_THRESHOLD = 0.2
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
        drifted: Columns whose PSI reaches the threshold, or that lost all their values.
        drifted_share: drifted ÷ columns that have values in the reference.
        dead: Columns without a finite value in the reference or in the current rows; they have no PSI.
    """

    report_id: str
    rows_reference: int
    rows_current: int
    psi: Mapping[str, float]
    drifted: tuple[str, ...]
    drifted_share: float
    dead: tuple[str, ...]

    def to_metadata(self) -> dict[str, Any]:
        """Plain values, as Dagster metadata takes them."""
        plain = asdict(self)
        return {**plain, "psi": dict(self.psi), "drifted": list(self.drifted), "dead": list(self.dead)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "DriftSummary":
        """The summary in a materialisation's metadata; values may be wrapped, as Dagster returns them.

        Raises:
            KeyError: A field is missing.
        """
        fields = {name: _unwrapped(metadata[name]) for name in cls.__dataclass_fields__}
        return cls(**{**fields, "drifted": tuple(fields["drifted"]), "dead": tuple(fields["dead"])})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to retrain, and the sentence that says why."""

    retrain: bool
    reason: str


def drift_report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    feature_names: Sequence[str],
    *,
    report_id: str,
    seed: int,
    max_rows: int = MAX_ROWS,
    psi_threshold: float = PSI_THRESHOLD,
) -> tuple[DriftSummary, bytes]:
    """Compare current rows with those the model was trained on.

    Args:
        reference: Rows of the training set.
        current: Recent rows.
        feature_names: Columns to compare; all are numbers.
        report_id: Name of the report; the caller's, so that a retry has the same.
        seed: Seed of the samples.
        max_rows: Rows of each side that Evidently sees.
        psi_threshold: PSI from which a column counts as drifted.

    Returns:
        The summary, and Evidently's report of the columns that moved most, as HTML (5 MB: keep it in a file).
    """
    names = list(feature_names)
    sampled_reference, sampled_current = (_sample(side, names, seed, max_rows) for side in (reference, current))
    alive_before = [name for name in names if sampled_reference[name].notna().any()]
    live = [name for name in alive_before if sampled_current[name].notna().any()]
    psi = _psi(sampled_reference[live], sampled_current[live], psi_threshold)
    shown = sorted(psi, key=lambda name: -psi[name])[:SHOWN]
    html = _page(sampled_reference[shown], sampled_current[shown], psi_threshold)
    # Without current rows nothing was lost; the verdict says that there is too little to judge.
    lost = [name for name in alive_before if name not in live] if len(current) else []
    drifted = tuple(name for name in names if name in lost or psi.get(name, 0.0) >= psi_threshold)
    summary = DriftSummary(
        report_id=report_id,
        rows_reference=len(reference),
        rows_current=len(current),
        psi=psi,
        drifted=drifted,
        drifted_share=len(drifted) / len(alive_before) if alive_before else 0.0,
        dead=tuple(name for name in names if name not in live),
    )
    return summary, html


def needs_retraining(summary: DriftSummary, *, threshold_share: float, min_rows: int = MIN_ROWS) -> Verdict:
    """Judge a report.

    Args:
        summary: The report's summary.
        threshold_share: Share of drifted columns from which retraining is asked for.
        min_rows: Rows needed on each side; with fewer, PSI is noise.
    """
    fewest = min(summary.rows_reference, summary.rows_current)
    if fewest < min_rows:
        return Verdict(
            False,
            f"too few rows to judge: {summary.rows_current} current and {summary.rows_reference} reference, "
            f"{min_rows} needed",
        )
    found = (
        f"{len(summary.drifted)} features drifted, {summary.drifted_share:.0%} against a threshold of "
        f"{threshold_share:.0%}"
    )
    if not summary.drifted or summary.drifted_share < threshold_share:
        return Verdict(False, found)
    return Verdict(True, f"{found}: {', '.join(_named(summary, name) for name in summary.drifted[:5])}")


def _named(summary: DriftSummary, name: str) -> str:
    return f"{name} (PSI {summary.psi[name]:.2f})" if name in summary.psi else f"{name} (no values any more)"


def _sample(frame: pd.DataFrame, names: list[str], seed: int, max_rows: int) -> pd.DataFrame:
    numbers = frame[names].astype("float64").replace([np.inf, -np.inf], np.nan)
    return numbers.sample(max_rows, random_state=seed) if len(numbers) > max_rows else numbers


def _psi(reference: pd.DataFrame, current: pd.DataFrame, threshold: float) -> dict[str, float]:
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
                    reference[name].dropna(), current[name].dropna(), ColumnType.Numerical, threshold
                ).drift_score
            )
            for name in reference.columns
        }


def _page(reference: pd.DataFrame, current: pd.DataFrame, threshold: float) -> bytes:
    """Evidently's report as HTML; columns must have values on both sides."""
    names = [str(name) for name in reference.columns]
    if not names:
        return EMPTY_REPORT
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(numerical_columns=names, categorical_columns=[])
    metrics = [ValueDrift(column=name, method="psi", threshold=threshold) for name in names]
    with np.errstate(divide="ignore", invalid="ignore"):
        snapshot = Report(metrics, include_tests=True).run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )
    page: str = snapshot.get_html_str(as_iframe=False)
    return page.encode()


def _unwrapped(value: Any) -> Any:
    return getattr(value, "value", value)
