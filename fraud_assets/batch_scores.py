"""Past payments scored by any model version, for comparing versions and for looking again at what was let go."""

import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.daily import daily_asset, picked_days, require_sources
from fraud_assets.declared import ARROW_KINDS, key_of, keys_of
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.model_days import STOPPED
from fraud_assets.models import CHAMPION
from fraud_assets.registry import RegistryResource
from fraud_assets.resources import HomeResource
from pix.clock import epoch_ms
from pix.contracts import LIVE_HISTORY
from pix.features import FINGERPRINT
from pix.offline.days import listed
from pix.offline.names import usable
from pix.offline.tables import BATCH_SCORES, DECISIONS_GOLD, PAYMENT_FEATURES, PAYMENTS_SILVER

if TYPE_CHECKING:
    from fraud_assets.batch_rows import Scorer, Told

ARGUMENTS = {**daily_asset(BATCH_SCORES), "kinds": set(ARROW_KINDS)}
NOT_DECIDED = "imported, not decided here"


class OtherFeatures(Exception):
    """A version takes features that this build does not compute."""


class NoDays(Exception):
    """Nobody said which days to score."""


class BatchScoresConfig(dg.Config):
    """Which version scores, and whose payments.

    Attributes:
        model_version: Any registered version, also one that was refused or taken out of service; empty is the champion.
        history: ``live``, or the name of an import.
    """

    model_version: str = ""
    history: str = LIVE_HISTORY


@dg.asset(**ARGUMENTS, deps=keys_of(PAYMENT_FEATURES, PAYMENTS_SILVER, DECISIONS_GOLD, CHAMPION))
@told
def batch_scores(
    context: dg.AssetExecutionContext,
    config: BatchScoresConfig,
    lake: LakeResource,
    home: HomeResource,
    registry: RegistryResource,
) -> dg.MaterializeResult[Any]:
    """One past payment as one model version scores it, beside what was decided then.

    Pick days, and name a `model_version` in the launchpad; without one the champion scores. A score has the same bits
    as in service. Days that this version scored before get the same rows again; other versions' rows stay beside them.
    """
    from fraud_assets.batch_rows import Told, score_day

    days, scorer, found, began = _days(context), scorer_of(config, home, registry), Told(), time.monotonic()
    for day in days:
        before = found.rows
        score_day(lake, day, scorer, found)
        context.log.info("%s: %d payments scored by version %s", day, found.rows - before, scorer.ref.version)
    speed = round(found.rows / (time.monotonic() - began))
    _count_days(context, lake, days)
    speeds: dict[str, Any] = {"rows_scored": found.rows, "rows_per_second": speed}
    return lake.unchanged(BATCH_SCORES).result(**speeds, **described(scorer, found))


def _days(context: dg.AssetExecutionContext) -> list[date]:
    """The days that were picked.

    Raises:
        NoDays: None were.
        fraud_assets.daily.DaysExpired: Vectors of some are past their term.
    """
    days = picked_days(context)
    if days is None:
        raise NoDays(f"{BATCH_SCORES.name} follows no news: materialise it for the days that shall be scored")
    require_sources(BATCH_SCORES, [PAYMENT_FEATURES.name], days, now_ms=epoch_ms())
    return days


def _count_days(context: dg.AssetExecutionContext, lake: LakeResource, days: list[date]) -> None:
    """Say of each day's partition how many rows it has, of all versions."""
    query = f"select event_day as day, count(*) as n from asked where event_day in ({listed(days)}) group by 1"  # noqa: S608
    rows = {row["day"]: row["n"] for row in lake.ask(BATCH_SCORES.name, query)}
    for day in days:
        told_of_day = {"dagster/partition_row_count": rows.get(day, 0)}
        context.add_asset_metadata(told_of_day, asset_key=key_of(BATCH_SCORES.name), partition_key=day.isoformat())


def scorer_of(config: BatchScoresConfig, home: HomeResource, registry: RegistryResource) -> "Scorer":
    """The version that shall score, loaded, and the policy in use.

    Raises:
        learning.errors.UnknownVersion: There is no such version.
        learning.errors.ArtefactRefused: Its files are not what was registered and signed, or cannot be read.
        OtherFeatures: It takes features that this build does not compute.
    """
    from fraud_assets.batch_rows import Scorer
    from learning.ensemble import FeatureMismatch, load_registered
    from serving.policy import load_policy

    history, found = usable(config.history), registry.version(config.model_version)
    ref = found.ref
    try:
        ensemble = load_registered(found)
    except FeatureMismatch as other:
        raise OtherFeatures(
            f"{ref.name} version {ref.version} was trained on features {ref.fingerprint}, the vectors of "
            f"{PAYMENT_FEATURES.name} are of {FINGERPRINT}: {other}. Score with a version trained since, or by the "
            "build that the version was made with"
        ) from other
    return Scorer(ref, ensemble, load_policy(Path(home.policy)), history)


def described(scorer: "Scorer", found: "Told") -> dict[str, Any]:
    """What the asset's page says of days that were scored."""
    ref, notes = scorer.ref, list[str]()
    if ref.fingerprint != FINGERPRINT:
        notes.append(
            f"version {ref.version} was trained on features {ref.fingerprint}, the vectors are of {FINGERPRINT}; each "
            "of its inputs still means the same"
        )
    if found.empty:
        days = ", ".join(map(str, found.empty))
        notes.append(f"no payment of the history {scorer.history!r} has a vector on {days}: nothing to score there")
    if found.aside:
        many = f"{found.aside.total():,} vectors of {', '.join(sorted(found.aside))}"
        notes.append(f"{many} were left out: features_job folds them again by this build's declarations")
    decided = {pair: many for pair, many in found.actions.items() if pair[0] is not None}
    return {
        "model_version": ref.version,
        "model_sha256": ref.sha256,
        "history": scorer.history,
        "policy_version": scorer.policy.version,
        "decided_payments": sum(decided.values()),
        "were_stopped": sum(many for (then, _), many in decided.items() if then in STOPPED),
        "thresholds_would_stop": sum(many for (_, now), many in decided.items() if now in STOPPED),
        "let_go_and_would_be_stopped": sum(
            many for (then, now), many in decided.items() if then not in STOPPED and now in STOPPED
        ),
        "by_action": dg.MetadataValue.md(_table(found)),
        "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in notes) or "none"),
    }


def _table(found: "Told") -> str:
    """Payments by what was decided, and by what thresholds ask for at the new probability."""
    from serving.policy import ACTIONS

    lines = [f"| decided then | {' | '.join(f'thresholds: {name}' for name in ACTIONS)} |", "|---|--:|--:|--:|--:|"]
    for then in (*ACTIONS, None):
        cells = [found.actions[then, now] for now in ACTIONS]
        if any(cells):
            lines.append(f"| {then or NOT_DECIDED} | {' | '.join(f'{many:,}' for many in cells)} |")
    return "\n".join(lines)
