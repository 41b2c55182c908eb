"""What people and auditors do with versions: approve one that was proposed, and make a recorded one again."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets import learning_rows
from fraud_assets.declared import key_of, keys_of, named
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.models import CHAMPION, MODEL_KINDS
from fraud_assets.registry import RegistryResource
from pix.offline.tables import TRAINING_SET

if TYPE_CHECKING:
    import pandas as pd

    from fraud_assets.registry import Recorded

APPROVAL, REPRODUCTION = "model/approval", "model/reproduction"
SAME_MODEL = "retraining_gives_the_same_model"


class ApprovalConfig(dg.Config):
    """Which version, who says so, and what that person has to say."""

    version: str
    person: str
    note: str = ""


class ReproductionConfig(dg.Config):
    """Which version; empty is the champion."""

    model_version: str = ""


@dg.asset(**named(APPROVAL, frozenset({"mlflow"}), pii="none"), deps=keys_of(CHAMPION))
@told
def approval(config: ApprovalConfig, registry: RegistryResource) -> dg.MaterializeResult[Any]:
    """A person's word that a proposed challenger may serve; the service takes it over within a second.

    Where the environment asks for approval, `model/champion` only proposes. Read the reasons on its page, then
    Materialize this asset: the launchpad asks for `version`, `person` and, if you like, `note`. They stand on the
    version in MLflow. Refused is a version that is not proposed, a proposal that is older than the newest challenger
    or champion, and files that this home's key has not signed or that do not load.
    """
    moved = registry.approve(config.version, by=config.person, note=config.note, now=datetime.now(UTC))
    names = {"model_version": moved.after, "replaced": moved.before}
    return dg.MaterializeResult(metadata={**names, "person": config.person, "note": config.note})


@dg.asset(
    **named(REPRODUCTION, MODEL_KINDS, pii="none"),
    deps=keys_of(CHAMPION, TRAINING_SET),
    check_specs=[dg.AssetCheckSpec(SAME_MODEL, asset=key_of(REPRODUCTION))],
)
@told
def reproduction(
    context: dg.AssetExecutionContext, config: ReproductionConfig, lake: LakeResource, registry: RegistryResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows it as a result with checks only so
    """A recorded version, fit again from its record alone: same rows, same recipe, same predictions to the bit.

    The rows are those of the training set's recorded Delta version, and must have the recorded digest. The check
    is red if any raw score on any of these rows differs. CatBoost writes a new identity and the time into its files,
    so these differ in bytes; `differing` names them.
    """
    from learning.reproduction import reproduce

    recorded = registry.recorded(config.model_version)
    found = reproduce(recorded.found, _rows_of(recorded, lake), say=context.log.info)
    described: dict[str, Any] = {
        "model_version": recorded.found.ref.version,
        "identical": found.identical,
        "unequal": found.unequal,
        "greatest_difference": found.greatest_difference,
        "rows": found.rows,
        "files": found.files,
        "differing": list(found.differing),
        "git_commit": recorded.git_commit,
    }
    most = found.greatest_difference
    check = dg.AssetCheckResult(
        check_name=SAME_MODEL,
        passed=found.identical,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.unequal:,} raw scores of {found.rows:,} rows differ, by {most:g} at most",
    )
    return dg.MaterializeResult(metadata=described, check_results=[check])


def _rows_of(recorded: "Recorded", lake: LakeResource) -> "pd.DataFrame":
    """The rows that a version was made from.

    Raises:
        NotReproducible: Its record does not name them, or they are not what they were.
    """
    from learning.errors import NotReproducible

    version, name = recorded.found.ref.version, TRAINING_SET.name
    if name not in recorded.tables or name not in recorded.digests or not recorded.history:
        raise NotReproducible(f"version {version} does not say which rows of {name} it was made from; train again")
    read = learning_rows.read(lake, recorded.history, version=recorded.tables[name])
    own = next(each for each in read.datasets if each.name == name)
    if own.digest != recorded.digests[name]:
        raise NotReproducible(
            f"version {own.version} of {name} has the digest {own.digest}, model version {version} was made from "
            f"{recorded.digests[name]}: the rows were changed since"
        )
    return read.frame
