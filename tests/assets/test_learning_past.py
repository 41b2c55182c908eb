"""`sentinela backtest` over a simulated past in the lake, and what it refuses."""

from dataclasses import replace

import pandas as pd
import pytest

from pix.contracts import DAY_MS
from pix.offline.days import day_at
from sentinela.backtest_report import table
from sentinela.backtesting import Asked, run, start_of
from sentinela.errors import BadUse
from tests.assets.conftest import START_MS


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return Asked(
        history="live",
        start_ms=START_MS,
        train_days=18,
        delay_days=5,
        test_days=6,
        folds=2,
        seed=5,
        by_account=True,
        out=tmp_path_factory.mktemp("backtest") / "scores.parquet",
        honest_rows=1_000,
        iterations=40,
    )


@pytest.fixture(scope="module")
def done(trained, asked):
    said: list[str] = []
    return run(asked, trained.settings, said.append), said


def test_every_payment_of_the_tests_is_in_the_file_once(trained, done):
    found = pd.read_parquet(done[0]["out"])
    history = trained.lake.pandas("silver/history_payments").set_index("end_to_end_id")
    first = START_MS + 23 * DAY_MS
    expected = history[history["event_time_ms"].between(first, first + 12 * DAY_MS - 1)]
    assert found["end_to_end_id"].is_unique
    assert set(found["end_to_end_id"]) == set(expected.index)
    own = found.set_index("end_to_end_id")
    assert (own["row_number"] == expected["row_number"].reindex(own.index)).all()
    at_ms = own["initiated_at"].astype("int64") // 1_000_000
    assert (at_ms == expected["event_time_ms"].reindex(own.index)).all()
    assert (own["fold"] == 1 + (at_ms - first) // (6 * DAY_MS)).all()
    assert found["score"].between(0, 1).all()
    assert (found["payee_account_score"] >= found["score"]).all()


def test_the_table_has_each_fold_and_all_together_beside_raw_fields_and_rules(done):
    document, said = done
    assert [(row["fold"], row["judged"]) for row in document["metrics"]] == [
        (fold, judged) for fold in (1, 2, 0) for judged in ("ensemble", "raw fields", "rules only")
    ]
    overall = {row["judged"]: row for row in document["metrics"] if row["fold"] == 0}
    assert overall["ensemble"]["average_precision"] > 2 * overall["ensemble"]["base_rate"]
    lines = table(document)
    assert len(lines) == 1 + 9 + 1 + 2 * 3
    assert any(line.split()[:2] == ["all", "ensemble"] for line in lines)
    assert any(line.startswith("fold 2 of 2: learns from") for line in said)


def test_accounts_are_scored_by_fold(done):
    document, _ = done
    accounts = pd.read_parquet(document["accounts"])
    found = pd.read_parquet(document["out"])
    for fold, own in accounts.groupby("fold"):
        sides = found[found["fold"] == fold]
        assert own["account"].is_unique
        assert set(own["account"]) == set(sides["payer_account"]) | set(sides["payee_account"])
        paid = sides[sides["is_fraud"].fillna(False)]["payee_account"]
        assert set(own[own["is_fraud"]]["account"]) == set(paid)


@pytest.mark.usefixtures("done")
def test_nothing_is_left_behind(trained):
    assert not list((trained.settings.root / "tmp").glob("backtest-*"))


def test_what_cannot_be_backtested_is_told(trained, asked):
    with pytest.raises(BadUse, match="--history nobody was not imported; there are .*live"):
        run(replace(asked, history="nobody"), trained.settings, print)
    with pytest.raises(BadUse, match="the last test begins on .* and live ends on .*; ask for fewer folds"):
        run(replace(asked, folds=9), trained.settings, print)
    with pytest.raises(BadUse, match="--delay-days must be at least 0, got -1"):
        replace(asked, delay_days=-1)
    with pytest.raises(BadUse, match="--out .*: there is no folder"):
        replace(asked, out=asked.out.parent / "nowhere" / "scores.parquet")


def test_a_day_begins_at_midnight_in_brasilia():
    at_ms = start_of("2026-03-01")
    assert str(day_at(at_ms)) == "2026-03-01" != str(day_at(at_ms - 1))
    assert start_of("2026-03-01T00:00:00-03:00") == at_ms
    with pytest.raises(BadUse, match="--start yesterday: .*write a day such as"):
        start_of("yesterday")
