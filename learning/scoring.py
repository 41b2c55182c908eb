"""Scores of many rows by a served ensemble, each bit for bit what a decision on it would say."""

import numpy as np
import pandas as pd

from learning.ensemble import Ensemble
from learning.inputs import vectors
from learning.ranking import Floats
from pix.features import FEATURE_NAMES

AT_ONCE = 100_000
"""Rows whose vectors are in memory at a time: 230 MB."""


def probabilities(ensemble: Ensemble, rows: pd.DataFrame) -> Floats:
    """Calibrated probability of fraud of each row.

    Args:
        ensemble: As it is served.
        rows: Features by their names; one that is missing is unknown.
    """
    return ensemble.probabilities(raw_scores(ensemble, rows))


def raw_scores(ensemble: Ensemble, rows: pd.DataFrame) -> Floats:
    """Raw score, in log-odds, of each row.

    Args:
        ensemble: As it is served.
        rows: Features by their names; one that is missing is unknown.
    """
    found = np.empty(len(rows))
    for start in range(0, len(rows), AT_ONCE):
        part = rows.iloc[start : start + AT_ONCE].reindex(columns=list(FEATURE_NAMES))
        found[start : start + len(part)] = ensemble.raw_scores(vectors(part, FEATURE_NAMES))
    return found
