"""A day's payments scored by a version: each once, with a decision's bits, beside what was decided; without Spark."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from fraud_assets.batch_rows import OtherVectors, Scorer, Told, score_day
from fraud_assets.lake import LakeResource, MissingTable
from learning.registry import ChampionRef
from pix.contracts import DAY_MS
from pix.features import FINGERPRINT
from pix.offline.days import begin_ms
from pix.offline.declaration import ARROW_TYPES
from pix.offline.tables import BATCH_SCORES, DECISIONS_GOLD, PAYMENT_FEATURES, PAYMENTS_SILVER
from pix.settings import Settings
from serving.policy import Case, load_policy
from tests.learning.by_hand import ensemble_by_hand, rows

POLICY = load_policy(Path(__file__).resolve().parents[2] / "config" / "policy.yaml")
DAY = date(2026, 6, 1)
BANK = "t@bank"
OLD = "0" * 16
VECTORS = rows(400, 5)


@pytest.fixture
def lake(tmp_path):
    return LakeResource.of(Settings(home=tmp_path))


@pytest.fixture(scope="module")
def ensemble():
    return ensemble_by_hand()


def scorer(ensemble, version="3", history="live"):
    ref = ChampionRef(name="m", version=version, sha256=version * 64, fingerprint=FINGERPRINT, run_id="r")
    return Scorer(ref, ensemble, POLICY, history)


def write(lake, table, found):
    types = {column.name: ARROW_TYPES.get(column.type, pa.string()) for column in table.columns}
    schema = pa.schema([(name, types[name]) for name in found[0]])
    apart = list(table.partitions)
    write_deltalake(lake.path(table.name), pa.Table.from_pylist(found, schema), mode="append", partition_by=apart)


def vector(number, *, source="live", history=None, tenant="t", at_ms=0, fingerprint=FINGERPRINT, fold_days=0):
    return {
        "end_to_end_id": f"E{number:031d}",
        "tenant": tenant,
        "source": source,
        "history": history,
        "event_time_ms": begin_ms(DAY) + at_ms,
        "features": VECTORS[number].tobytes() if fingerprint == FINGERPRINT else b"short",
        "fingerprint": fingerprint,
        "fold_day": DAY + timedelta(days=fold_days),
    }


def decided(number, action, version="1", probability=0.25, mode="normal", day=DAY):
    return {
        "end_to_end_id": f"E{number:031d}",
        "tenant": "t",
        "action": action,
        "fraud_probability": probability,
        "model_version": version,
        "mode": mode,
        "event_day": day,
    }


def payment(number, cents=5_000_000, person="PF"):
    names = ("end_to_end_id", "tenant", "amount_cents", "payee_person_type", "event_day")
    return dict(zip(names, (f"E{number:031d}", "t", cents, person, DAY), strict=True))


@pytest.fixture
def filled(lake):
    """Payments 0 and 1 were decided, 2 without a model; 3 was imported, 4 imported and then decided; others are not
    the day's, or not of this history."""
    past = {"source": "history", "history": "live"}
    write(
        lake,
        PAYMENT_FEATURES,
        [
            *(vector(number) for number in (0, 1, 2)),
            vector(3, at_ms=DAY_MS - 1, fold_days=1, **past),
            vector(4, **past),
            vector(4, fold_days=3),
            vector(5, at_ms=DAY_MS, fold_days=1),
            vector(6, at_ms=-1),
            vector(7, tenant=BANK, source="history", history="bank"),
            vector(8, fingerprint=OLD),
        ],
    )
    write(
        lake,
        DECISIONS_GOLD,
        [
            decided(0, "ALLOW"),
            decided(1, "BLOCK", "2", 0.9),
            decided(2, "REVIEW", None, None, "degraded:model"),
            decided(4, "ALLOW", day=DAY + timedelta(days=1)),
        ],
    )
    write(lake, PAYMENTS_SILVER, [payment(number) for number in range(5)])
    return lake


def there(lake):
    found = lake.ask(BATCH_SCORES.name, "select * from asked")
    return {(row["model_version"], row["tenant"], int(row["end_to_end_id"][1:]), row["source"]): row for row in found}


