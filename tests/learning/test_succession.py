"""Who served, who serves, who may: on the real MLflow on SQLite. No file of a model is needed for that."""

from datetime import UTC, datetime, timedelta

import mlflow
import pytest

from learning.errors import NothingBefore, NotPromoted, RegistryError, RegistryUnavailable
from learning.registry import CHALLENGER
from learning.succession import NOBODY, Succession

START = datetime(2026, 11, 23, 1, tzinfo=UTC)


class House:
    """One registered model, and a clock that goes on by a minute whenever somebody acts."""

    def __init__(self, uri, name):
        self.client, self.name, self.minutes = mlflow.MlflowClient(uri), name, 0
        self.client.create_registered_model(name)
        self.succession = Succession(uri, name)

    def trained(self, count=1):
        for _ in range(count):
            run = self.client.create_run("0").info.run_id
            tags = {"sha256": "0" * 64, "fingerprint": "f" * 16}
            version = self.client.create_model_version(
                self.name, source="file:///nowhere", run_id=run, tags=tags
            ).version
            self.client.set_registered_model_alias(self.name, CHALLENGER, version)
        return str(version)

    @property
    def now(self):
        self.minutes += 1
        return START + timedelta(minutes=self.minutes)

    def promoted(self, *versions):
        for version in versions:
            self.succession.promote(version, ["better"], over=self.serves, now=self.now)

    @property
    def serves(self):
        return self.succession.serving()

    def tags(self, version):
        return self.succession.versions()[version].tags


@pytest.fixture
def house(tracking, request):
    return House(tracking, f"house-{abs(hash(request.node.name))}")


def test_a_promotion_says_when_and_why(house):
    house.trained()
    assert house.serves == NOBODY
    house.promoted("1")
    assert house.serves == "1"
    assert house.tags("1").items() >= {
        ("promoted_at", "2026-11-23T01:01:00+00:00"),
        ("champion_since", "2026-11-23T01:01:00+00:00"),
        ("promotion_reasons", "better"),
    }


def test_a_promotion_says_how_long_its_labels_have_waited(house):
    house.trained(2)
    first = house.now
    known = round(first.timestamp() * 1000) - 9 * 3_600_000
    for tag, value in {
        "labels_new": "2",
        "labels_new_known_ms": known,
        "labels_new_slow_ms": known - 3_600_000,
    }.items():
        house.succession._client.set_model_version_tag(house.name, "2", tag, str(value))
    house.promoted("1", "2")
    waited = [float(house.tags("2")[f"label_to_service_hours_{name}"]) for name in ("p50", "p95")]
    minutes = (datetime.fromisoformat(house.tags("2")["promoted_at"]) - first).total_seconds() / 60
    assert waited == [pytest.approx(9 + minutes / 60, abs=0.01), pytest.approx(10 + minutes / 60, abs=0.01)]
    assert not [tag for tag in house.tags("1") if tag.startswith("label_to_service")]


def test_what_was_judged_over_another_champion_is_not_promoted(house):
    house.trained(3)
    house.promoted("1", "2")
    with pytest.raises(NotPromoted, match="judged over 1, but 2 serves by now"):
        house.succession.promote("3", ["better"], over="1", now=house.now)
    assert house.serves == "2"
    assert "promoted_at" not in house.tags("3")


def test_a_proposal_waits_for_a_person_who_stands_on_the_record(house):
    house.trained(2)
    house.promoted("1")
    house.succession.propose("2", ["better", "fast"], over="1", now=house.now)
    assert house.serves == "1"
    assert house.succession.approve("2", by="Ana", note="seen in shadow", now=house.now) == "1"
    assert house.serves == "2"
    told = house.tags("2")
    assert (told["promotion_by"], told["promotion_note"]) == ("Ana", "seen in shadow")
    assert told["promotion_reasons"] == "better\nfast"
    assert told["promoted_at"] == "2026-11-23T01:03:00+00:00"
    assert "promotion_proposed_at" not in told
    with pytest.raises(NotPromoted, match="version 2 is not proposed"):
        house.succession.approve("2", by="Ana", note="", now=house.now)


def newer_challenger(house):
    house.trained()


