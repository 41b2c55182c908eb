"""One settings file for each environment: what it says, and what has more authority."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pix import environments
from pix.environments import FOLDER, BadEnvironment
from pix.settings import Settings
from sentinela import configuration
from sentinela.errors import BadUse
from sentinela.runtime.home import Home, write_runtime

CLI = [sys.executable, "-c", "from sentinela.cli import main; main()"]
VARIABLES = {
    "PIX_KAFKA": "broker:9093",
    "PIX_KAFKA_USER": "sentinela",
    "PIX_KAFKA_PASSWORD": "not-to-be-kept",
    "PIX_STORE": "redis://valkey:6379/0",
    "PIX_LAKE": "s3a://lake/pix",
    "PIX_MLFLOW": "http://mlflow:5000",
    "PIX_SERVICE": "http://sentinela:3000",
    "PIX_SPARK": "spark://spark:7077",
}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting by variable but the home."""
    for name in os.environ:
        if name.startswith(("SENTINELA_", "PIX_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SENTINELA_HOME", str(tmp_path / "home"))


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_every_environment_has_a_file_that_settings_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    found = {path.stem: Settings(environment=path.stem) for path in FOLDER.glob("*.yaml")}
    assert found.keys() == {"local", "staging", "production"}
    assert found["local"].offers_test_accounts
    for name in ("staging", "production"):
        told = found[name]
        elsewhere = (told.kafka_bootstrap, told.store_url, told.lake_root, told.mlflow_uri, told.serving_url)
        assert elsewhere == tuple(VARIABLES[f"PIX_{part}"] for part in ("KAFKA", "STORE", "LAKE", "MLFLOW", "SERVICE"))
        assert told.kafka["sasl.password"] == "not-to-be-kept"
        assert told.tls_in_front
        assert not told.offers_test_accounts
        assert told.kafka_replication == 3
    assert found["production"].scoring_instances <= found["production"].kafka_partitions


def test_the_local_file_says_what_settings_say_without_one(tmp_path: Path) -> None:
    nothing = Settings(environment=written(tmp_path, ""))
    assert Settings().model_dump(exclude={"environment"}) == nothing.model_dump(exclude={"environment"})


def test_authority_arguments_variables_the_record_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "\n".join(f"{name}: of-the-file" for name in ("model_name", "mlflow_uri", "spark_memory", "store_url"))
    chosen = written(tmp_path, text)
    monkeypatch.setenv("SENTINELA_ENVIRONMENT", chosen)
    home = Home(tmp_path / "home")
    home.root.mkdir()
    write_runtime(home, settings={"mlflow_uri": "of-the-record", "spark_memory": "of-the-record"})
    monkeypatch.setenv("SENTINELA_SPARK_MEMORY", "of-the-variable")
    told = Settings(model_name="of-the-argument")
    assert (told.model_name, told.spark_memory) == ("of-the-argument", "of-the-variable")
    assert (told.mlflow_uri, told.store_url) == ("of-the-record", "of-the-file")


def test_up_takes_the_file_and_leaves_its_secrets_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "kafka_bootstrap: b:1\nmlflow_port: 5999\nstore_url: redis://:${PIX_STORE}@h/0\nspark_master: local[1]\n"
    chosen = written(tmp_path, text)
    monkeypatch.setenv("PIX_STORE", "not-to-be-kept")
    monkeypatch.setenv("SENTINELA_ENVIRONMENT", chosen)
    monkeypatch.setenv("SENTINELA_SPARK_MASTER", "local[3]")
    settings, home, configured = configuration.for_start()
    assert (settings.kafka_bootstrap, settings.spark_master) == ("b:1", "local[3]")
    assert settings.store_url == "redis://:not-to-be-kept@h/0"
    # A port in the file is meant: `up` takes no other one.
    assert {"mlflow_port", "spark_master"} <= configured
    recorded = configuration.to_record(settings)
    assert "not-to-be-kept" not in json.dumps(recorded)
    assert recorded["environment"] == chosen
    home.root.mkdir()
    write_runtime(home, settings=recorded)
    monkeypatch.delenv("SENTINELA_ENVIRONMENT")
    later, _ = configuration.current()
    assert (later.kafka_bootstrap, later.mlflow_port, later.spark_master) == ("b:1", 5999, "local[3]")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kafka_bootstrp: b:1", r"mine\.yaml: there is no setting 'kafka_bootstrp'; did you mean kafka_bootstrap\?"),
        ("home: /elsewhere", "there is no setting 'home'"),
        ("- a\n- b", "holds a list; write settings as `name: value` lines"),
        ("a: [", "is not YAML"),
        (
            "kafka_config: {sasl.password: '${PIX_KAFKA_PASSWORD}'}",
            r"mine\.yaml: kafka_config\.sasl\.password needs the variable PIX_KAFKA_PASSWORD, which is not set; "
            "set it, write the value into the file, or set SENTINELA_KAFKA_CONFIG",
        ),
        ("store_replicas: -1", "setting store_replicas=-1: .*greater than or equal to 0"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, sentence: str
) -> None:
    monkeypatch.setenv("SENTINELA_ENVIRONMENT", written(tmp_path, text))
    with pytest.raises(BadUse, match=sentence):
        configuration.for_start()
    with pytest.raises(BadUse, match=sentence):
        configuration.current()


def test_a_variable_is_not_needed_where_something_else_sets_the_field(tmp_path: Path) -> None:
    chosen = written(tmp_path, "store_url: ${PIX_STORE}\nmodel_name: m")
    found = environments.read(chosen, known={"store_url", "model_name"}, given={"store_url"}, variables={})
    assert found == {"model_name": "m"}
    with pytest.raises(BadEnvironment, match="PIX_STORE"):
        environments.read(chosen, known={"store_url", "model_name"}, given=(), variables={})


def test_production_does_not_start_by_half() -> None:
    done = subprocess.run(
        [*CLI, "up"],
        env={**os.environ, "SENTINELA_ENVIRONMENT": "production"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "kafka_bootstrap needs the variable PIX_KAFKA" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_without_a_file_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINELA_ENVIRONMENT", "prod")
    with pytest.raises(BadUse, match="one of local, production, staging, or a .yaml file"):
        configuration.current()
