"""Folds over a past in files: what they learn from, what they may not see, and what they leave."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from learning import backtest
from learning.errors import TrainingDataTooSmall
from learning.folds import rolling
from learning.past import Past
from learning.ranking import roc_auc
from learning.recipe import TrainingConfig
from pix.features import FEATURE_NAMES

DAY_MS = 86_400_000
CONFIG = TrainingConfig(iterations=20, depth=4, learning_rate=0.2, threads=2, honest_rows=1_500)
TELLING = FEATURE_NAMES.index("typing_interval_ms")
FOLD, LATER = rolling(start_ms=0, train_ms=20 * DAY_MS, delay_ms=5 * DAY_MS, test_ms=5 * DAY_MS, count=2)


def facts(seed: int = 3, rows: int = 4_000) -> pd.DataFrame:
    """Forty days of payments; one in twenty is a fraud that is known four days later."""
    draw = np.random.default_rng(seed)
    at_ms = np.sort(draw.integers(0, 40 * DAY_MS, rows))
    fraud = draw.random(rows) < 0.05
    is_fraud = pd.Series(fraud, dtype=object)
    is_fraud[draw.random(rows) < 0.02] = None
    return pd.DataFrame(
        {
            "end_to_end_id": [f"E{number:031d}" for number in draw.permutation(rows)],
            "event_time_ms": at_ms,
            "row_number": np.arange(rows),
            "is_fraud": is_fraud,
            "fraud_known_at_ms": np.where(fraud, at_ms + 4 * DAY_MS, np.nan),
            "cleared_at_ms": np.nan,
            "fraud_type": None,
            "payer_account": [f"p{number}" for number in draw.integers(0, 300, rows)],
            "payee_account": [f"a{number}" for number in draw.integers(0, 300, rows)],
            "raw_amount_cents": draw.integers(100, 500_000, rows),
            "raw_initiation": draw.choice(["MANU", "DICT"], rows),
        }
    )


def past_of(told: pd.DataFrame, folder, seed: int = 4) -> Past:
    """The facts with vectors of which one number tells a fraud nearly."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(len(told), len(FEATURE_NAMES)))
    vectors[:, TELLING] += np.where(told["fraud_known_at_ms"].notna(), 3.0, 0.0)
    folder.mkdir(parents=True)
    table = pa.table(
        {
            "end_to_end_id": told["end_to_end_id"],
            "event_time_ms": told["event_time_ms"],
            "features": pa.array([row.tobytes() for row in vectors], pa.binary()),
        }
    )
    # Files come in no order.
    shuffled = table.take(draw.permutation(len(told)))
    for number, part in enumerate((shuffled.slice(0, 1_000), shuffled.slice(1_000))):
        pq.write_table(part, folder / f"{number}.parquet")
    return Past.of(told, folder)


def scored(past: Past, fold=FOLD, config: TrainingConfig = CONFIG) -> backtest.Scored:
    return backtest.score(past, fold, FEATURE_NAMES, config, lambda rows: (rows["raw_amount_cents"] > 400_000) * 1.0)


@pytest.fixture(scope="module")
def told() -> pd.DataFrame:
    return facts()


@pytest.fixture(scope="module")
def first(told, tmp_path_factory) -> tuple[Past, backtest.Scored]:
    past = past_of(told, tmp_path_factory.mktemp("past") / "vectors")
    return past, scored(past)


def test_every_payment_of_the_test_is_scored_also_what_nobody_knows(first):
    past, found = first
    tested = past.facts.iloc[found.places]
    expected = past.facts["event_time_ms"].between(25 * DAY_MS, 30 * DAY_MS - 1)
    assert tested["end_to_end_id"].tolist() == past.facts[expected]["end_to_end_id"].tolist()
    assert tested["is_fraud"].isna().any()
    assert found.scores.keys() == {"ensemble", "raw fields", "rules only", "catboost", "scorecard", "histogram"}
    assert all(np.isfinite(each).all() for each in found.scores.values())
    assert (found.scores["rules only"] == (tested["raw_amount_cents"] > 400_000)).all()


