"""What a policy's thresholds alone ask for, of many past payments: what other probabilities would have changed."""

from typing import TYPE_CHECKING

import numpy as np

from learning.ranking import Floats
from serving.policy import ACTIONS, Policy
from serving.rules_only import segments

if TYPE_CHECKING:
    import pandas as pd


def least_threshold(policy: Policy) -> float:
    """Probability below which thresholds ask for nothing, whatever segment a payment belongs to."""
    return min(triple[0] for triple in _triples(policy))


def read_by_segments(policy: Policy) -> tuple[list[str], list[str]]:
    """Features, and facts of the payment, that say to which segment it belongs."""
    conditions = [segment.condition for segment in policy.segments]
    features = {name for condition in conditions for name, _ in condition.features}
    return sorted(features), sorted({name for condition in conditions for name in condition.fields})


def threshold_actions(policy: Policy, probabilities: Floats, rows: "pd.DataFrame") -> list[str]:
    """Action that the thresholds of each payment's segment ask for.

    Args:
        policy: Whose thresholds.
        probabilities: Of fraud.
        rows: The same payments: what ``read_by_segments`` names, features by their names, facts as ``raw_...``.
    """
    limits = np.array(_triples(policy))[segments(policy, rows)]
    asked = (probabilities[:, None] >= limits).sum(axis=1)
    return [ACTIONS[severity] for severity in asked.tolist()]


def _triples(policy: Policy) -> list[tuple[float, ...]]:
    """Thresholds of each segment, and last of the payments that belong to none."""
    return [*(segment.thresholds for segment in policy.segments), tuple(policy.thresholds.values())]
