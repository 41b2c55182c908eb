"""From files in MLflow to a decision: what is wrong with a challenger is told, and nothing is raised."""

import dataclasses
import itertools
import shutil
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pytest

from learning import registering, registry
from learning.errors import ArtefactRefused, RegistryError
from learning.evidence import Contents, gather, look_into
from learning.promotion import Gates, Parity, Refused, decide
from learning.recipe import TrainingConfig
from learning.signing import PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, ensure_signing_keys
from learning.training import fit

NOW = datetime(2026, 11, 23, 1, tzinfo=UTC)
FINGERPRINT = "f" * 16
SMALL = TrainingConfig(iterations=30, depth=4, learning_rate=0.2)
LATER = dataclasses.replace(SMALL, test_share=0.2)
LAX = Gates(margin=0.5, calibration_error=9.0, microseconds=1e9)
PROVED = Parity(10, 0, "2026-11-23T01:00")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    ensure_signing_keys(folder)
    return folder


@pytest.fixture(scope="module")
def models(training_frame, feature_names):
    return [fit(training_frame(), feature_names, config) for config in (SMALL, LATER)]


class House:
    """Two registered versions, the first one the champion; looks into them as promotion does."""

    def __init__(self, uri, name, keys, folder, models):
        self.uri, self.name, self.keys, self.folder = uri, name, keys, folder
        self.refs = [self.registered(model) for model in models]

    def registered(self, model, keys=None):
        made = registering.register(
            model, uri=self.uri, model_name=self.name, private_key=(keys or self.keys) / PRIVATE_KEY_FILE,
            fingerprint=FINGERPRINT, datasets=[], now=NOW,
        )  # fmt: skip
        return registry.version_of(self.uri, self.name, made.version)

    def files(self, ref):
        """Where MLflow keeps a version's artefact."""
        run = mlflow.MlflowClient(self.uri).get_run(ref.run_id)
        return Path(urlsplit(run.info.artifact_uri).path) / registry.FOLDER

    def look(self, ref, **more):
        place = {"public_key": self.keys / PUBLIC_KEY_FILE}
        return look_into(ref, lambda: registry.download(self.uri, ref, self.folder / "models", **place), **more)

    def judged(self, frame, *, challenger=None, timer=lambda: 0, rules=LAX):
        theirs, ours = (self.look(ref) for ref in self.refs)
        rng = np.random.default_rng(1)
        both = gather(frame, challenger or ours, theirs, parity=PROVED, rng=rng, timer=timer)
        return *both, decide(*both, served_fingerprint=FINGERPRINT, rules=rules)


@pytest.fixture(scope="module")
def house(tracking, keys, models, tmp_path_factory):
    return House(tracking, "evidence", keys, tmp_path_factory.mktemp("house"), models)


@pytest.fixture
def spoilable(tracking, keys, models, tmp_path, request):
    """A house of the test's own, to break things in."""
    return House(tracking, f"evidence-{abs(hash(request.node.name))}", keys, tmp_path, models)


def refusals(decision):
    assert not decision.promote
    return [reason.partition(":")[0] for reason in decision.reasons]


def test_both_are_judged_on_rows_neither_has_seen_and_timed_alike(house, training_frame):
    ticks = itertools.count(step=1_000)
    theirs, ours, decision = house.judged(training_frame(), timer=lambda: next(ticks))
    assert decision.promote
    assert (theirs.version, ours.version) == ("1", "2")
    assert theirs.rows == ours.rows == 200
    assert ours.over_champion.point == pytest.approx(ours.average_precision - theirs.average_precision)
    # Calibration is compared on the same rows, not on the folds that each was judged on when it was trained.
    assert 0 < ours.error_here != ours.calibration_error
    assert 0 < theirs.error_here != theirs.calibration_error
    assert ours.calibration_error > 0
    assert ours.calibrated_on == house.look(house.refs[1]).contents.card.metrics["frauds"] > 10
    assert ours.latency.rows == theirs.latency.rows == 2_000
    assert ours.latency.p99_microseconds == 1
    assert (ours.parity, theirs.parity) == (PROVED, None)


def test_without_a_champion_nothing_is_compared(house, training_frame):
    alone = house.look(house.refs[1])
    nobody, ours = gather(training_frame(), alone, None, parity=PROVED, rng=np.random.default_rng(1))
    assert nobody is None
    assert ours.over_champion is None
    assert ours.average_precision is not None
    assert 0 < ours.latency.p50_microseconds <= ours.latency.p99_microseconds


