"""`sentinela decision`: one decision as lake and registry tell it, and whether it comes out again.

Nothing needs to run: the lake is read by its files, a model from a copy on this machine or from the registry.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix.settings import Settings
from sentinela.errors import BadUse, NotRunning, SentinelaError
from sentinela.progress import Say

if TYPE_CHECKING:
    from serving.rerun import Rerunner
    from serving.rerun_lake import Evidence, Published
    from serving.rerun_sample import SampleReport

COPIES = Path("tmp") / "rerun" / "models"
"""Where versions that decided are brought to, in the home."""


@dataclass(frozen=True, slots=True)
class Described:
    """One decision.

    Attributes:
        document: Everything, as JSON takes it.
        exit_code: 0, or 1 where it does not come out again, or 3 where something is not there to compare with.
    """

    document: dict[str, Any]
    exit_code: int


def described(settings: Settings, end_to_end_id: str, tenant: str, *, rerun: bool, fresh: bool) -> Described:
    """What is known of one decision.

    Args:
        settings: Where everything is.
        end_to_end_id: The payment's id.
        tenant: Its tenant.
        rerun: Recompute it, too.
        fresh: Take the model from the registry even if a copy is here.

    Raises:
        BadUse: There is no such decision in the lake.
        NotRunning: The lake, or a part of it, is not there.
        SentinelaError: What is in bronze is no decision record.
    """
    from serving.rerun_errors import BrokenRecord, RerunError
    from serving.rerun_lake import Evidence

    evidence = Evidence(settings.lake)
    try:
        records = _of_tenant(evidence.published([end_to_end_id]).get(end_to_end_id, []), tenant)
        if not records:
            raise BadUse(
                f"no decision on {end_to_end_id} of tenant {tenant} is in the lake; one of a moment ago comes there "
                "within seconds if the streams run (`sentinela status`), other tenants are named with --tenant"
            )
        document = _document(evidence, records)
        again = next(_rerunner(settings, evidence, fresh=fresh).rerun([records[0][1]])) if rerun else None
    except BrokenRecord as broken:
        raise SentinelaError(str(broken)) from broken
    except RerunError as away:
        raise NotRunning(str(away)) from away
    document["lake_versions"] = evidence.versions
    document["rerun"] = again.described() if again else None
    return Described(document, 0 if again is None or again.is_equal else 1 if again.differences else 3)


def sampled(settings: Settings, count: int, seed: int, *, fresh: bool, say: Say) -> "SampleReport":
    """Many decisions re-run.

    Args:
        settings: Where everything is.
        count: How many.
        seed: Chooses them.
        fresh: Take the models from the registry even if copies are here.
        say: Told of the progress.

    Raises:
        NotRunning: The lake, or a part of it, is not there.
    """
    import numpy as np

    from serving.rerun_errors import RerunError
    from serving.rerun_lake import Evidence
    from serving.rerun_sample import rerun_sample

    rerunner = _rerunner(settings, Evidence(settings.lake), fresh=fresh)
    try:
        return rerun_sample(rerunner, count, np.random.default_rng(seed), say=say)
    except RerunError as away:
        raise NotRunning(str(away)) from away


def _rerunner(settings: Settings, evidence: "Evidence", *, fresh: bool) -> "Rerunner":
    from learning.registry import MLFLOW_ENVIRONMENT
    from learning.signing import PUBLIC_KEY_FILE
    from pix.tokens import MissingKeys, load_keyring
    from serving.rerun import Rerunner
    from serving.rerun_models import PastModels

    # MLflow reads them when it is first imported; else a server that is gone is waited for for minutes.
    os.environ.update(MLFLOW_ENVIRONMENT)
    try:
        keyring = load_keyring(settings.secrets)
    except MissingKeys:
        keyring = None
    models = PastModels(
        uri=settings.mlflow,
        public_key=settings.secrets / PUBLIC_KEY_FILE,
        downloads=settings.root / COPIES,
        copies=(settings.root / "serving" / "models",),
        fresh=fresh,
    )
    return Rerunner(evidence, models, keyring)


Found = list[tuple["Published", dict[str, Any]]]


def _of_tenant(published: Sequence["Published"], tenant: str) -> Found:
    read = [(record, record.content()) for record in published]
    return [(record, content) for record, content in read if content["tenant"] == tenant]


def _document(evidence: "Evidence", records: Found) -> dict[str, Any]:
    from pix.features import FEATURES

    first, record = records[0]
    declared = {feature.name: feature for feature in FEATURES}
    names = [feature.name for feature in FEATURES]
    # Of another build's features only their places are known here.
    is_ours = len(record["features"]) == len(names)
    features = [
        {
            "name": name,
            "group": declared[name].group if is_ours else "unknown",
            "unit": declared[name].unit if is_ours else "",
            "value": value,
        }
        for name, value in zip(
            names if is_ours else [f"place_{place}" for place in range(len(record["features"]))],
            record["features"],
            strict=True,
        )
    ]
    superseded = [_place(place, content) for place, content in records[1:] if place.value != first.value]
    return {
        **{name: value for name, value in record.items() if name != "features"},
        "features": features,
        "published": _place(first, record),
        "copies": len(records) - 1 - len(superseded),
        "superseded": superseded,
        "labels": evidence.labels(record["tenant"], record["end_to_end_id"]),
    }


def _place(place: "Published", record: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: getattr(place, name) for name in ("topic", "partition", "offset", "timestamp_ms", "ingested_at_ms")},
        **{name: record[name] for name in ("action", "mode", "decided_at")},
    }
