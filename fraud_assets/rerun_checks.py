"""A promise about decisions, as an asset check: each can be re-run. What that means lives in ``serving.rerun``."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import folding
from fraud_assets.declared import key_of, keys_of
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.registry import RegistryResource
from fraud_assets.resources import HomeResource
from fraud_assets.silver import BRONZE_DECISIONS, BRONZE_FOLDS
from pix.contracts import DAY_MS
from pix.offline.tables import BASE_STATES, DECISIONS_SILVER, PAYMENT_FEATURES, UNANSWERED

if TYPE_CHECKING:
    from serving.rerun_sample import SampleReport

SAMPLE = 60
SHOWN = 20
# serving.policy_archive.TABLE, whose module takes too long to load here.
POLICIES = "silver/policies"
READ = (DECISIONS_SILVER, BASE_STATES, UNANSWERED, BRONZE_DECISIONS, BRONZE_FOLDS, POLICIES)


@dg.asset_check(asset=key_of(PAYMENT_FEATURES.name), additional_deps=keys_of(*READ), blocking=True)
@told
def decisions_come_out_again(lake: LakeResource, registry: RegistryResource, home: HomeResource) -> dg.AssetCheckResult:
    """Sixty decisions of the 24 hours before the newest one, of each action and mode, re-run from lake and registry.

    Of each, the folds that were logged are folded again up to the numbers that it read; features, carried facts,
    score (by the model version on the record, its signature and SHA-256 verified), action (by the policy whose hash
    is on the record), hold and reasons are computed again and held against the record, bit for bit. No difference
    is allowed. Decisions for which something is not there any more are counted apart, with the reason; those that
    wait for a fold which reached bronze late are left out, and `every_decision_has_its_features` names them. One
    decision by hand: `sentinela decision ID --rerun`; how to walk from it to its sources: docs/audit.md.
    """
    if not lake.rows(DECISIONS_SILVER.name):
        return dg.AssetCheckResult(passed=True, description="nothing was decided yet")
    from serving.rerun_errors import RerunError

    try:
        report = _sample(lake, registry, home)
    except RerunError as away:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(away))
    return _verdict(report)


def _verdict(report: "SampleReport") -> dg.AssetCheckResult:
    found = report.described()
    sampled, different, not_compared = (found[name] for name in ("sampled", "different", "not_compared"))
    return dg.AssetCheckResult(
        passed=found["equal"] == sampled,
        severity=dg.AssetCheckSeverity.ERROR if different else dg.AssetCheckSeverity.WARN,
        description=f"{different} of {sampled} decisions differ, {not_compared} could not be compared as a whole",
        metadata=_metadata(report, found),
    )


def _sample(lake: LakeResource, registry: RegistryResource, home: HomeResource) -> "SampleReport":
    import numpy as np

    from serving.rerun import Rerunner
    from serving.rerun_lake import Evidence
    from serving.rerun_sample import rerun_sample

    (row,) = lake.ask(DECISIONS_SILVER.name, "select max(decided_at_ms) as newest_ms from asked")
    newest_ms: int = row["newest_ms"]
    rerunner = Rerunner(Evidence(lake.root), registry.past_models(), home.keyring())
    draw, waits = np.random.default_rng(newest_ms), folding.waiting(lake, folding.newest_run(lake))
    waiting = {(tenant, end_to_end_id) for tenant, end_to_end_id, is_read in waits if is_read}
    return rerun_sample(rerunner, SAMPLE, draw, since_ms=newest_ms - DAY_MS, waiting=waiting)


def _metadata(report: "SampleReport", found: dict[str, Any]) -> dict[str, Any]:
    counts = ("sampled", "equal", "different", "not_compared", "strata", "by_name", "lake_versions")
    examples = [f"{one.end_to_end_id} {difference}" for one in report.different for difference in one.differences[:3]]
    return {
        **{name: found[name] for name in counts},
        "examples": examples[:SHOWN],
        "away": sorted({one.away or "" for one in report.not_compared})[:SHOWN],
    }
