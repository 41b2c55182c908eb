"""The champion follows its alias; what is not signed, not whole or not ours never serves, and the old one stays."""

import pickle
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import traffic
from prometheus_client import CollectorRegistry, Counter
from published import Publisher, change_json, nothing, trained

from learning.ensemble import vector_of
from learning.errors import ArtefactRefused, RegistryError
from learning.registry import CHALLENGER, CHAMPION
from learning.signing import ensure_signing_keys
from pix.features import FEATURE_NAMES
from serving.champion import Models
from serving.outcomes import Done
from serving.records import parse_record


@pytest.fixture(scope="module")
def models():
    return trained(1), trained(2)


@pytest.fixture
def registry(tracking, tmp_path, request):
    return Publisher(tracking, tmp_path, f"pix_fraud-{abs(hash(request.node.name))}")


@pytest.fixture
def nobody():
    """Address where no MLflow answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}"


def some_vector(seed=3):
    return vector_of(np.random.default_rng(seed).normal(scale=1_000, size=len(FEATURE_NAMES)).tolist())


def flip_one_bit(name):
    def spoil(folder):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 4
        (folder / name).write_bytes(content)

    return spoil


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def other_declarations(manifest):
    for one in manifest["members"][0]["inputs"][:3]:
        one["declaration"] = "f" * 16


def test_the_alias_decides_and_scores_are_catboosts(registry, models):
    keeper, told = registry.keeper(lambda reason: pytest.fail(reason)), some_vector()
    assert keeper.refresh() is False
    assert keeper.current is None
    for model in models:
        version = registry.publish(model)
        assert keeper.refresh() is True
        assert keeper.refresh() is False
        assert (keeper.current.identity["version"], keeper.current.source) == (version, "registry")
        theirs = model.predict(told.tolist(), prediction_type="RawFormulaVal")
        assert keeper.current.raw_score(told) == float(theirs)
    registry.unpoint(CHAMPION)
    assert keeper.refresh() is False
    assert keeper.current.identity["version"] == "2"


@pytest.mark.parametrize(
    ("reason", "says", "how"),
    [
        ("unsigned", "has no model.sig", {"after_signing": lambda folder: (folder / "model.sig").unlink()}),
        ("tampered", "catboost.json is not what was signed", {"after_signing": flip_one_bit("catboost.json")}),
        ("tampered", "manifest.json is not", {"after_signing": flip_one_bit("manifest.json")}),
        (
            "tampered",
            "evaluation.cbm is not",
            {"after_signing": lambda folder: (folder / "evaluation.cbm").write_bytes(pickle.dumps(Bomb()))},
        ),
        ("wrong_key", "another key", {"keys": Path("others")}),
        ("sha256", "another signed artefact", {"sha256": "0" * 64}),
        ("fingerprint", "is registered for features", {"fingerprint": "0" * 16}),
        ("features", "other declarations", {"before_signing": change_json("manifest.json", other_declarations)}),
        (
            "malformed",
            "no manifest",
            {"before_signing": lambda folder: (folder / "manifest.json").write_bytes(pickle.dumps(Bomb()))},
        ),
        (
            "malformed",
            "holds no checks",
            {"before_signing": lambda folder: (folder / "catboost-checks.npz").write_bytes(pickle.dumps(Bomb()))},
        ),
        (
            "unequal",
            "where it was trained",
            {"before_signing": change_json("catboost.json", lambda trees: trees.update(scale_and_bias=[1, [0.5]]))},
        ),
    ],
)
def test_what_must_not_serve_never_does_and_the_old_one_stays(registry, models, tmp_path, reason, says, how):
    counter = Counter("sentinela_model_refused_total", "Refused", ["reason"], registry=CollectorRegistry())
    keeper = registry.keeper(lambda told: counter.labels(told).inc())
    registry.publish(models[0])
    keeper.refresh()
    before, score = keeper.current, keeper.current.raw_score(some_vector())
    if "keys" in how:
        how = {"keys": tmp_path / "others"}
        ensure_signing_keys(how["keys"])
    registry.publish(models[1], **how)
    with pytest.raises(ArtefactRefused, match=f"(?s){reason}.*{says}.*version 1 goes on serving"):
        keeper.refresh()
    assert keeper.current is before
    assert keeper.current.raw_score(some_vector()) == score
    assert counter.labels(reason)._value.get() == 1
    assert keeper.refresh() is False, "reported once"
    assert counter.labels(reason)._value.get() == 1
    again = registry.keeper(lambda _: None, uri="http://127.0.0.1:9")
    assert again.restore() is True
    assert again.current.identity["version"] == "1", "the last good one is what a restart takes"
    good = registry.publish(models[1], after_signing=nothing)
    assert keeper.refresh() is True
    assert keeper.current.identity["version"] == good


def test_a_restart_without_mlflow_serves_what_served_and_verifies_it_again(registry, models, nobody):
    first = registry.keeper(lambda reason: pytest.fail(reason))
    registry.publish(models[0])
    first.refresh()
    told = []
    second = registry.keeper(told.append, uri=nobody)
    assert second.restore() is True
    assert second.current.source == "cache"
    assert second.current.identity == first.current.identity
    assert second.current.raw_score(some_vector()) == first.current.raw_score(some_vector())
    with pytest.raises(RegistryError, match="does not answer"):
        second.refresh()
    assert second.current.identity == first.current.identity

    flip_one_bit("catboost.json")(registry.folder / "models" / "1")
    third = registry.keeper(told.append, uri=nobody)
    with pytest.raises(ArtefactRefused, match="tampered.*no model serves"):
        third.restore()
    assert (third.current, told) == (None, ["tampered"])
    back = registry.keeper(told.append)
    assert back.refresh() is True, "with MLflow it is fetched anew"
    (registry.folder / "models" / "champion.json").write_text('{"version": "../1"}')
    with pytest.raises(ArtefactRefused, match="malformed"):
        third.restore()


def test_the_registry_confirms_what_the_disk_gave(registry, models):
    registry.publish(models[0])
    registry.keeper(pytest.fail).refresh()
    keeper = registry.keeper(pytest.fail)
    keeper.restore()
    assert keeper.refresh() is False
    assert keeper.current.source == "registry"
    assert keeper.current.described()["members"] == ["catboost"]


def test_a_key_that_comes_late_is_used_when_it_is_there(registry, models):
    registry.publish(models[0])
    told, public = [], registry.keys / "model-signing-key.pub.pem"
    content = public.read_bytes()
    public.unlink()
    keeper = registry.keeper(told.append)
    with pytest.raises(ArtefactRefused, match="no_key"):
        keeper.refresh()
    public.write_bytes(content)
    assert keeper.refresh() is True


def test_the_challenger_is_held_beside_the_champion_and_only_if_it_is_another(registry, models):
    both = Models(lambda alias: registry.keeper(pytest.fail, alias=alias))
    first = registry.publish(models[0])
    registry.point(CHALLENGER, first)
    both.refresh(with_challenger=True)
    assert both.champion.identity["version"] == first
    assert both.challenger is None
    second = registry.publish(models[1], alias=CHALLENGER)
    both.refresh(with_challenger=False)
    assert both.challenger is None
    both.refresh(with_challenger=True)
    assert both.challenger.identity["version"] == second
    assert both.described()["challenger"]["version"] == second
    registry.point(CHAMPION, second)
    both.refresh(with_challenger=True)
    assert both.champion.identity["version"] == second
    assert both.challenger is None


def test_a_change_of_champion_under_load_mixes_no_answer(registry, models):
    """Every decision names the model that scored it, while the alias moves back and forth."""
    versions = {registry.publish(model): model for model in models}
    keeper = registry.keeper(pytest.fail)
    keeper.refresh()
    pipeline = traffic.pipeline(model=None)
    deciding = pipeline.__class__(
        store=pipeline.store, keyring=pipeline.keyring, champion=lambda: keeper.current, policy=pipeline.policy,
        now_ms=pipeline.now_ms, build="test",
    )  # fmt: skip
    swaps, stop = [], threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for version in versions:
                registry.point(CHAMPION, version)
                swaps.append(keeper.refresh())

    swapper = threading.Thread(target=swap)
    swapper.start()
    records = []
    try:
        while swapper.is_alive() and (sum(swaps) < 6 or len(records) < 300):
            message = traffic.message(len(records), amount_cents=100 + 7 * len(records))
            outcome = deciding.decide(message, traffic.arrival(traffic.NOW_MS))
            assert isinstance(outcome, Done)
            records.append(parse_record(outcome.record))
    finally:
        stop.set()
        swapper.join()
    assert sum(swaps) >= 6
    assert {record["model"]["version"] for record in records} == set(versions)
    for record in records[:: max(1, len(records) // 300)]:
        row = vector_of(record["features"]).tolist()
        theirs = versions[record["model"]["version"]].predict(row, prediction_type="RawFormulaVal", thread_count=1)
        assert record["raw_score"] == float(theirs)
