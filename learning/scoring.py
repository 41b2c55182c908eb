"""Scores of many rows by a served ensemble, each bit for bit what a decision on it would say."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from learning.ensemble import Ensemble
from learning.inputs import vectors
from learning.ranking import Floats
from pix.features import FEATURE_NAMES
from pix.offline.vectors import matrix

AT_ONCE = 100_000
"""Rows whose vectors are in memory at a time: 230 MB."""
PACKED = "features"
"""Column of a batch that holds its rows' vectors."""
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Scored:
    """Some rows with their scores.

    Attributes:
        batch: The rows.
        raw_scores: Log-odds before calibration.
        probabilities: Calibrated, of fraud.
    """

    batch: pa.RecordBatch
    raw_scores: Floats
    probabilities: Floats


def scored(ensemble: Ensemble, batches: Iterable[pa.RecordBatch], *, workers: int = WORKERS) -> Iterator[Scored]:
    """Rows with packed vectors and their scores, in order; one batch more than there are workers is in memory.

    In threads, because the members' compiled code runs beside everything else.

    Args:
        ensemble: As it is served.
        batches: Their column ``features`` is that of ``features/payment_features``, of this build's fingerprint.
        workers: Threads that score while the next batch is read.

    Raises:
        ValueError: A vector has another length than this build's.
    """

    def score(batch: pa.RecordBatch) -> Scored:
        raw = ensemble.raw_scores(matrix(batch[PACKED]))
        return Scored(batch, raw, ensemble.probabilities(raw))

    waiting: deque[Future[Scored]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            waiting.append(pool.submit(score, batch))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
