"""The simulator's laws: the same plan, the same bytes; facts from the past; rules that bind everybody."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pix.contracts import canonical_json, parse_label, parse_payment
from pix.identifiers import end_to_end_minute_ms
from pix.simulator.flow import HONEST_CAMPAIGN, NEVER, OWN, UNREGISTERED, Flow, Typology, night_rule
from pix.simulator.plan import Drift
from pix.simulator.rhythm import is_night
from pix.simulator.settling import balances, is_preregistered
from pix.simulator.simulation import Simulation, SimulationPlan, World, simulate, world, write

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = 1_790_000_000_000
HISTORY = SimulationPlan(seed=11, start_ms=START_MS, days=30, accounts=1_500, payments=20_000, fraud_per_100k=900)
END_MS = HISTORY.window[1]
LIVE = replace(HISTORY, start_ms=END_MS, days=60 / 86_400, payments=1_000, fraud_per_100k=2_000, run="live-1")
FILES = ("payments.jsonl", "labels.jsonl", "truth.jsonl")
PAST_FACTS = (
    "key_created_at", "key_owned_since", "payee_account_opened_at", "payer_account_opened_at", "device_registered_at",
    "fraud_markers_watermark", "credentials_changed_at", "limit_raised_at", "funds_raised_at",
)  # fmt: skip


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture(scope="module")
def history() -> Simulation:
    return simulate(HISTORY)


@pytest.fixture(scope="module")
def live() -> Simulation:
    return simulate(LIVE)


def digest(plan: SimulationPlan, folder: Path, processes: int = 1) -> list[str]:
    write(plan, folder, processes)
    return [sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


def accounts_of(simulation: Simulation) -> set[str]:
    return {payment[side] for payment in simulation.payments for side in ("payer_account", "payee_account")}


def frauds_of(simulation: Simulation) -> set[str]:
    return {truth["end_to_end_id"] for truth in simulation.truth if truth["is_fraud"]}


def test_the_plan_decides_every_byte(tmp_path: Path) -> None:
    plan = replace(HISTORY, payments=2_000, days=5)
    first = digest(plan, tmp_path / "a")
    assert digest(plan, tmp_path / "b") == first
    for other in (replace(plan, seed=12), replace(plan, run="2")):
        assert all(new != old for new, old in zip(digest(other, tmp_path / "c"), first, strict=True))


def test_processes_change_no_byte(tmp_path: Path) -> None:
    plan = replace(HISTORY, payments=2_000, days=5)
    assert digest(plan, tmp_path / "two", processes=2) == digest(plan, tmp_path / "one")


def test_another_interpreter_gives_the_same_bytes(tmp_path: Path) -> None:
    """Hash seeds differ between processes; nothing may depend on them."""
    plan = replace(HISTORY, payments=500, days=2, fraud_per_100k=4_000)
    program = (
        "from pathlib import Path; from pix.simulator.simulation import *; "
        f"write({plan!r}, Path({str(tmp_path / 'other')!r}))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONHASHSEED": "77"})
    write(plan, tmp_path / "own")
    for name in FILES:
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()


def test_files_are_canonical_lines_that_the_doors_accept(tmp_path: Path) -> None:
    counts = write(HISTORY, tmp_path)
    assert counts["payments.jsonl"] == counts["truth.jsonl"] == HISTORY.payments
    for line in (tmp_path / "payments.jsonl").read_bytes().splitlines():
        assert line == canonical_json(json.loads(line))
        parse_payment(line)
    labels = (tmp_path / "labels.jsonl").read_bytes().splitlines()
    assert len([parse_label(line) for line in labels]) == counts["labels.jsonl"] > 0


def test_every_fact_of_the_contract_appears(history: Simulation) -> None:
    from pix.contracts import PaymentMessage

    seen = set().union(*(payment.keys() for payment in history.payments))
    assert seen == set(PaymentMessage.model_fields) - {"tenant"}


def test_ids_are_unique_and_hold_the_minute_of_their_payment(history: Simulation) -> None:
    assert len({payment["end_to_end_id"] for payment in history.payments}) == HISTORY.payments
    for payment in history.payments:
        distance = ms(payment["initiated_at"]) - end_to_end_minute_ms(payment["end_to_end_id"])
        assert 0 <= distance < 60_000
        assert payment["end_to_end_id"][1:9] == payment["payer_account"][:8]


def test_payments_lie_in_the_window_in_order_of_time(history: Simulation) -> None:
    times = [ms(payment["initiated_at"]) for payment in history.payments]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert times[-1] < END_MS


@pytest.mark.parametrize("rate", [0, 100, 600, 5_000])
def test_as_many_frauds_are_accepted_as_were_asked_for(rate: int) -> None:
    plan = replace(HISTORY, payments=10_000, fraud_per_100k=rate)
    simulation = simulate(plan)
    accepted = [truth for truth in simulation.truth if truth["verdict"] == "accepted"]
    assert len(simulation.payments) == plan.payments
    assert sum(truth["is_fraud"] for truth in accepted) == round(rate / 10 * 0.97)
    assert len(accepted) == pytest.approx(rate / 10, abs=3 + rate / 200)


def test_all_twelve_typologies() -> None:
    truth = simulate(replace(HISTORY, payments=30_000, fraud_per_100k=5_000)).truth
    counts = Counter(row["typology"] for row in truth if row["is_fraud"])
    assert len(counts) == 12
    assert all(row["typology"] is None for row in truth if not row["is_fraud"])


def test_no_key_where_none_is_used(history: Simulation) -> None:
    for payment in history.payments:
        form = payment.get("initiation")
        if form in ("MANU", "AUTO"):
            assert "pix_key" not in payment
        elif form:
            assert "pix_key" in payment
        assert ("pix_key" in payment) == ("pix_key_type" in payment)
        assert form is None or ("txid" in payment) == (form == "QRDN")


def test_facts_are_not_from_the_future(history: Simulation) -> None:
    for payment in history.payments:
        now = ms(payment["initiated_at"])
        assert all(ms(payment[name]) <= now for name in PAST_FACTS if name in payment)


def test_the_directory_lags_by_twelve_hours_at_most(history: Simulation) -> None:
    lags = [
        ms(payment["initiated_at"]) - ms(payment["fraud_markers_watermark"])
        for payment in history.payments
        if "fraud_markers_watermark" in payment
    ]
    assert 0 <= min(lags) <= max(lags) <= 12 * HOUR_MS


def test_the_directory_counts_no_dispute_that_was_not_decided_by_its_watermark(history: Simulation) -> None:
    """Markers without a simulated cause come from other banks; those with one must wait for it."""
    rows = zip(history.payments, history.truth, strict=True)
    accepted_at = {
        label["end_to_end_id"]: ms(label["effective_at"]) for label in history.labels if label["kind"] == "accepted"
    }
    noted: dict[str, list[int]] = defaultdict(list)
    for payment, truth in rows:
        if truth["is_fraud"] and payment["end_to_end_id"] in accepted_at:
            noted[payment["payee_account"]].append(accepted_at[payment["end_to_end_id"]])
    checked = 0
    for payment in history.payments:
        if "payee_fraud_markers_d90" not in payment or payment["payee_account"] not in noted:
            continue
        watermark = ms(payment["fraud_markers_watermark"])
        known = sum(at <= watermark for at in noted[payment["payee_account"]])
        assert payment["payee_fraud_markers_d90"] >= known
        assert payment["payee_fraud_markers_d90"] - known <= 4
        checked += known > 0
    assert checked > 20


def lived(plan: SimulationPlan) -> tuple[World, list[Flow]]:
    """What happened on each day, before it is written down with gaps."""
    everything = world(plan)
    return everything, [everything.flow(n, np.random.default_rng(n)) for n in range(len(everything.windows))]


def test_nobody_pays_persons_more_in_a_night_than_the_limit() -> None:
    everything, days = lived(HISTORY)
    population, nights = everything.population, 0
    for flow in days:
        ruled = is_night(flow.at_ms) & night_rule(population, flow.payer, flow.payee)
        ruled &= ~is_preregistered(population, flow.payer, flow.payee)
        # Whoever had the limit raised for the crime pays up to four times as much.
        raised = np.isin(flow.payer, flow.payer[flow.limit_age_ms != NEVER])
        for payer in np.unique(flow.payer[ruled & ~raised]):
            paid = flow.amount_cents[ruled & (flow.payer == payer)]
            in_crimes = flow.campaign[ruled & (flow.payer == payer)] != HONEST_CAMPAIGN
            limit = population.night_limit_cents[payer]
            # Two campaigns that meet the same payer in one night do not know of each other.
            assert paid[~in_crimes].sum() <= max(limit - paid[in_crimes].sum(), 0) + len(paid)
            nights += 1
    assert nights > 1_000


def test_unregistered_devices_meet_both_cliffs() -> None:
    _, days = lived(replace(HISTORY, fraud_per_100k=4_000))
    found = 0
    for flow in days:
        rows = (flow.device != OWN) & (flow.device_age_ms == UNREGISTERED)
        assert (flow.amount_cents[rows] <= 20_000).all()
        for payer in np.unique(flow.payer[rows]):
            assert flow.amount_cents[rows & (flow.payer == payer)].sum() <= 100_000
        found += int((rows & (flow.typology == Typology.ACCOUNT_TAKEOVER)).sum())
    assert found > 8


def test_balances_follow_the_money_and_never_fall_below_zero() -> None:
    everything, days = lived(HISTORY)
    for flow in days:
        before = balances(everything.population, flow)
        assert (before >= flow.amount_cents).all()
    flow = days[1]
    before = balances(everything.population, flow)
    busiest = np.bincount(flow.payer).argmax()
    rows = np.flatnonzero((flow.payer == busiest) | (flow.payee == busiest))
    expected = None
    for row in rows:
        if flow.payer[row] == busiest:
            assert expected is None or before[row] == expected
            expected = before[row] - flow.amount_cents[row]
        elif expected is not None:
            expected += flow.amount_cents[row]
    assert len(rows) > 3


def test_mules_pass_on_nearly_all_they_got_within_minutes() -> None:
    crimes = world(replace(HISTORY, fraud_per_100k=3_000)).crimes.flow
    passed, waited = [], []
    for campaign in np.unique(crimes.campaign):
        rows = crimes.take(crimes.campaign == campaign)
        for mule in np.unique(rows.payer[rows.hop == 1]):
            out = (rows.hop == 1) & (rows.payer == mule)
            came = (rows.hop == 0) & (rows.payee == mule)
            assert rows.amount_cents[out].sum() <= rows.amount_cents[came].sum()
            passed.append(rows.amount_cents[out].sum() / rows.amount_cents[came].sum())
            waited.append(rows.at_ms[out][0] - rows.at_ms[came][0])
    assert len(passed) > 50
    # Some meet a limit, some are cut off by the end of the plan.
    assert np.mean(np.array(passed) >= 0.9) > 0.6
    assert np.median(waited) < 2 * HOUR_MS


def test_mules_meet_several_victims_on_several_days(history: Simulation) -> None:
    fraud = frauds_of(history)
    days, victims = defaultdict(set), defaultdict(set)
    for payment in history.payments:
        if payment["end_to_end_id"] in fraud:
            days[payment["payee_account"]].add(payment["initiated_at"][:10])
            victims[payment["payee_account"]].add(payment["payer_account"])
    assert sum(len(seen) >= 3 for seen in victims.values()) >= 5
    assert sum(len(seen) >= 2 for seen in days.values()) >= 3


def test_money_runs_through_several_hops_and_banks() -> None:
    simulation = simulate(replace(HISTORY, fraud_per_100k=3_000))
    hops = Counter(truth["hop"] for truth in simulation.truth if truth["is_fraud"])
    assert hops[0] > hops[1] > hops[2] > 0
    banks = {payment["payee_account"][:8] for payment in simulation.payments}
    assert len(banks) > 6


def test_labels_come_after_their_payment_and_in_the_order_they_become_known(history: Simulation) -> None:
    paid = {payment["end_to_end_id"]: ms(payment["initiated_at"]) for payment in history.payments}
    known = [ms(label["known_at"]) for label in history.labels]
    assert known == sorted(known)
    for label in history.labels:
        since = ms(label["effective_at"]) - paid[label["end_to_end_id"]]
        assert 0 < since <= (80 + 7 + 30) * DAY_MS
        assert 0 < ms(label["known_at"]) - ms(label["effective_at"]) <= 1_800_000


def test_disputes_keep_the_deadlines_of_the_med(history: Simulation) -> None:
    paid = {payment["end_to_end_id"]: ms(payment["initiated_at"]) for payment in history.payments}
    moments: dict[str, dict[str, int]] = defaultdict(dict)
    for label in history.labels:
        moments[label["end_to_end_id"]][label["kind"]] = ms(label["effective_at"])
    for identity, at in moments.items():
        assert at["contested"] - paid[identity] <= 80 * DAY_MS
        decided = at.get("accepted", at.get("rejected"))
        assert decided is not None
        assert 0 < decided - at["contested"] <= 7 * DAY_MS
        assert "reversed" not in at or at["reversed"] > at["accepted"]


def test_labels_are_late_incomplete_and_sometimes_wrong() -> None:
    truth = simulate(replace(HISTORY, payments=30_000, fraud_per_100k=3_000)).truth
    frauds = [row for row in truth if row["is_fraud"]]
    verdicts = Counter(row["verdict"] for row in frauds)
    assert verdicts[None] / len(frauds) > 0.1
    assert verdicts["rejected"] > 10
    wrongly = sum(row["verdict"] == "accepted" for row in truth if not row["is_fraud"])
    assert 0 < wrongly < 0.08 * verdicts["accepted"]


def test_a_refund_returns_no_more_than_was_paid(history: Simulation) -> None:
    for payment, truth in zip(history.payments, history.truth, strict=True):
        assert (truth["refund"] is not None) == (truth["verdict"] == "accepted")
        if truth["refund"] == "full":
            assert truth["refunded_cents"] == payment["amount_cents"]
        elif truth["refund"] == "partial":
            assert 0 <= truth["refunded_cents"] < payment["amount_cents"]
        elif truth["refund"]:
            assert truth["refunded_cents"] == 0


def test_a_live_minute_is_paid_by_the_accounts_of_the_history(history: Simulation, live: Simulation) -> None:
    times = [ms(payment["initiated_at"]) for payment in live.payments]
    assert END_MS <= times[0] <= times[-1] < END_MS + 60_000
    known = accounts_of(history)
    assert len(accounts_of(live) & known) / len(accounts_of(live)) > 0.95
    people = {payment["payer_account"]: payment.get("payer_tax_id") for payment in history.payments}
    for payment in live.payments:
        before, now = people.get(payment["payer_account"]), payment.get("payer_tax_id")
        assert before is None or now is None or now == before
    assert sum(truth["verdict"] == "accepted" for truth in live.truth) >= 0.97 * LIVE.accepted_frauds > 0


def test_another_live_run_has_other_ids_and_the_same_accounts(live: Simulation) -> None:
    again = simulate(replace(LIVE, run="live-2"))
    ids = {payment["end_to_end_id"] for payment in live.payments}
    assert ids.isdisjoint(payment["end_to_end_id"] for payment in again.payments)
    assert len(accounts_of(again) & accounts_of(live)) > 100


def test_the_smallest_population_works() -> None:
    plan = replace(HISTORY, accounts=50, payments=300, fraud_per_100k=20_000, start_ms=0)
    assert len(simulate(plan).payments) == 300


def drifted(kind: str, of: str) -> tuple[Simulation, int]:
    drift = Drift(kind=kind, of=of, from_day=15)
    plan = replace(HISTORY, payments=6_000, fraud_per_100k=5_000, drifts=(drift,))
    return simulate(plan), drift.at_ms(HISTORY.window)


def before_and_after(simulation: Simulation, from_ms: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    early = [payment for payment in simulation.payments if ms(payment["initiated_at"]) < from_ms]
    return early, simulation.payments[len(early) :]


def test_a_field_goes_null_from_its_day_on() -> None:
    early, late = before_and_after(*drifted("null", "device_id"))
    assert sum("device_id" in payment for payment in early) > 0.8 * len(early)
    assert not any("device_id" in payment for payment in late)


def test_an_initiation_form_goes_away_from_its_day_on() -> None:
    early, late = before_and_after(*drifted("outage", "QRDN"))
    assert sum(payment.get("initiation") == "QRDN" for payment in early) > 0.3 * len(early)
    assert not any(payment.get("initiation") == "QRDN" for payment in late)


def test_a_new_typology_appears_on_its_day() -> None:
    simulation, from_ms = drifted("typology", "coercion")
    at = {payment["end_to_end_id"]: ms(payment["initiated_at"]) for payment in simulation.payments}
    coerced = [at[row["end_to_end_id"]] for row in simulation.truth if row["typology"] == "coercion"]
    assert len(coerced) > 5
    assert min(coerced) >= from_ms


@pytest.mark.parametrize(
    ("of", "field", "least"), [("older", "payer_age_years", 1.15), ("amounts", "amount_cents", 1.3)]
)
def test_a_population_shifts_from_its_day_on(of: str, field: str, least: float) -> None:
    early, late = (
        np.median([payment[field] for payment in side if field in payment])
        for side in before_and_after(*drifted("population", of))
    )
    assert late / early > least
