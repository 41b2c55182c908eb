"""May the challenger serve? Evidence is gathered on rows neither model has seen; the decision is pure.

The final models are fit on all rows, so they cannot be compared on any. Their evaluation ensembles can: both
are judged on the rows after the later of the two cuts.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from learning.artefact import EVALUATION, ModelCard
from learning.ensemble import load_ensemble
from learning.evaluation import Interval, average_precision_difference
from learning.inputs import labels, vectors
from learning.ranking import Floats, average_precision
from learning.registry import Downloaded
from learning.training import MIN_FRAUDS_PER_SIDE
from pix.features import FEATURE_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one model on the rows that both are judged by.

    Attributes:
        version: Model version.
        fingerprint: Feature fingerprint the model was trained on.
        rows: Rows judged.
        frauds: Frauds among them.
        average_precision: On those rows; None if the model could not be judged there.
        over_raw: Average precision over the raw-field CatBoost, as proved when the model was trained.
        over_champion: Average precision over the champion on those rows; None on the champion itself, and
            when they could not be compared.
    """

    version: str
    fingerprint: str
    rows: int
    frauds: int
    average_precision: float | None
    over_raw: Interval
    over_champion: Interval | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to promote, and the sentence that says why."""

    promote: bool
    reason: str


def decide(champion: Evidence | None, challenger: Evidence, *, served_fingerprint: str, margin: float) -> Decision:
    """Judge a challenger.

    Args:
        champion: The model that serves, None while there is none.
        challenger: The model that asks to.
        served_fingerprint: Fingerprint of the features that the service computes.
        margin: Loss of average precision that still counts as not worse.
    """
    name = f"challenger v{challenger.version}"
    if challenger.fingerprint != served_fingerprint:
        return Decision(
            False,
            f"{name} was trained on features {challenger.fingerprint}, the service computes "
            f"{served_fingerprint}; deploy the matching service or retrain",
        )
    if champion is not None and champion.version == challenger.version:
        return Decision(False, f"v{challenger.version} is the champion already")
    if challenger.over_raw.point <= 0:
        return Decision(
            False,
            f"{name} does not beat a CatBoost on raw fields: its average precision differs by {challenger.over_raw}",
        )
    proof = f"it beats raw fields by {challenger.over_raw} in average precision"
    if champion is None:
        return Decision(True, f"{name} is the first champion: {proof}")
    if champion.fingerprint != served_fingerprint:
        return Decision(
            True,
            f"{name} replaces v{champion.version}, whose features {champion.fingerprint} the service no "
            f"longer computes: {proof}",
        )
    return _not_worse(champion, challenger, margin)


def _not_worse(champion: Evidence, challenger: Evidence, margin: float) -> Decision:
    name, over = f"challenger v{challenger.version}", challenger.over_champion
    rows = f"{challenger.rows} later rows with {challenger.frauds} frauds"
    if over is None or champion.average_precision is None or challenger.average_precision is None:
        return Decision(False, f"{name} cannot be compared with v{champion.version}: only {rows} that neither has seen")
    measured = (
        f"average precision {challenger.average_precision:.4f} against {champion.average_precision:.4f} of "
        f"v{champion.version} on the same {rows}, difference {over}"
    )
    if over.low > 0:
        return Decision(True, f"{name} is better: {measured}")
    if over.low >= -margin:
        return Decision(True, f"{name} is not worse by more than {margin:g}: {measured}")
    return Decision(False, f"{name} may be worse by more than {margin:g}: {measured}")


def gather(
    frame: pd.DataFrame, challenger: Downloaded, champion: Downloaded | None, *, rng: np.random.Generator
) -> tuple[Evidence | None, Evidence]:
    """Judge both evaluation ensembles on the rows after both cuts.

    Args:
        frame: The training set.
        challenger: The challenger's files.
        champion: The champion's, None while there is none.
        rng: Source of the bootstrap.

    Returns:
        The champion's evidence (None while there is none) and the challenger's.
    """
    ours = challenger.card
    theirs = champion.card if champion is not None else None
    comparable = theirs is not None and theirs.fingerprint == ours.fingerprint
    cut_ms = max(ours.cut_ms, theirs.cut_ms) if theirs is not None and comparable else ours.cut_ms
    later = frame[frame["event_time_ms"] >= cut_ms]
    is_fraud = labels(later)
    frauds, weights = int(is_fraud.sum()), later["weight"].to_numpy(np.float64)
    enough = MIN_FRAUDS_PER_SIDE <= frauds < len(later)
    our_scores = _scores(challenger.folder, later) if enough else None
    their_scores = _scores(champion.folder, later) if enough and comparable and champion and theirs else None
    over = None
    if our_scores is not None and their_scores is not None:
        over = average_precision_difference(is_fraud, our_scores, their_scores, rng=rng, weights=weights)

    def evidence(of: Downloaded, card: ModelCard, scores: Floats | None, over_champion: Interval | None) -> Evidence:
        return Evidence(
            version=of.ref.version,
            fingerprint=card.fingerprint,
            rows=len(later),
            frauds=frauds,
            average_precision=None if scores is None else average_precision(is_fraud, scores, weights),
            over_raw=Interval(**card.over_raw),
            over_champion=over_champion,
        )

    return (
        None if champion is None or theirs is None else evidence(champion, theirs, their_scores, None),
        evidence(challenger, ours, our_scores, over),
    )


def _scores(folder: Path, rows: pd.DataFrame) -> Floats:
    ensemble = load_ensemble(folder, EVALUATION)
    matrix = vectors(rows.reindex(columns=list(FEATURE_NAMES)), FEATURE_NAMES)
    return ensemble.probabilities(ensemble.raw_scores(matrix))