def test_each_payment_of_the_day_is_scored_once_with_a_decision_s_bits(filled, ensemble):
    told = Told()
    score_day(filled, DAY, scorer(ensemble), told)
    found = there(filled)
    live = [("3", "t", number, "live") for number in (0, 1, 2, 4)]
    assert set(found) == {*live, ("3", "t", 3, "history")}
    for (*_, number, _), row in found.items():
        raw = ensemble.raw_score(VECTORS[number].copy())
        assert row["raw_score"].hex() == raw.hex()
        assert row["fraud_probability"].hex() == ensemble.probability(raw).hex()
        assert (row["event_day"], row["model_sha256"], row["history"]) == (DAY, "3" * 64, "live")
    assert told.rows == 5
    assert dict(told.aside) == {OLD: 1}


def test_what_was_decided_stands_beside(filled, ensemble):
    told = Told()
    score_day(filled, DAY, scorer(ensemble), told)
    names = ("decided_action", "decided_probability", "decided_model_version", "decided_mode")
    beside = {number: tuple(row[name] for name in names) for (*_, number, _), row in there(filled).items()}
    assert beside == {
        0: ("ALLOW", 0.25, "1", "normal"),
        1: ("BLOCK", 0.9, "2", "normal"),
        2: ("REVIEW", None, None, "degraded:model"),
        3: (None, None, None, None),
        4: ("ALLOW", 0.25, "1", "normal"),
    }
    counted = {then: sum(n for (one, _), n in told.actions.items() if one == then) for then, _ in told.actions}
    assert counted == {"ALLOW": 2, "BLOCK": 1, "REVIEW": 1, None: 1}


def test_thresholds_are_those_of_each_payment_s_segment(lake, ensemble):
    numbers = range(400)
    write(lake, PAYMENT_FEATURES, [vector(number) for number in numbers])
    facts = {number: (1_000_000 if number % 2 else 999_999, "PF" if number % 3 else None) for number in numbers}
    write(lake, PAYMENTS_SILVER, [payment(number, *facts[number]) for number in numbers if number != 7])
    score_day(lake, DAY, scorer(ensemble), Told())
    found = {number: row for (*_, number, _), row in there(lake).items()}
    # Of payment 7 nothing is known.
    said = {n: asked(row, *(facts[n] if n != 7 else (None, None))) for n, row in found.items()}
    assert {number: row["threshold_action"] for number, row in found.items()} == said
    assert len(set(said.values())) == 4
    assert said != {number: asked(row, None, None) for number, row in found.items()}


def asked(row, cents, person):
    case = Case(row["fraud_probability"], [], SimpleNamespace(amount_cents=cents, payee_person_type=person), 0)
    return replace(POLICY, rules=(), control=None).judge(case).action


def test_the_same_version_again_gives_the_same_rows_and_another_stands_beside(filled, ensemble):
    first, second = scorer(ensemble), scorer(ensemble, "12")
    next_day = DAY + timedelta(days=1)
    for day, by in ((DAY, first), (next_day, first), (DAY, second)):
        score_day(filled, day, by, Told())
    score_day(filled, DAY, scorer(ensemble, history="bank"), Told())
    before = there(filled)
    assert len(before) == 5 + 1 + 5 + 1
    score_day(filled, DAY, first, Told())
    assert there(filled) == before
    assert filled.rows(BATCH_SCORES.name) == len(before)


def test_another_history_s_payments_have_no_decisions(filled, ensemble):
    told = Told()
    score_day(filled, DAY, scorer(ensemble, history="bank"), told)
    (row,) = there(filled).values()
    assert (row["tenant"], row["history"], row["decided_action"]) == (BANK, "bank", None)
    assert told.aside.total() == 0


def test_a_day_without_payments_is_told_and_leaves_no_rows(filled, ensemble):
    told, empty = Told(), DAY + timedelta(days=40)
    score_day(filled, empty, scorer(ensemble), told)
    assert (told.rows, told.empty) == (0, [empty])
    assert filled.rows(BATCH_SCORES.name) == 0


def test_vectors_of_other_declarations_alone_are_refused_by_both_names(lake, ensemble):
    write(lake, PAYMENT_FEATURES, [vector(8, fingerprint=OLD)])
    says = f"follow the features {OLD}, this build scores {FINGERPRINT}: run features_job"
    with pytest.raises(OtherVectors, match=says):
        score_day(lake, DAY, scorer(ensemble), Told())
    assert not lake.exists(BATCH_SCORES.name)


def test_before_anything_was_folded_it_says_what_to_do(lake, ensemble):
    with pytest.raises(MissingTable, match="materialise features/payment_features first"):
        score_day(lake, DAY, scorer(ensemble), Told())
