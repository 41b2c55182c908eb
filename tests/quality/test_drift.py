import json

import numpy as np
import pandas as pd
import pytest

from quality.drift import Beside, category_psi, drift_report, has_moved, number_psi, told
from quality.verdict import of_features

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


def test_without_drift_nothing_is_found():
    summary, page = report(rows(seed=2))
    assert summary.drifted == ()
    assert summary.dead == ("never",)
    assert set(summary.psi) == {"amount", "count", "ratio", "constant"}
    assert summary.missing == {}
    assert b"<html" in page.html
    assert {metric["value"] for metric in page.numbers["metrics"]} == set(summary.psi.values())
    assert of_features(summary) == []


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
    pictured = [name for name in NAMES if f"Drift in column '{name}'".encode() in page.html]
    assert pictured == ["count", "ratio"]


def test_a_moved_column_is_named_and_some_of_them_are_a_finding():
    summary, _ = report(rows(seed=2).assign(amount=lambda f: f["amount"] * 4))
    assert summary.drifted == ("amount",)
    assert summary.drifted_share == 0.25
    (found,) = of_features(summary)
    assert found.name == "data:features"
    assert found.told.startswith("1 features drifted, 25% against a threshold of 25%: amount (PSI ")


def test_a_column_that_moves_all_the_time_has_not_drifted():
    """Such as the age of accounts in a young history: every part of the reference is unlike the one before."""
    growing = rows().assign(amount=np.arange(1_200.0))
    summary, _ = report(rows(seed=2).assign(amount=np.arange(1_200.0, 2_400.0)), growing)
    assert summary.psi["amount"] > 1
    assert summary.usual["amount"] > 1
    assert summary.drifted == ()
    assert has_moved(0.3, 0.1)
    assert not has_moved(0.3, 0.2)


def test_rows_that_stand_for_many_payments_count_as_many():
    """A training set keeps all frauds and a sample of the others."""
    reference = rows().assign(ratio=np.repeat([0.0, 1.0], 600))
    honest = rows(seed=2).assign(ratio=1.0)
    plain, _ = report(honest, reference)
    weighed, _ = report(honest, reference, weights=pd.Series(np.repeat([1.0, 1_000.0], 600)))
    assert plain.psi["ratio"] > 1
    assert weighed.psi["ratio"] < 0.1


def test_missing_values_are_told_apart_from_drift():
    some = rows(seed=2).assign(ratio=lambda f: f["ratio"].where(np.arange(len(f)) % 4 > 0))
    summary, _ = report(some)
    assert summary.missing == {"ratio": (0.0, 0.25)}
    assert summary.drifted == ()


def test_the_page_has_columns_with_other_rows_than_the_features():
    beside = [
        Beside("score", pd.Series([0.1, 0.2, 0.3] * 50), pd.Series([0.5] * 90)),
        Beside("kind", pd.Series(["SCAM"] * 30 + ["OTHER"] * 30), pd.Series(["SCAM"] * 5), is_number=False),
        Beside("nothing", pd.Series([], dtype=float), pd.Series([1.0])),
    ]
    _, page = report(rows(seed=2), beside=beside)
    for name, is_there in (("score", True), ("kind", True), ("nothing", False), ("amount", True)):
        assert (f"Drift in column '{name}'".encode() in page.html) == is_there


def test_numbers_and_words_have_an_index_of_their_own():
    rng = np.random.default_rng(3)
    then, now = (pd.Series(rng.normal(mean, 1, 2_000)) for mean in (0, 1))
    psi, usual = number_psi(then, now)
    assert psi > 0.5 > 0.1 > usual
    assert category_psi(pd.Series(["a", "b"] * 50), pd.Series(["a", "b"] * 20)) == 0
    assert category_psi(pd.Series(["a", "b"] * 50), pd.Series(["a"] * 40)) > 1


@pytest.mark.parametrize("empty", [np.nan, np.inf, None])
def test_a_column_that_lost_its_values_is_dead_and_counts_as_drifted(empty):
    summary, _ = report(rows(seed=2, ratio=empty))
    assert summary.dead == ("ratio", "never")
    assert summary.drifted == ("ratio",)
    assert summary.missing == {"ratio": (0.0, 1.0)}
    assert "ratio (no values any more)" in told(summary)


def test_few_rows_or_none_are_too_few_to_judge():
    few, _ = report(rows(size=5, seed=2, amount=1e9))
    assert "amount" in few.drifted
    assert of_features(few) == []
    assert told(few) == "too few rows to judge: 5 current and 1200 reference, 500 needed"
    none, page = report(rows(size=0))
    assert (none.drifted, none.psi, none.drifted_share) == ((), {}, 0.0)
    assert b"nothing to compare" in page.html
    assert of_features(none) == []


def test_large_tables_are_sampled_with_a_seed():
    reference, current = rows(4_000), rows(4_000, seed=2)
    first, _ = report(current, reference, max_rows=1_000)
    again, _ = report(current, reference, max_rows=1_000)
    whole, _ = report(current, reference)
    assert first == again
    assert first.psi != whole.psi
    assert (first.rows_reference, first.rows_current) == (4_000, 4_000)


def test_a_summary_is_plain_as_metadata_and_json():
    summary, _ = report(rows(seed=2, ratio=np.nan))
    plain = summary.to_metadata()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["missing"] == {"ratio": [0.0, 1.0]}
