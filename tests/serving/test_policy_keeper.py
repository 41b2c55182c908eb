"""A changed policy file is used by all workers at once; a bad one changes nothing but what is told about it."""

import json
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from api_by_hand import HandBroker, api, opened
from policies import EMPTY, case
from traffic import KEYRING, NOW_MS, Clock, StubbornModel, arrival, random_message

from pix.contracts import Payment
from pix.store.memory import MemoryStore
from serving.degraded import decide_by_rules
from serving.holds import hold_of
from serving.outcomes import Done
from serving.pipeline import DecisionPipeline
from serving.policy import Case, InvalidPolicy, Policy, parse_policy
from serving.policy_archive import NotKept, find, keep
from serving.policy_keeper import USED_AFTER_MS, PolicyKeeper
from serving.reasons import explained

STRICTER = EMPTY.replace("REVIEW: 0.1,", "REVIEW: 0.05,")
BROKEN = EMPTY.replace("BLOCK: 0.85", "BLOCK: 0.2")


class Kept:
    """The lake, as the keeper knows it; it can be away."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.is_away = False

    def __call__(self, text: str, at_ms: int) -> None:
        if self.is_away:
            raise NotKept(f"the lake is away at {at_ms}")
        self.texts.append(text)


class Home:
    """A policy file and whoever keeps it, by a clock that a test moves."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "policy.yaml"
        self.clock, self.kept, self.told = Clock(), Kept(), [False]

    def write(self, text: str) -> None:
        self.path.write_text(text)
        os.utime(self.path, ns=(self.clock.now_ms * 10**6,) * 2)

    def keeper(self) -> PolicyKeeper:
        return PolicyKeeper(
            self.path, self.root / "state", keep=self.kept, now_ms=self.clock, token_key_version=1,
            told=self.told.append,
        )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.write(EMPTY)
    return home


def version(text: str) -> str:
    return parse_policy(text, "p").version


def test_all_workers_change_over_at_the_same_moment(home: Home) -> None:
    first, second = home.keeper(), home.keeper()
    home.clock.now_ms += 10_000
    home.write(STRICTER)
    changed_ms = home.clock.now_ms
    for keeper, later in ((first, 150), (second, 990)):
        home.clock.now_ms = changed_ms + later
        keeper.look()
    home.clock.now_ms = changed_ms + USED_AFTER_MS - 1
    assert {keeper.current().version for keeper in (first, second)} == {version(EMPTY)}
    home.clock.now_ms += 1
    assert {keeper.current().version for keeper in (first, second)} == {version(STRICTER)}
    assert first.described()["loaded_at_ms"] == home.clock.now_ms


def test_a_version_is_in_the_lake_before_it_is_used(home: Home) -> None:
    keeper = home.keeper()
    assert home.kept.texts == [EMPTY]
    home.kept.is_away = True
    home.write(STRICTER)
    keeper.look()
    home.clock.now_ms += 10_000
    keeper.look()
    assert keeper.current().version == version(EMPTY)
    assert "lake is away" in str(keeper.problem)
    home.kept.is_away = False
    keeper.look()
    home.clock.now_ms += USED_AFTER_MS
    assert (keeper.current().version, keeper.problem) == (version(STRICTER), None)
    assert home.kept.texts == [EMPTY, STRICTER]


@pytest.mark.parametrize("bad", [BROKEN, "", "\xff", "thresholds: ["])
def test_a_bad_file_changes_nothing_and_is_told(home: Home, bad: str) -> None:
    keeper = home.keeper()
    home.path.write_bytes(bad.encode("latin-1"))
    home.clock.now_ms += 10_000
    for _ in range(3):
        keeper.look()
        home.clock.now_ms += 10_000
    assert keeper.current().version == version(EMPTY)
    assert str(home.path) in str(keeper.problem)
    assert home.told[-1] is True
    assert home.kept.texts == [EMPTY]
    home.write(EMPTY)
    keeper.look()
    assert (keeper.problem, home.told[-1]) == (None, False)


def test_a_file_that_is_gone_is_told(home: Home) -> None:
    keeper = home.keeper()
    home.path.unlink()
    keeper.look()
    assert "policy.yaml" in str(keeper.problem)
    assert keeper.current().version == version(EMPTY)


def test_a_restart_with_a_bad_file_goes_on_with_the_last_good_one(home: Home) -> None:
    home.write(BROKEN)
    with pytest.raises(InvalidPolicy):
        home.keeper()
    home.write(STRICTER)
    home.keeper()
    home.write(BROKEN)
    again = home.keeper()
    assert again.current().version == version(STRICTER)
    assert "must rise" in str(again.problem)
    # A lake that is away holds up a change, but no restart.
    home.kept.is_away = True
    home.write(STRICTER)
    started = home.keeper()
    assert started.problem is None
    home.kept.is_away, home.kept.texts = False, []
    started.look()
    assert home.kept.texts == [STRICTER], "a lake that was made anew gets it, too"
    home.kept.is_away = True
    home.write(EMPTY)
    assert home.keeper().current().version == version(STRICTER)