def another_champion(house):
    house.promoted("3")


def there_and_back(house):
    house.promoted("3")
    house.succession.roll_back("1", by="", reason="", now=house.now)


def refused_since(house):
    house.succession.refuse("4", ["slow"], now=house.now)


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (newer_challenger, "not the challenger any more"),
        (another_champion, "but 3 serves since"),
        (there_and_back, "but 1 serves since"),
        (refused_since, "is not proposed"),
    ],
)
def test_a_proposal_that_things_have_overtaken_is_refused(house, since, reason):
    house.trained(4)
    house.promoted("1")
    house.succession.propose("4", ["better"], over="1", now=house.now)
    assert house.succession.require_proposed("4") == "1"
    since(house)
    before = house.serves
    with pytest.raises(NotPromoted, match=reason):
        house.succession.approve("4", by="Ana", note="", now=house.now)
    assert house.serves == before


def test_nobody_approves_namelessly_or_what_is_not_there(house):
    house.trained()
    house.succession.propose("1", ["first"], over=NOBODY, now=house.now)
    with pytest.raises(NotPromoted, match="say who approves"):
        house.succession.approve("1", by="  ", note="", now=house.now)
    with pytest.raises(NotPromoted, match="has no version '7'; it has 1"):
        house.succession.approve("7", by="Ana", note="", now=house.now)
    house.succession.approve("1", by="Ana", note="", now=house.now)
    assert house.serves == "1"


def test_a_rollback_returns_to_the_one_before_and_marks_the_one_that_served(house):
    house.trained(3)
    house.promoted("1", "2", "3")
    assert house.succession.before() == "2"
    assert house.succession.roll_back("2", by="Ana", reason="false alarms", now=house.now) == "3"
    assert house.serves == "2"
    told = house.tags("3")
    assert told["rolled_back_to"] == "2"
    assert house.succession.versions()["3"].rolled_back == "at 2026-11-23T01:04:00+00:00 by Ana (false alarms)"
    assert house.succession.versions()["2"].rolled_back == ""
    assert house.tags("2")["promoted_at"] == "2026-11-23T01:02:00+00:00", "the history stays what it was"

    assert house.succession.before() == "1", "never the one that was rolled back"
    house.succession.roll_back("1", by="", reason="", now=house.now)
    with pytest.raises(NothingBefore, match="no version of .* served before 1"):
        house.succession.before()
    assert house.succession.roll_back("3", by="Ana", reason="", now=house.now) == "1"
    assert house.serves == "3"


def test_a_rollback_skips_a_version_that_was_rolled_back_itself(house):
    house.trained(4)
    house.promoted("1", "2")
    house.succession.roll_back("1", by="", reason="", now=house.now)
    house.promoted("3")
    assert house.succession.before() == "1"


def test_a_version_that_served_only_later_is_not_before(house):
    house.trained(3)
    house.promoted("1", "2", "3")
    house.succession.roll_back("1", by="", reason="", now=house.now)
    with pytest.raises(NothingBefore, match="served before 1"):
        house.succession.before()


def test_what_mlflow_refuses_is_told(house):
    house.trained()
    with pytest.raises(RegistryError, match="refused to record promotion_proposed_at, .* on version 9 of house-"):
        house.succession.propose("9", ["better"], over=NOBODY, now=house.now)


@pytest.mark.parametrize(
    ("to", "reason"), [("2", "serves already"), ("3", "never served; those that did: 1"), ("9", "'9'")]
)
def test_only_what_served_once_is_returned_to(house, to, reason):
    house.trained(3)
    house.promoted("1", "2")
    with pytest.raises(NothingBefore, match=reason):
        house.succession.roll_back(to, by="", reason="", now=house.now)
    assert house.serves == "2"
    assert "rolled_back_at" not in house.tags("2")


def test_without_a_champion_there_is_nothing_before(house):
    house.trained()
    with pytest.raises(NothingBefore, match="served before none"):
        house.succession.before()


def test_a_server_that_is_away_is_named_at_once(unused_port):
    with pytest.raises(RegistryUnavailable, match="sentinela up"):
        Succession(f"http://127.0.0.1:{unused_port}", "pix_fraud")
