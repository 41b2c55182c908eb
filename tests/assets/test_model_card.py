"""The card of the shared home's champion, on the asset's page and in MLflow."""


def test_the_card_stands_on_the_asset_and_on_the_version_in_mlflow(trained):
    from mlflow import MlflowClient

    result = trained.run("model/card", job="retrain_job")
    assert result.success, trained.told(result)
    told = trained.newest("model/card")
    client = MlflowClient(trained.settings.mlflow)
    version = client.get_model_version("pix_fraud", told["champion_version"])
    assert version.description == told["champion"]
    assert told["champion"].startswith(f"# pix_fraud version {version.version}\n\n**Serves as champion.**")
    assert "| Region of the payer |" in told["champion"]
    assert "model_card.md" in {each.path for each in client.list_artifacts(version.run_id)}
