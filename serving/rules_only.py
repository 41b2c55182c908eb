"""What a policy's rules say of many past payments, without a model: what a model is judged beside."""

from typing import TYPE_CHECKING, Any

import numpy as np

from learning.inputs import RAW_PREFIX
from learning.ranking import Bools, Floats, Ints
from serving.policy import Policy
from serving.policy_conditions import NAMES, NOT_COMPUTED, Condition

if TYPE_CHECKING:
    import pandas as pd

_AS = {"number": float, "whole number": int, "flag": bool, "text": str}


def severities(policy: Policy, rows: "pd.DataFrame") -> Floats:
    """The most severe action that rules ask for, as its place in ``serving.policy.ACTIONS``: 0 lets the payment go.

    Lists are left out: whom they name was written down after what is judged here.

    Args:
        policy: Whose rules.
        rows: Rows of the training set: features by their names, facts of the payment as ``raw_...``.
    """
    found = np.zeros(len(rows))
    for rule in policy.rules:
        found = np.maximum(found, np.where(_hits(rule.condition, rows), rule.severity, 0))
    return found


def segments(policy: Policy, rows: "pd.DataFrame") -> Ints:
    """Place of the segment that each of some rows belongs to; one past the last for the rows that belong to none.

    Args:
        policy: Whose segments.
        rows: As of ``severities``.
    """
    found = np.full(len(rows), len(policy.segments))
    for place, segment in reversed(list(enumerate(policy.segments))):
        found[_hits(segment.condition, rows)] = place
    return found


def _hits(condition: Condition, rows: "pd.DataFrame") -> Bools:
    hits = np.zeros(len(rows), np.bool_)
    columns = {name: name for name, _ in condition.features} | {name: RAW_PREFIX + name for name in condition.fields}
    if not all(column in rows for column in columns.values()):
        return hits
    # Where a fact is missing a condition does not hold; most payments lack one of a rule's.
    known = rows[[*columns.values()]].notna().all(axis=1).to_numpy()
    values = [
        [_AS[NAMES[name].kind](value) for value in rows.loc[known, column].tolist()] for name, column in columns.items()
    ]
    names = tuple(columns)
    hits[known] = [_holds(condition, dict(zip(names, facts, strict=True))) for facts in zip(*values, strict=True)]
    return hits


def _holds(condition: Condition, facts: dict[str, Any]) -> bool:
    try:
        return condition.program.execute(facts) is True
    except NOT_COMPUTED:
        return False