def test_a_half_written_file_is_never_used(home: Home) -> None:
    whole = STRICTER + "rules:\n  - {name: a, when: amount_reais > 1, action: BLOCK}\n"
    keeper = home.keeper()
    home.write(STRICTER)
    keeper.look()
    home.clock.now_ms += 1_000
    home.write(whole)
    keeper.look()
    home.clock.now_ms += USED_AFTER_MS
    assert keeper.current().version == version(whole)


TWO = [
    EMPTY.replace("REVIEW: 0.1, BLOCK_AND_REVIEW: 0.4, BLOCK: 0.85", shares).replace(
        "otherwise: 60", f"otherwise: {held}"
    )
    + f"rules:\n  - {{name: {name}, when: amount_reais > {amount}, action: {action}}}\n"
    for shares, held, name, amount, action in (
        ("REVIEW: 0.1, BLOCK_AND_REVIEW: 0.4, BLOCK: 0.85", 60, "small", 1, "BLOCK_AND_REVIEW"),
        ("REVIEW: 0.9, BLOCK_AND_REVIEW: 0.95, BLOCK: 1", 59, "large", 90_000, "REVIEW"),
    )
]
"""Two policies that agree on hardly anything."""


def is_by_one_version(record: dict[str, Any], policy: Policy) -> bool:
    """Whether action, rule hits, reasons and hold are all of the version that the decision names."""
    case = Case(record["fraud_probability"], record["features"], Payment(**record["payment"]), record["decided_at_ms"])
    verdict, hold = policy.judge(case), hold_of(record["action"], record["decided_at_ms"], policy)
    model = StubbornModel() if record["model"] else None
    reasons = explained(model, record["features"], verdict.rule_hits, policy) if verdict.action != "ALLOW" else []
    expected = (verdict.action, list(verdict.rule_hits), hold.described() if hold else None, reasons)
    return (record["action"], record["rule_hits"], record["hold"], record["reasons"]) == expected


def test_a_decision_is_by_one_version_whenever_they_change() -> None:
    """With and without the store, with another version at every question."""
    loaded = [parse_policy(text, "p") for text in TWO]
    turns, by_version = random.Random(1), {policy.version: policy for policy in loaded}
    service = DecisionPipeline(
        store=MemoryStore(), keyring=KEYRING, champion=StubbornModel, policy=lambda: turns.choice(loaded),
        now_ms=Clock(), build="test",
    )  # fmt: skip
    draw, seen = random.Random(4), set()
    for number in range(40):
        sent, came = random_message(draw, number, NOW_MS, 30), arrival(NOW_MS, number)
        done = service.decide(sent, came)
        assert isinstance(done, Done)
        for content in (done.record, decide_by_rules(service, service.seen(sent, came)).record):
            record = json.loads(content)
            seen.add((record["policy_version"], record["mode"]))
            assert is_by_one_version(record, by_version[record["policy_version"]])
    assert len(seen) == 4


def test_no_decision_fails_while_the_file_changes(tmp_path: Path) -> None:
    path, lake, clock = tmp_path / "policy.yaml", str(tmp_path / "lake"), Clock()
    path.write_text(TWO[0])
    keeper = PolicyKeeper(
        path, tmp_path / "state", keep=lambda text, at_ms: keep(lake, text, at_ms), now_ms=clock, token_key_version=1,
        told=lambda _: None,
    )  # fmt: skip
    service = DecisionPipeline(
        store=MemoryStore(), keyring=KEYRING, champion=StubbornModel, policy=keeper.current, now_ms=clock, build="test",
    )  # fmt: skip
    over = threading.Event()

    def change() -> None:
        for number in range(1, 7):
            path.write_text(BROKEN)
            keeper.look()
            path.write_text(TWO[number % 2])
            keeper.look()
            clock.now_ms += USED_AFTER_MS
        over.set()

    draw, records, changing = random.Random(4), [], threading.Thread(target=change)
    changing.start()
    while not over.is_set() or len(records) < 100:
        number = len(records)
        done = service.decide(random_message(draw, number, NOW_MS, 30), arrival(NOW_MS, number))
        assert isinstance(done, Done)
        records.append(json.loads(done.record))
    changing.join()
    by_version = {name: parse_policy(str(find(lake, name)), name) for name in {r["policy_version"] for r in records}}
    assert len(by_version) == 2, "the traffic must meet both"
    assert all(is_by_one_version(record, by_version[record["policy_version"]]) for record in records)


def test_the_api_says_what_is_used_and_what_is_wrong(home: Home) -> None:
    app = api(MemoryStore(), HandBroker())
    app.state.running.policies = keeper = home.keeper()
    home.write(BROKEN)
    keeper.look()
    with opened(app) as client:
        shown = client.get("/policy").json()
    assert (shown["version"], shown["text"], shown["lists"]) == (
        version(EMPTY),
        EMPTY,
        {"block": 0, "watch": 0, "allow": 0},
    )
    assert "line 2: thresholds: must rise" in shown["problem"]
    assert keeper.current().judge(case(0.1)).action == "REVIEW"
