"""What thresholds alone ask for, of many payments at once, is what the policy says of each without all else."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pix.features import FEATURE_NAMES
from serving.policy import ACTIONS, Case, load_policy, parse_policy
from serving.threshold_actions import least_threshold, read_by_segments, threshold_actions

POLICY = Path(__file__).resolve().parents[2] / "config" / "policy.yaml"
OLD = """  - name: young_account
    when: payer_account_age_days < 30.0
    thresholds: {REVIEW: 0.02, BLOCK_AND_REVIEW: 0.2, BLOCK: 0.5}
"""


def alone(policy):
    nobody = SimpleNamespace(names=lambda *_: False)
    return replace(policy, rules=(), lists=dict.fromkeys(policy.lists, nobody), control=None)


@pytest.fixture(scope="module")
def policy():
    text = POLICY.read_text()
    end = text.index("\nthresholds:")
    return alone(parse_policy(text[:end] + OLD + text[end:], "policy"))


def test_each_payment_gets_what_its_segment_s_thresholds_ask_for(policy):
    draw = np.random.default_rng(4)
    count = 500
    frame = pd.DataFrame(
        {
            "raw_amount_cents": draw.choice([999_999.0, 1_000_000.0, np.nan], count),
            "raw_payee_person_type": draw.choice(np.array(["PF", "PJ", None], object), count),
            "payer_account_age_days": draw.choice([10.0, 30.0, np.nan], count),
        }
    )
    probabilities = draw.choice([0.0, 0.02, 0.05, 0.1, 0.2, 0.25, 0.4, 0.5, 0.85, 0.849999, 1.0], count)
    place, said = FEATURE_NAMES.index("payer_account_age_days"), []
    for row, probability in zip(frame.to_dict("records"), probabilities.tolist(), strict=True):
        facts = {name: None if pd.isna(row[f"raw_{name}"]) else row[f"raw_{name}"] for name in FACTS}
        age = row["payer_account_age_days"]
        vector = {place: None if np.isnan(age) else age}
        payment = SimpleNamespace(**{**facts, "amount_cents": facts["amount_cents"] and int(facts["amount_cents"])})
        said.append(policy.judge(Case(probability, vector, payment, 0)).action)
    assert threshold_actions(policy, probabilities, frame) == said
    assert set(said) == set(ACTIONS)


FACTS = ("amount_cents", "payee_person_type")


def test_what_segments_read_and_where_thresholds_begin_is_known(policy):
    assert read_by_segments(policy) == (["payer_account_age_days"], [*FACTS])
    assert least_threshold(policy) == 0.02
    assert least_threshold(load_policy(POLICY)) == 0.05