def test_a_worse_challenger_is_refused(house, training_frame, feature_names):
    """It learnt from noise in the features' place."""
    frame = training_frame()
    spoilt = frame.copy()
    spoilt[list(feature_names)] = np.random.default_rng(1).normal(size=(len(spoilt), len(feature_names)))
    blind = house.look(house.registered(fit(spoilt, feature_names, LATER)))
    *_, decision = house.judged(frame, challenger=blind, rules=dataclasses.replace(LAX, margin=0.05))
    assert "champion" in refusals(decision)
    assert any(reason.startswith("champion: may be worse by more than 0.05") for reason in decision.reasons)


def test_a_slow_challenger_is_refused(house, training_frame):
    ticks = itertools.count(step=600_000)
    rules = dataclasses.replace(LAX, microseconds=500)
    *_, decision = house.judged(training_frame(), timer=lambda: next(ticks), rules=rules)
    assert refusals(decision) == ["latency"]
    assert "p99 600 µs" in decision.reasons[0]


def test_a_badly_calibrated_challenger_is_refused(house, training_frame):
    ours = house.look(house.refs[1])
    card = dataclasses.replace(ours.contents.card, metrics={**ours.contents.card.metrics, "calibration_error": 3.0})
    bad = dataclasses.replace(ours, contents=dataclasses.replace(ours.contents, card=card))
    rules = dataclasses.replace(LAX, calibration_error=0.25)
    *_, decision = house.judged(training_frame(), challenger=bad, rules=rules)
    assert refusals(decision) == ["calibration"]
    assert "3.000 of" in decision.reasons[0]


def unsigned(house, _):
    (house.files(house.refs[1]) / "model.sig").unlink()


def changed(house, _):
    path = house.files(house.refs[1]) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))


def signed_by_another(house, model):
    ensure_signing_keys(house.folder / "others")
    house.refs[1] = house.registered(model, keys=house.folder / "others")


def registered_for_other_features(house, _):
    house.refs[1] = dataclasses.replace(house.refs[1], fingerprint="0" * 16)


@pytest.mark.parametrize(
    ("spoil", "gate", "word"),
    [
        (unsigned, "artefact", "unsigned"),
        (changed, "artefact", "tampered"),
        (signed_by_another, "artefact", "wrong_key"),
        (registered_for_other_features, "features", "fingerprint"),
    ],
)
def test_a_challenger_that_must_not_be_read_is_refused_and_only_that_is_said(
    spoilable, models, training_frame, spoil, gate, word
):
    spoil(spoilable, models[1])
    theirs, ours, decision = spoilable.judged(training_frame())
    assert ours.refused.word == word
    assert refusals(decision) == [gate]
    assert ours.refused.sentence in decision.reasons[0]
    assert theirs.average_precision is not None, "the champion was judged all the same"
    assert ours.latency is None


def test_a_challenger_for_inputs_that_mean_something_else_is_refused(house, training_frame, monkeypatch):
    from pix.features import DECLARATION_HASHES

    name = house.look(house.refs[1]).contents.card.feature_names[0]
    monkeypatch.setitem(DECLARATION_HASHES, name, "0" * 16)
    _, ours, decision = house.judged(training_frame())
    assert ours.refused.word == "features"
    assert refusals(decision) == ["features"]
    assert f"other declarations stand behind {name}" in decision.reasons[0]


def test_a_champion_that_cannot_be_read_is_replaced(spoilable, training_frame):
    (spoilable.files(spoilable.refs[0]) / "model.sig").unlink()
    theirs, ours, decision = spoilable.judged(training_frame())
    assert theirs.refused.word == "unsigned"
    assert ours.over_champion is None
    assert decision.promote
    assert any("v1 cannot be loaded" in reason for reason in decision.reasons)


def test_what_was_rolled_back_is_told(house, training_frame):
    back = house.look(house.refs[1], rolled_back="at noon by Ana")
    *_, decision = house.judged(training_frame(), challenger=back)
    assert refusals(decision) == ["rolled back"]


def test_a_card_that_cannot_be_read_is_a_refusal_and_mlflow_away_is_none(spoilable):
    house = spoilable
    folder = house.folder / "models" / "2"
    assert isinstance(house.look(house.refs[1]).contents, Contents)

    def without_card():
        (folder / "model.json").write_text("{}")
        return registry.Downloaded(house.refs[1], folder)

    assert look_into(house.refs[1], without_card).contents.word == "malformed"

    def refused():
        raise ArtefactRefused("tampered", "2 was changed")

    assert look_into(house.refs[1], refused).contents == Refused("tampered", "2 was changed")

    shutil.rmtree(house.files(house.refs[1]))
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match="does not give the artefact"):
        house.look(house.refs[1])
