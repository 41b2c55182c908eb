"""Skews planted into the offline engine, each seen by the parity report; and SQL as a second referee."""

import duckdb
import numpy as np
import pytest
from offline_passes import of_history, of_log, parity
from test_parity import decide_live

from benchmarks import window_payments, window_sql
from pix.contracts import DAY_MS, HOUR_MS
from pix.engines.layout import BANK_FIELDS, BANK_TILES, BANKS_AT, LAYOUTS, PLANS
from pix.features import FEATURE_NAMES, FEATURES, ROLES, WindowFeature
from pix.labels import LabelChange
from pix.offline import eventing, replaying
from pix.store.memory import MemoryStore

OF_LABELS = {f.name for f in FEATURES if isinstance(f, WindowFeature) and f.measure in ("frauds", "contests")}


@pytest.fixture(scope="module")
def logged() -> tuple[list[bytes], list[bytes]]:
    """Decisions and label folds of a store without a base."""
    records: list[bytes] = []
    folds: list[bytes] = []
    decide_live(MemoryStore(), 11, 0, 150, records, folds)
    return records, folds


def test_without_a_skew_nothing_differs(logged: tuple[list[bytes], list[bytes]]) -> None:
    report = parity(of_log(*logged))
    assert (report.compared, report.mismatches) == (150, 0)


@pytest.mark.parametrize("window_ms", [HOUR_MS, DAY_MS])
def test_a_hop_that_is_off_by_one_tile_is_seen(
    logged: tuple[list[bytes], list[bytes]], monkeypatch: pytest.MonkeyPatch, window_ms: int
) -> None:
    """The planted fault: one bank of the offline engine reaches back one tile less than the service's."""
    plan = PLANS["account"].copy()
    banks = list(LAYOUTS["account"].banks)
    place = next(n for n, bank in enumerate(banks) if (bank.flow, bank.minus_window_ms) == ("out", -window_ms))
    plan[plan[BANKS_AT] + place * BANK_FIELDS + BANK_TILES] -= 1
    monkeypatch.setattr(replaying, "PLANS", PLANS | {"account": plan})
    report = parity(of_log(*logged))
    of_window = {f.name for f in FEATURES if f.window_ms == window_ms and ROLES.get(f.entity) == "account"}
    assert report.mismatches
    assert set(report.by_feature) & of_window


def test_a_fold_applied_twice_is_seen(logged: tuple[list[bytes], list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: what a redelivery brings again is folded again. Redelivered records alone change nothing."""
    records, folds = logged
    again = [record for record in records[::7] for _ in range(2)]
    assert parity(of_log(sorted([*records, *again], key=records.index), folds + folds)).ok
    accepted = replaying._accepted

    def twice(events: replaying.Events, rows: np.ndarray, begin: np.ndarray) -> replaying.Folds:
        found = accepted(events, rows, begin)
        return replaying.Folds(np.repeat(found.row, 2), found.waiting)

    monkeypatch.setattr(replaying, "_accepted", twice)
    report = parity(of_log(*logged))
    assert report.mismatches
    assert {"payer_payments_known", "payer_amount_sum_90d"} <= set(report.by_feature)


def test_a_label_that_counts_from_its_effect_is_seen(
    logged: tuple[list[bytes], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: a label's change counts from when the fraud happened, not from when it became known."""

    def from_effect(time_ms: int, measure: str, change: int, counted_at_ms: int) -> LabelChange:
        return LabelChange(time_ms, measure, change, counted_at_ms - 25 * DAY_MS)

    monkeypatch.setattr(eventing, "LabelChange", from_effect)
    report = parity(of_log(*logged))
    assert report.mismatches
    assert set(report.by_feature) & OF_LABELS
    assert {f.measure for f in FEATURES if f.name in report.by_feature} <= {"frauds", "contests"}


def test_a_join_in_sql_says_what_the_engine_says() -> None:
    """Every window, moment and lifetime count of every role, from all pairs of payments of a key, in DuckDB."""
    made = window_payments.payments(700, accounts=24, seed=3)
    ours = of_history(made.history.append_column("labels", [[None] * 700]))
    matrix = np.array([ours[identity] for identity in made.plain["id"].to_pylist()], np.float64)
    database = duckdb.connect()
    database.register("payments", made.plain)
    database.register("events", made.events)
    compared, telling = [], 0
    for role in ROLES:
        names, query = window_sql.hop_query(role, "payments", "events")
        theirs = database.sql(query).fetchnumpy()
        for name in names:
            expected = np.ma.filled(theirs[name].astype(np.float64), np.nan)
            found = matrix[:, FEATURE_NAMES.index(name)]
            assert np.array_equal(found, expected, equal_nan=True), name
            compared.append(name)
            telling += np.unique(found[~np.isnan(found)]).size > 1
    assert len(set(compared)) >= 140
    assert telling > 0.95 * len(compared)
