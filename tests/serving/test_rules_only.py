"""Rules over many rows say what the policy says of each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pix.features import FEATURE_NAMES
from serving.policy import ACTIONS, Case, load_policy
from serving.rules_only import severities

POLICY = Path(__file__).resolve().parents[2] / "config" / "policy.yaml"


class Facts:
    """Of a payment: what it has, and nothing else."""

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        return self._values.get(name)


def rows(count=400, seed=3):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({name: draw.choice([0.0, 1.0, 6_000.0, np.nan], count) for name in FEATURE_NAMES})
    frame["balance_share"] = draw.choice([0.5, 0.97, np.nan], count)
    frame["raw_amount_cents"] = draw.integers(1, 2_000_000, count)
    return frame


def test_the_most_severe_rule_counts_for_each_row_as_when_it_was_decided():
    policy, frame = load_policy(POLICY), rows()
    lists = {name: type("Nobody", (), {"names": lambda *_: False})() for name in policy.lists}
    alone = replace(policy, lists=lists)
    said = []
    for _, row in frame.iterrows():
        vector = [None if np.isnan(row[name]) else float(row[name]) for name in FEATURE_NAMES]
        facts = Facts({"amount_cents": int(row["raw_amount_cents"])})
        said.append(ACTIONS.index(alone.judge(Case(None, vector, facts, 0)).action))
    found = severities(policy, frame)
    assert found.tolist() == said
    assert set(said) == {0, 1, 2}


def test_a_rule_whose_facts_are_not_in_the_rows_does_not_hit():
    assert severities(load_policy(POLICY), rows()[["balance_share"]]).tolist() == [0.0] * 400
