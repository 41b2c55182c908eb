"""A policy is applied as written, or refused with the place of every fault."""

import itertools
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from policies import EMPTY, NAMES_OF_LISTS, NOW_MS, PRIORITY, case, entry, policy, token
from traffic import POLICY, arrival, message, pipeline

from pix.features import FEATURE_NAMES
from serving.degraded import decide_by_rules
from serving.policy import ACTIONS, Case, InvalidPolicy, Verdict, parse_policy
from serving.policy_conditions import PAYMENT_NAMES

TABLE = Path(__file__).parents[2] / "docs" / "policy.md"
LARGE = "rules: [{name: large, when: amount_reais > 100, action: %s}]\n"


@pytest.mark.parametrize(
    ("probability", "action"),
    [(None, "ALLOW"), (0.0999, "ALLOW"), (0.1, "REVIEW"), (0.4, "BLOCK_AND_REVIEW"), (0.85, "BLOCK"), (1.0, "BLOCK")],
)
def test_thresholds(probability: float | None, action: str) -> None:
    assert policy().judge(case(probability)).action == action


def test_the_first_segment_that_fits_has_its_own_thresholds() -> None:
    loaded = policy(
        "segments:\n"
        "  - {name: company, when: payer_person_type == 'PJ', "
        "thresholds: {REVIEW: 0.5, BLOCK_AND_REVIEW: 0.6, BLOCK: 1}}\n"
        "  - {name: large, when: amount_reais > 100, "
        "thresholds: {REVIEW: 0.01, BLOCK_AND_REVIEW: 0.02, BLOCK: 0.03}}\n"
    )
    both = case(0.1, amount_reais=200.0, payer_person_type="PJ")
    assert loaded.judge(both) == Verdict("ALLOW", (), "company")
    assert loaded.judge(case(0.1, amount_reais=200.0)) == Verdict("BLOCK", (), "large")
    assert loaded.judge(case(0.1, amount_reais=50.0)) == Verdict("REVIEW", (), "default")
    assert loaded.judge(case(None, amount_reais=200.0)) == Verdict("ALLOW", (), None)


def priority_table() -> list[list[str]]:
    """The rows of the table in docs/policy.md: what hits, and what follows."""
    rows = re.findall(
        r"^\| (.+) \|$", TABLE.read_text().partition("## Priority")[2].partition("\n## ")[0], re.MULTILINE
    )
    cells = [[cell.strip().strip("`") for cell in row.split("|")] for row in rows]
    return [row for row in cells if row[0] in ("yes", "no")]


def test_the_priority_of_actions_is_the_documented_table() -> None:
    rows = priority_table()
    assert {tuple(row[:3]) for row in rows} == set(itertools.product(("yes", "no"), repeat=3))
    for blocked, watched, allowed, *expected in rows:
        listed = {"block": blocked, "watch": watched, "allow": allowed}
        entries = {name: [entry()] for name, is_there in listed.items() if is_there == "yes"}
        for asked, column in (("ALLOW", 0), ("REVIEW", 1), ("BLOCK", 2)):
            probability = {"ALLOW": 0.0, "REVIEW": 0.2, "BLOCK": 0.9}[asked]
            assert policy(lists=entries).judge(case(probability)).action == expected[column], (listed, asked)
        ruled = policy(LARGE % "BLOCK_AND_REVIEW", lists=entries).judge(case(0.0, amount_reais=200.0))
        assert ruled.action == expected[3], listed


@pytest.mark.parametrize("order", list(itertools.permutations(["block_list", "rules", "allow_list", "thresholds"])))
def test_what_stands_below_an_allow_list_that_hits_is_not_asked(order: tuple[str, ...]) -> None:
    priority = [*order, "watch_list"]
    loaded = policy(LARGE % "REVIEW", priority=priority, lists={"block": [entry()], "allow": [entry()]})
    heard = order[: order.index("allow_list")]
    asked = {"block_list": "BLOCK", "rules": "REVIEW", "thresholds": "BLOCK_AND_REVIEW"}
    expected = max((asked[source] for source in heard), key=ACTIONS.index, default="ALLOW")
    verdict = loaded.judge(case(0.5, amount_reais=200.0))
    hits = tuple({"rules": "large"}.get(source, source) for source in (*heard, "allow_list") if source != "thresholds")
    assert (verdict.action, verdict.rule_hits) == (expected, hits)


def test_every_order_of_who_asks_gives_the_most_severe() -> None:
    draw = random.Random(3)
    for _ in range(200):
        actions = draw.sample(ACTIONS, 3)
        rules = ", ".join(
            f"{{name: {name}, when: amount_reais > 1, action: {action}}}"
            for name, action in zip("abc", actions, strict=True)
        )
        verdict = policy(f"rules: [{rules}]\n").judge(case(draw.choice([0.0, 0.2, 0.5]), amount_reais=2.0))
        assert verdict.rule_hits == ("a", "b", "c")
        assert ACTIONS.index(verdict.action) >= max(map(ACTIONS.index, actions))