def test_features_that_tell_are_found_and_raw_fields_that_do_not_are_not(first):
    past, found = first
    outcomes, judged = backtest.judged(past.facts.iloc[found.places], found.scores, backtest.Costs())
    assert roc_auc(outcomes.is_fraud, judged["ensemble"].scores) > 0.9
    assert 0.3 < roc_auc(outcomes.is_fraud, judged["raw fields"].scores) < 0.7
    alone = backtest.members_alone(past.facts.iloc[found.places], found.scores)
    assert alone.keys() == {"catboost", "scorecard", "histogram"}
    assert alone["catboost"] > outcomes.is_fraud.mean() * 5


def test_the_same_seed_gives_the_same_scores_however_rows_lie_in_files(told, first):
    mixed = told.sample(frac=1, random_state=1)
    vectors = first[0].folder
    again = scored(Past.of(mixed, vectors))
    for name, values in first[1].scores.items():
        np.testing.assert_array_equal(again.scores[name], values)


def test_what_became_known_after_the_test_began_changes_nothing(told, first):
    _, before = first
    late = told["fraud_known_at_ms"] > FOLD.test_from_ms
    assert late.sum() > 20
    changed = told.assign(fraud_known_at_ms=told["fraud_known_at_ms"].where(~late, 99 * DAY_MS))
    after = scored(Past.of(changed, first[0].folder))
    for name, values in before.scores.items():
        np.testing.assert_array_equal(after.scores[name], values)


def test_labels_of_the_gap_are_not_learnt_from(told, first):
    gap = told["event_time_ms"].between(FOLD.train_until_ms, FOLD.test_from_ms - 1)
    turned = np.where(told["fraud_known_at_ms"].notna(), np.nan, told["event_time_ms"])
    changed = told.assign(fraud_known_at_ms=np.where(gap, turned, told["fraud_known_at_ms"]))
    after = scored(Past.of(changed, first[0].folder))
    for name, values in first[1].scores.items():
        np.testing.assert_array_equal(after.scores[name], values)


def test_shuffled_labels_give_chance(told, first):
    draw = np.random.default_rng(11)
    known = told["fraud_known_at_ms"].notna().to_numpy()[draw.permutation(len(told))]
    shuffled = told.assign(fraud_known_at_ms=np.where(known, told["event_time_ms"] + DAY_MS, np.nan))
    past = Past.of(shuffled, first[0].folder)
    aucs = [
        roc_auc(outcomes.is_fraud, judged["ensemble"].scores)
        for found in (scored(past), scored(past, LATER))
        for outcomes, judged in [backtest.judged(past.facts.iloc[found.places], found.scores, backtest.Costs())]
    ]
    assert 0.35 < np.mean(aucs) < 0.65


def test_a_fold_that_knows_too_few_frauds_or_tests_nothing_says_so(told, first):
    past, _ = first
    early = told.assign(fraud_known_at_ms=told["fraud_known_at_ms"] + 60 * DAY_MS)
    with pytest.raises(TrainingDataTooSmall, match="of which 0 were known to be fraud"):
        scored(Past.of(early, past.folder))
    nothing = replace(FOLD, number=9, test_from_ms=50 * DAY_MS, test_until_ms=60 * DAY_MS)
    with pytest.raises(TrainingDataTooSmall, match="fold 9 has no payment to test"):
        scored(past, nothing)


def test_facts_without_a_vector_are_no_zero(told, first):
    stranger = told.assign(end_to_end_id=told["end_to_end_id"].where(told.index != 10, "E" + "9" * 31))
    with pytest.raises(ValueError, match="have facts and"):
        scored(Past.of(stranger, first[0].folder))


def test_an_account_scores_like_its_worst_payment_and_is_guilty_only_where_it_was_paid():
    told = pd.DataFrame(
        {
            "payer_account": ["a", "b", "a"],
            "payee_account": ["b", "c", None],
            "is_fraud": pd.Series([True, None, False], dtype=object),
        }
    )
    found = backtest.account_scores(told, np.array([0.2, 0.9, 0.4])).set_index("account")
    assert found["score"].to_dict() == {"a": 0.4, "b": 0.9, "c": 0.9}
    assert found["payments"].to_dict() == {"a": 2, "b": 2, "c": 1}
    assert found["is_fraud"].to_dict() == {"a": False, "b": True, "c": False}
