"""Model cards as an asset; what stands on one is ``learning.card_page``'s."""

from typing import Any

import dagster as dg

from fraud_assets.declared import keys_of, named
from fraud_assets.failures import told
from fraud_assets.models import CHALLENGER, CHAMPION
from fraud_assets.registry import RegistryResource

CARD = "model/card"


@dg.asset(**named(CARD, frozenset({"mlflow"}), pii="none"), deps=keys_of(CHALLENGER, CHAMPION))
@told
def card(registry: RegistryResource) -> dg.MaterializeResult[Any]:
    """What a version was made from, what it can do and for whom it errs, how it came to serve, where its limits are.

    Written for the champion and the challenger each time one of them may have changed; in MLflow the card is the
    version's description, and a file of its run.
    """
    from learning.errors import ArtefactRefused
    from learning.registry import CHALLENGER as NEWEST
    from learning.registry import CHAMPION as SERVING

    metadata: dict[str, Any] = {}
    for alias in (SERVING, NEWEST):
        try:
            written = registry.publish_card(alias)
        except ArtefactRefused as refused:
            metadata[alias] = f"no card: {refused}"
            continue
        if written is not None:
            metadata[f"{alias}_version"] = written[0]
            metadata[alias] = dg.MetadataValue.md(written[1])
    return dg.MaterializeResult(metadata=metadata)
