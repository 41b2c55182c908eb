import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from quality.drift import DriftSummary, drift_report, needs_retraining

NAMES = ("amount", "count", "ratio", "constant", "never")


def rows(size=1_200, seed=1, **changes):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": np.exp(rng.normal(8, 1, size)),
            "count": rng.poisson(3, size),
            "ratio": rng.random(size),
            "constant": 1.0,
            "never": np.nan,
        }
    )
    return frame.assign(**changes)


def report(current, reference=None, **more):
    return drift_report(rows() if reference is None else reference, current, NAMES, report_id="r1", seed=7, **more)


def test_without_drift_nothing_is_asked_for():
    summary, html = report(rows(seed=2))
    assert summary.drifted == ()
    assert summary.dead == ("never",)
    assert set(summary.psi) == {"amount", "count", "ratio", "constant"}
    assert b"<html" in html
    assert not needs_retraining(summary, threshold_share=0.25).retrain


def test_the_index_is_that_of_evidentlys_report():
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    moved = rows(seed=2).assign(ratio=lambda f: f["ratio"].where(f["ratio"] > 0.3))
    names = ["amount", "count", "ratio"]
    metrics = [ValueDrift(column=name, method="psi", threshold=0.2) for name in names]
    sides = [
        Dataset.from_pandas(side[names], data_definition=DataDefinition(numerical_columns=names))
        for side in (moved, rows())
    ]
    theirs = [float(metric["value"]) for metric in json.loads(Report(metrics).run(*sides).json())["metrics"]]
    ours, _ = report(moved)
    assert [ours.psi[name] for name in names] == theirs


def test_the_page_shows_the_columns_that_moved_most(monkeypatch):
    monkeypatch.setattr("quality.drift.SHOWN", 2)
    _, page = report(rows(seed=2).assign(ratio=lambda f: f["ratio"] + 1))
    pictured = [name for name in NAMES if f"Drift in column '{name}'".encode() in page]
    assert pictured == ["count", "ratio"]


def test_a_moved_column_is_named_and_retraining_follows_the_threshold():
    summary, _ = report(rows(seed=2).assign(amount=lambda f: f["amount"] * 4))
    assert summary.drifted == ("amount",)
    assert summary.drifted_share == 0.25
    verdict = needs_retraining(summary, threshold_share=0.25)
    assert verdict.retrain
    assert verdict.reason.startswith("1 features drifted, 25% against a threshold of 25%: amount (PSI ")
    assert not needs_retraining(summary, threshold_share=0.3).retrain


@pytest.mark.parametrize("empty", [np.nan, np.inf, None])
def test_a_column_that_lost_its_values_is_dead_and_counts_as_drifted(empty):
    summary, _ = report(rows(seed=2, ratio=empty))
    assert summary.dead == ("ratio", "never")
    assert summary.drifted == ("ratio",)
    assert "ratio (no values any more)" in needs_retraining(summary, threshold_share=0.2).reason


def test_few_rows_or_none_are_too_few_to_judge():
    few, _ = report(rows(size=5, seed=2, amount=1e9))
    verdict = needs_retraining(few, threshold_share=0.1)
    assert (verdict.retrain, verdict.reason) == (
        False,
        "too few rows to judge: 5 current and 1200 reference, 500 needed",
    )
    none, html = report(rows(size=0))
    assert (none.drifted, none.psi, none.drifted_share) == ((), {}, 0.0)
    assert b"nothing to compare" in html
    assert "0 current" in needs_retraining(none, threshold_share=0.1).reason


def test_large_tables_are_sampled_with_a_seed():
    reference, current = rows(4_000), rows(4_000, seed=2)
    first, _ = report(current, reference, max_rows=1_000)
    again, _ = report(current, reference, max_rows=1_000)
    whole, _ = report(current, reference)
    assert first == again
    assert first.psi != whole.psi
    assert (first.rows_reference, first.rows_current) == (4_000, 4_000)


@dataclass(frozen=True)
class Wrapped:
    """As Dagster hands metadata back."""

    value: object


def test_a_summary_survives_metadata():
    summary, _ = report(rows(seed=2, ratio=np.nan))
    plain = summary.to_metadata()
    assert DriftSummary.from_metadata(plain) == summary
    assert DriftSummary.from_metadata({name: Wrapped(value) for name, value in plain.items()}) == summary
    with pytest.raises(KeyError, match="psi"):
        DriftSummary.from_metadata({name: value for name, value in plain.items() if name != "psi"})
