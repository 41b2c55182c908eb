"""An artefact brought by a process of its own, from the real MLflow on SQLite."""

import mlflow
import pytest

from learning.errors import RegistryError
from learning.fetching import fetch_apart
from learning.registry import EXPERIMENT, FOLDER


def test_an_artefact_comes_whole_or_with_the_reason_why_not(tracking: str, tmp_path_factory: pytest.TempPathFactory):
    kept = tmp_path_factory.mktemp("kept")
    (kept / "trees.json").write_bytes(b"\x00trees")
    client = mlflow.MlflowClient(tracking)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    client.log_artifacts(run.info.run_id, str(kept), FOLDER)
    fetched = fetch_apart(tracking, run.info.run_id, tmp_path_factory.mktemp("here"))
    assert {file.name: file.read_bytes() for file in fetched.iterdir()} == {"trees.json": b"\x00trees"}
    with pytest.raises(RegistryError, match="no-such-run"):
        fetch_apart(tracking, "no-such-run", tmp_path_factory.mktemp("nothing"))