def test_a_rule_without_its_facts_does_not_hit() -> None:
    rules = "rules: [{name: old, when: device_age_days < 1.0 || active_call, action: BLOCK}]\n"
    assert policy(rules).judge(case(None, active_call=True)).rule_hits == ()
    assert policy(rules).judge(case(None, device_age_days=0.5)).rule_hits == ()
    assert policy(rules).judge(case(None, device_age_days=0.5, active_call=False)).action == "BLOCK"


def test_a_condition_without_a_value_does_not_hold_and_is_told() -> None:
    # Trials see what comparisons turn on; this overflows only far from there.
    loaded = policy("rules: [{name: far, when: amount_cents * 1000000000 > 5, action: BLOCK}]\n")
    verdict = loaded.judge(case(None, amount_cents=10**12))
    assert (verdict.action, verdict.rule_hits, verdict.failed) == ("ALLOW", (), ("far",))
    told: list[str] = []
    service = replace(pipeline(), policy=lambda: loaded, without_value=told.extend)
    for number, amount_cents in enumerate((10**12, 1)):
        sent = message(number, amount_cents=amount_cents)
        service.decide(sent, arrival(NOW_MS))
        decide_by_rules(service, service.seen(sent, arrival(NOW_MS)))
    assert told == ["far", "far"]


@pytest.mark.parametrize("name", NAMES_OF_LISTS)
def test_entries_count_from_then_until_then_by_the_time_of_the_decision(name: str) -> None:
    hit = f"{name}_list"
    loaded = policy(lists={name: [entry(since=NOW_MS, until=NOW_MS + 1000)]})
    counts = [loaded.judge(replace(case(0.0), decided_at_ms=NOW_MS + later)) for later in (-1, 0, 999, 1000)]
    assert [hit in verdict.rule_hits for verdict in counts] == [False, True, True, False]
    # The payment's own times say nothing: it may have been initiated before the entry was made.
    for initiated_at_ms in (NOW_MS - 10_000, NOW_MS + 5_000):
        moved = case(0.0)
        moved = replace(moved, payment=replace(moved.payment, initiated_at_ms=initiated_at_ms))
        assert hit in loaded.judge(moved).rule_hits


@pytest.mark.parametrize(
    ("kind", "side", "fields"),
    [
        ("account", "payer", {"payer_account"}), ("account", "payee", {"payee_account"}),
        ("account", "both", {"payer_account", "payee_account"}), ("person", "payer", {"payer_tax_id"}),
        ("person", "both", {"payer_tax_id", "payee_tax_id"}), ("device", None, {"device_id"}),
        ("key", None, {"pix_key"}),
    ],
)  # fmt: skip
def test_an_entry_is_looked_for_on_its_side(kind: str, side: str | None, fields: set[str]) -> None:
    loaded = policy(lists={"block": [entry(kind=kind, side=side, value="somebody")]})
    found = token("somebody")
    for field in ("payer_account", "payee_account", "payer_tax_id", "payee_tax_id", "device_id", "pix_key", "txid"):
        verdict = loaded.judge(case(0.0, **{field: found}))
        assert (verdict.action == "BLOCK") == (field in fields), field


