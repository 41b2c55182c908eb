"""The training set says what it was made from, and can be made again from that."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from fraud_assets import learning_rows
from pix.offline.tables import LABELS_SILVER, TRAINING_SET


class Said(str):
    """Why nothing was made; who asks it for a number sees that."""

    __slots__ = ()

    def __getitem__(self, name):
        raise AssertionError(str(self))


@pytest.fixture(scope="module")
def make(trained):
    """Makes the home's training set by some configuration, and tells of it; at the end the set is as it was."""

    def made(**config):
        done = trained.run(TRAINING_SET.name, config={"ops": {"features__training_set": {"config": config}}})
        return trained.newest(TRAINING_SET.name) if done.success else Said(" ".join(trained.told(done).values()))

    yield made
    assert made()["frauds"]


def rows(lake, version):
    """Every row of a version, in order of the ids."""
    return lake.read(TRAINING_SET.name, version=version).orderBy("end_to_end_id").toPandas()


def test_a_recorded_version_is_made_again_row_by_row(trained, make):
    told = make(honest_rows=600, seed=3)
    first = told["delta_version"]
    whole = rows(trained.lake, first)
    assert told["made_from"][LABELS_SILVER.name] == trained.lake.version(LABELS_SILVER.name)
    assert told["honest_kept"] == (whole["label_class"] == "honest").sum() < told["honest_payments"]
    assert whole["weight"].sum() == pytest.approx(told["payments"])
    labels, note = trained.lake.read(LABELS_SILVER.name), trained.lake.note(LABELS_SILVER.name)
    trained.lake.overwrite(
        LABELS_SILVER, labels.where("kind <> 'accepted' or pmod(hash(end_to_end_id), 2) = 0"), note=note
    )
    other = make(honest_rows=600, seed=3)
    assert other["frauds"] < told["frauds"]
    again = make(as_recorded=first)
    assert (again["frauds"], again["made_from"]) == (told["frauds"], told["made_from"])
    pd.testing.assert_frame_equal(rows(trained.lake, again["delta_version"]), whole)
    assert (again["frauds"], again["made_from"]) == (told["frauds"], told["made_from"])
    before = trained.lake.read(LABELS_SILVER.name, version=told["made_from"][LABELS_SILVER.name])
    trained.lake.overwrite(LABELS_SILVER, before, note=note)
    assert trained.run(LABELS_SILVER.name).success


def test_labels_that_were_known_later_do_not_count(trained, make):
    told = make()
    known = trained.lake.read(TRAINING_SET.name).where("is_fraud").orderBy("fraud_known_at_ms").collect()
    middle = known[len(known) // 2].fraud_known_at_ms
    moment = datetime.fromtimestamp((middle - 1) / 1000, UTC).isoformat()
    early = make(as_of=moment, maturity_days=0)
    assert 0 < early["frauds"] < told["frauds"]
    found = trained.lake.read(TRAINING_SET.name).where("is_fraud").agg({"fraud_known_at_ms": "max"}).collect()
    assert found[0][0] < middle


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"as_of": "yesterday"}, "as_of 'yesterday' is no instant"),
        ({"as_of": "2026-01-01"}, "has no time zone"),
        ({"as_of": "2999-01-01T00:00:00Z"}, "lies in the future"),
        ({"as_recorded": 9_999}, "as_recorded 9999: features/training_set has versions 0 to"),
        ({"history": "nobody"}, "no payment of the history 'nobody' has a matured label"),
    ],
)
def test_what_cannot_be_used_is_named(make, config, said):
    assert said in make(**config)


def test_a_version_without_a_recipe_says_so(trained):
    trained.lake.overwrite(TRAINING_SET, trained.lake.read(TRAINING_SET.name))
    with pytest.raises(learning_rows.NotRecorded, match="does not say what it was made from"):
        learning_rows.recorded(trained.lake, trained.lake.version(TRAINING_SET.name))
