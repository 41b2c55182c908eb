"""What becomes of a decision, and which proof of the features counts: no Spark, no model's files."""

from datetime import UTC, datetime

import dagster as dg
import mlflow
import pytest

from fraud_assets.declared import key_of
from fraud_assets.feature_checks import newest_parity
from fraud_assets.models import told_of
from fraud_assets.registry import Judged, RegistryResource
from learning.errors import NotPromoted
from learning.promotion import Decision, Evidence
from learning.succession import NOBODY, Succession
from pix.features import FINGERPRINT
from pix.offline.tables import PAYMENT_FEATURES
from pix.settings import Settings

NOW = datetime(2026, 11, 23, 1, tzinfo=UTC)


class Registered:
    """Three versions, of which the first serves."""

    def __init__(self, uri, name, home):
        client = mlflow.MlflowClient(uri)
        client.create_registered_model(name)
        for _ in range(3):
            run, tags = client.create_run("0").info.run_id, {"sha256": "0" * 64, "fingerprint": "f" * 16}
            made = client.create_model_version(name, source="file:///nowhere", run_id=run, tags=tags)
            client.set_registered_model_alias(name, "challenger", made.version)
        self.resource = RegistryResource.of(Settings(home=home, mlflow_uri=uri, model_name=name))
        self.succession = Succession(uri, name)
        self.succession.promote("1", ["first"], over=NOBODY, now=NOW)

    def settled(self, version, promote, mode, over="1"):
        judged = Judged(
            Evidence(version=over, fingerprint="f"), Evidence(version=version, fingerprint="f"),
            Decision(promote, ("why", "and why")),
        )  # fmt: skip
        outcome = self.resource.settle(judged, mode, now=NOW)
        return outcome, told_of(judged, outcome, mode)

    def tags(self, version):
        return self.succession.versions()[version].tags


@pytest.fixture
def registered(tracking, tmp_path, request):
    return Registered(tracking, f"settled-{abs(hash(request.node.name))}", tmp_path)


def test_what_passes_serves_at_once_or_waits_as_the_mode_says(registered):
    assert registered.resource.mode == "automatic", "as the local environment says"
    outcome, told = registered.settled("3", True, "approval")
    assert (outcome, told["promoted"], told["model_version"]) == ("proposed", False, "1")
    assert told["reasons"].value == "- why\n- and why"
    assert registered.succession.serving() == "1"
    assert registered.succession.require_proposed("3") == "1"

    outcome, told = registered.settled("3", True, "automatic")
    assert (outcome, told["promoted"], told["model_version"]) == ("promoted", True, "3")
    assert registered.succession.serving() == "3"
    assert registered.tags("3")["promotion_reasons"] == "why\nand why"


def test_what_is_refused_says_why_and_is_proposed_no_more(registered):
    registered.settled("3", True, "approval")
    outcome, told = registered.settled("3", False, "automatic")
    assert (outcome, told["promoted"], told["model_version"]) == ("refused", False, "1")
    assert registered.tags("3")["promotion_refusals"] == "why\nand why"
    assert registered.succession.serving() == "1"
    with pytest.raises(NotPromoted, match="is not proposed"):
        registered.succession.require_proposed("3")


def test_the_champion_itself_is_neither_refused_nor_promoted_again(registered):
    for promote in (True, False):
        assert registered.settled("1", promote, "automatic")[0] == "serves already"
    assert "promotion_refusals" not in registered.tags("1")
    assert registered.tags("1")["promotion_reasons"] == "first"


def test_a_champion_that_changed_meanwhile_is_not_replaced(registered):
    registered.succession.promote("2", ["meanwhile"], over="1", now=NOW)
    with pytest.raises(NotPromoted, match="judged over 1, but 2 serves by now"):
        registered.settled("3", True, "automatic")
    assert registered.succession.serving() == "2"


def proof(instance, mismatches, fingerprint=FINGERPRINT):
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key_of(PAYMENT_FEATURES.name),
            check_name="online_equals_offline",
            passed=not mismatches,
            metadata={
                "compared": dg.MetadataValue.int(9),
                "mismatches": dg.MetadataValue.int(mismatches),
                "fingerprint": dg.MetadataValue.text(fingerprint),
            },
        )
    )


def test_the_newest_proof_of_the_features_that_are_declared_counts():
    with dg.DagsterInstance.ephemeral() as instance:
        assert newest_parity(instance) is None
        for mismatches in (2, 0, 1):
            proof(instance, mismatches)
            found = newest_parity(instance)
            assert (found.compared, found.mismatches) == (9, mismatches)
        proof(instance, 0, fingerprint="0" * 16)
        assert newest_parity(instance) is None


def test_the_environment_says_who_has_the_last_word(tmp_path, monkeypatch):
    for name in ("KAFKA", "KAFKA_USER", "KAFKA_PASSWORD", "STORE", "LAKE", "MLFLOW", "SERVICE", "SPARK"):
        monkeypatch.setenv(f"PIX_{name}", "somewhere")
    modes = {
        name: RegistryResource.of(Settings(home=tmp_path, environment=name)).mode
        for name in ("local", "staging", "production")
    }
    assert modes == {"local": "automatic", "staging": "automatic", "production": "approval"}