def test_the_version_is_the_content() -> None:
    first = policy()
    assert policy().version == first.version
    assert policy("# more\n").version != first.version


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("BLOCK: 0.85", "BLOCK: 0.3"), "line 2: thresholds: must rise with severity"),
        ((", BLOCK: 0.85", ""), "line 2: thresholds.BLOCK: is missing"),
        (("REVIEW: 0.1,", "REVIEW: yes,"), "line 2: thresholds.REVIEW"),
        (("REVIEW: 0.1,", "REVIEW: 0.1, REVIEW: 0.2,"), "line 2: thresholds.REVIEW: stands here more than once"),
        (("priority: [block_list, ", "priority: ["), "line 1: priority: must name each of"),
        (("[block_list, ", "[block_list, block_list, "), "line 1: priority: must name each of"),
        (("thresholds: {", "thresholds: [{"), ": is no YAML: "),
        (("\nholds:", "\nextra: 1\nholds:"), "line 3: extra: is not known here"),
        (("\nholds:", "\nrules: &a []\nsegments: *a\nholds:"), "line 4: holds an alias"),
        (("outcome: BLOCK", "outcome: REVIEW"), "holds.BLOCK_AND_REVIEW.outcome"),
    ],
)
def test_a_bad_file_is_refused_and_says_where(changed: tuple[str, str], told: str) -> None:
    text = EMPTY.replace(*changed, 1)
    assert text != EMPTY
    with pytest.raises(InvalidPolicy) as refusal:
        parse_policy(text, "p.yaml")
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("amount_reais >", "is no CEL"),
        ("no_such > 1.0", "unknown names: no_such"),
        ("payer_account == 'x'", "unknown names: payer_account"),
        ("end_to_end_id == 'x'", "unknown names: end_to_end_id"),
        ("amount_reais", "must be true or false, is float"),
        ("payer_person_type == 'PX'", "payer_person_type is one of PF, PJ"),
        ("amount_reais > 5 && amount_reais < 3", "can never hold"),
        ("active_call == 1", "can never hold"),
        ("amount_reais > 1 && payer_person_type > 3", "cannot be computed where amount_reais is 2"),
        ("amount_cents / payer_limit_cents > 2", "payer_limit_cents is 0"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_work_is_refused(when: str, told: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        policy(f'rules:\n  - name: first\n    action: REVIEW\n    when: "{when}"\n')
    assert told in str(refusal.value)
    assert "line 7: rules.first.when: " in str(refusal.value)
    with pytest.raises(InvalidPolicy, match=r"segments\.first\.when"):
        policy(f'segments:\n  - name: first\n    thresholds: {{REVIEW: 1, BLOCK_AND_REVIEW: 1, BLOCK: 1}}\n    when: "{when}"\n')  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    "when", ["amount_reais > 5 && amount_reais < 5.5", "initiation in ['MANU', 'DICT'] && payer_age_years >= 60",
             "payer_limit_cents != 0 && amount_cents / payer_limit_cents > 2", "amount_cents % 100 == 37",
             "payer_municipality.startsWith('35')", "!active_call", "tenant == 'default'"],
)  # fmt: skip
def test_a_condition_that_can_work_is_taken(when: str) -> None:
    assert policy(f'rules:\n  - name: first\n    action: REVIEW\n    when: "{when}"\n').warnings == ()


def test_doubts_are_told_without_refusing() -> None:
    doubtful = policy("rules: [{name: odd, when: amount_reais * amount_reais == 50.5, action: REVIEW}]\n")
    assert [told for told in doubtful.warnings_at(NOW_MS) if "rules.odd.when" in told and "trials" in told]
    listed = policy(lists={"watch": [entry(until=NOW_MS), entry(until=NOW_MS + 1)]})
    assert listed.warnings_at(NOW_MS - 1, 1) == ()
    assert [re.search(r"1 of 2", told) is not None for told in listed.warnings_at(NOW_MS, 1)] == [True]
    assert [re.search(r"2 entries .*another key than 2", told) is not None for told in listed.warnings_at(0, 2)] == [
        True
    ]


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        policy(
            "rules:\n"
            "  - {name: a, when: nope > 1, action: BLOCK}\n"
            "  - {name: a, when: amount_reais, action: BLOCK}\n"
        )  # fmt: skip
    assert len(refusal.value.mistakes) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"side": None}, "needs side"),
        ({"kind": "device", "side": "payee"}, "leave out side"),
        ({"until": NOW_MS - 10**10}, "until must come after from"),
        ({"reason": "cpf 12345678909"}, "clear id"),
        ({"author": "maria@example.com"}, "clear id"),
        ({"token": "maria@example.com"}, "lists.block.1.token"),
    ],
)
def test_a_bad_entry_is_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        policy(lists={"block": [entry(**change)]})  # type: ignore[arg-type]
    assert told in str(refusal.value)


@pytest.mark.parametrize("name", ["test_account", "block_list", "watch_list", "allow_list", "Ünlike", "a b"])
def test_names_of_rules(name: str) -> None:
    with pytest.raises(InvalidPolicy, match=r"rules\."):
        policy(f"rules: [{{name: {name}, when: amount_reais > 1.0, action: BLOCK}}]\n")


def test_the_page_names_every_fact() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\S.*?) \|", TABLE.read_text().partition("## Facts")[2], re.MULTILINE)
    assert [name for name, _ in told] == list(PAYMENT_NAMES)


def test_judging_is_pure() -> None:
    loaded = policy(LARGE % "REVIEW", lists={"watch": [entry()]})
    asked = Case(0.3, tuple([None] * len(FEATURE_NAMES)), case(0.0).payment, NOW_MS)
    assert {loaded.judge(asked) for _ in range(5)} == {parse_policy(loaded.text, "again").judge(asked)}


def test_the_table_is_of_the_policy_that_is_shipped() -> None:
    assert POLICY.priority == PRIORITY
