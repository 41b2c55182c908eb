"""What promotion judges by: files verified and loaded, scores on rows that neither model has seen, time per row.

The final models are fit on all rows, so they cannot be compared on any. Their evaluation ensembles can: both are
judged on the rows after the later of the two cuts. Those are matured by construction: the training set holds no payment
whose label may still change within its maturity.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from learning import latency
from learning.artefact import EVALUATION, ModelCard
from learning.calibration import calibration_error
from learning.ensemble import Ensemble, Matrix, load_ensemble, load_registered
from learning.errors import ArtefactRefused, RegistryError, RegistryUnavailable
from learning.evaluation import Interval, average_precision_difference
from learning.inputs import labels, vectors
from learning.latency import Latency
from learning.promotion import Evidence, Parity, Refused
from learning.ranking import average_precision
from learning.registry import ChampionRef, Downloaded
from learning.scoring import probabilities
from learning.training import MIN_FRAUDS_PER_SIDE
from pix.features import FEATURE_NAMES


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the files of a version that may be served.

    Attributes:
        card: What is known of it since it was trained.
        ensemble: What serves.
        evaluation: What judges: the same recipe on the rows before the card's cut.
    """

    card: ModelCard
    ensemble: Ensemble
    evaluation: Ensemble


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered version, looked into as far as it may be.

    Attributes:
        ref: The version.
        contents: What is in it, or why it must not be read.
        rolled_back: When, by whom and why it was taken out of service; empty if it never was.
    """

    ref: ChampionRef
    contents: Contents | Refused
    rolled_back: str = ""


def look_into(ref: ChampionRef, bring: Callable[[], Downloaded], *, rolled_back: str = "") -> Candidate:
    """Bring a version, verify and load it; a version that must not be served is told of, not raised.

    Args:
        ref: The version.
        bring: Downloads and verifies it.
        rolled_back: As ``Candidate`` has it.

    Raises:
        RegistryError: MLflow does not give it.
    """
    try:
        found = bring()
        served = load_registered(found)
        return Candidate(ref, Contents(_card(found), served, load_ensemble(found.folder, EVALUATION)), rolled_back)
    except ArtefactRefused as refused:
        return Candidate(ref, Refused(refused.reason, str(refused)), rolled_back)


def _card(found: Downloaded) -> ModelCard:
    try:
        return found.card
    except RegistryUnavailable:
        raise
    except RegistryError as unread:
        raise ArtefactRefused("malformed", str(unread)) from unread


def gather(
    frame: pd.DataFrame,
    challenger: Candidate,
    champion: Candidate | None,
    *,
    parity: Parity | None,
    rng: np.random.Generator,
    timer: Callable[[], int] = time.thread_time_ns,
) -> tuple[Evidence | None, Evidence]:
    """Judge both evaluation ensembles on the rows after both cuts, and time what serves.

    Args:
        frame: The training set.
        challenger: The challenger.
        champion: The champion, None while there is none.
        parity: The newest proof of the features.
        rng: Source of the bootstrap, and of the rows that are timed.
        timer: Nanoseconds; see ``learning.latency``.

    Returns:
        The champion's evidence (None while there is none) and the challenger's.
    """
    both = {who: each.contents for who, each in (("ours", challenger), ("theirs", champion)) if each is not None}
    readable = {who: each for who, each in both.items() if isinstance(each, Contents)}
    cut_ms = max((each.card.cut_ms for each in readable.values()), default=0)
    later = frame[frame["event_time_ms"] >= cut_ms]
    is_fraud, weights = labels(later), later["weight"].to_numpy(np.float64)
    enough = MIN_FRAUDS_PER_SIDE <= int(is_fraud.sum()) < len(later)
    scores = {who: probabilities(each.evaluation, later) for who, each in readable.items()} if enough else {}
    over = None
    if len(scores) == 2:
        over = average_precision_difference(is_fraud, scores["ours"], scores["theirs"], rng=rng, weights=weights)
    timed = _timed(readable, frame, rng, timer)

    def evidence(who: str, of: Candidate, over_champion: Interval | None, proof: Parity | None) -> Evidence:
        known = Evidence(
            version=of.ref.version, fingerprint=of.ref.fingerprint, rolled_back=of.rolled_back, parity=proof
        )
        if isinstance(of.contents, Refused):
            return replace(known, refused=of.contents)
        card, said = of.contents.card, scores.get(who)
        return replace(
            known,
            rows=len(later),
            frauds=int(is_fraud.sum()),
            average_precision=None if said is None else average_precision(is_fraud, said, weights),
            over_raw=Interval(**card.over_raw),
            over_champion=over_champion,
            calibration_error=card.metrics.get("calibration_error"),
            calibrated_on=card.metrics.get("frauds", 0.0),
            error_here=None if said is None else calibration_error(is_fraud, said, weights),
            latency=timed.get(who),
        )

    theirs = None if champion is None else evidence("theirs", champion, None, None)
    return theirs, evidence("ours", challenger, over, parity)


def _timed(
    readable: Mapping[str, Contents], frame: pd.DataFrame, rng: np.random.Generator, timer: Callable[[], int]
) -> dict[str, Latency]:
    chosen = rng.choice(len(frame), min(latency.ROWS, len(frame)), replace=False)
    measured = latency.measure([each.ensemble for each in readable.values()], _matrix(frame.iloc[chosen]), timer=timer)
    return dict(zip(readable, measured, strict=True))


def _matrix(rows: pd.DataFrame) -> Matrix:
    return vectors(rows.reindex(columns=list(FEATURE_NAMES)), FEATURE_NAMES)
