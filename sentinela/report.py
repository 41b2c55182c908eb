"""The closing table of the demo: what happened, in numbers that were counted."""

from collections.abc import Sequence
from typing import Any

from pix.settings import Settings
from sentinela.sender import Sent
from sentinela.verify import Verified, read_table

GOLD_COLUMNS = ("end_to_end_id", "action", "origin_kind", "received_at_ms", "decided_at_ms", "mode")
STOPPING = ("REVIEW", "BLOCK_AND_REVIEW", "BLOCK")
ACTIONS = ("ALLOW", *STOPPING)


def closing_table(
    settings: Settings, truth: Sequence[dict[str, Any]], rest: Sent, verified: Verified, seconds: float
) -> str:
    """The table.

    Args:
        settings: Where everything is.
        truth: What this run's payments truly were.
        rest: What this run's REST part came to.
        verified: Outcome of ``verify``.
        seconds: How long the demo took.
    """
    gold = read_table(settings.lake, "gold/decisions", GOLD_COLUMNS)
    of_run = gold[gold["end_to_end_id"].isin([row["end_to_end_id"] for row in truth])]
    rows = [
        ("payments decided, all runs", f"{len(gold):,}"),
        ("payments decided, this run", f"{len(of_run):,}"),
        *((f"  {action}", f"{(of_run['action'] == action).sum():,}") for action in ACTIONS),
        *_caught(of_run, truth),
        *_model(settings),
        *_latencies(of_run, rest),
        ("verify, all runs", verified.counts.line()),
        ("demo", f"{seconds:.0f} s"),
        *_addresses(settings),
        ("stop everything", "make down"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["", *(f"{name:<{width}}  {value}" for name, value in rows)])


def _caught(of_run: Any, truth: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    frauds = {row["end_to_end_id"] for row in truth if row["is_fraud"]}
    stopped = set(of_run.loc[of_run["action"].isin(STOPPING), "end_to_end_id"])
    return [
        ("frauds caught (held, blocked or in review)", f"{len(frauds & stopped)} of {len(frauds)}"),
        ("frauds missed", f"{len(frauds - stopped)}"),
        ("honest payments bothered", f"{len(stopped - frauds)}"),
    ]


def _model(settings: Settings) -> list[tuple[str, str]]:
    from learning.registry import download_champion
    from learning.signing import PUBLIC_KEY_FILE

    found = download_champion(
        settings.mlflow,
        settings.model_name,
        settings.root / "serving" / "models",
        public_key=settings.secrets / PUBLIC_KEY_FILE,
    )
    if found is None:
        return [("champion", "none")]
    metrics = found.card.metrics
    return [
        ("champion", f"{found.ref.name} version {found.ref.version}"),
        ("average precision, later days of the history", f"{metrics['average_precision']:.3f}"),
        ("  of a CatBoost on raw fields, same rows", f"{metrics['raw_fields_average_precision']:.3f}"),
        ("  base rate", f"{metrics['base_rate']:.4f}"),
    ]


def _latencies(of_run: Any, rest: Sent) -> list[tuple[str, str]]:
    import numpy as np

    through_kafka = of_run[of_run["origin_kind"] == "kafka"]
    taken = (through_kafka["decided_at_ms"] - through_kafka["received_at_ms"]).to_numpy()
    found = []
    if len(rest.latencies_ms):
        p50, p99 = np.percentile(rest.latencies_ms, [50, 99])
        found.append(("REST request to answer", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"))
    if len(taken):
        p50, p99 = np.percentile(taken, [50, 99])
        found.append(("in Kafka to decided", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"))
    return found


def _addresses(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("Dagster", settings.dagster),
        ("MLflow", settings.mlflow),
        ("decision service", f"{settings.service} (key in {settings.secrets / 'api-key'})"),
        ("Kafka", settings.bootstrap),
    ]
