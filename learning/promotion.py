"""May the challenger serve? Pure: evidence in, a decision with its reasons out.

Every gate is asked, so whoever is refused learns all that is wrong at once, and whoever is promoted carries what each
gate found. ``learning.evidence`` gathers what they judge by.

    version      is it another one than serves?
    rolled back  did a person take it out of service?
    artefact     do its files verify against this home's key, and load in this build?
    features     does every input mean here what it meant when the model was trained?
    parity       were the features that it learnt from proved equal to those that decisions saw?
    raw fields   does it beat a CatBoost on raw fields?
    champion     is it better, or not worse by more than a margin, on the same later rows?
    calibration  do its probabilities mean what they say?
    latency      does a payment get its score in time?
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from learning.calibration import BINS
from learning.evaluation import Interval
from learning.latency import Latency

OF_FEATURES = frozenset({"features", "fingerprint"})
"""Reasons of ``ArtefactRefused`` that speak of a model's inputs."""
OF_SIGNATURE = frozenset({"no_key", "unsigned", "wrong_key", "tampered", "sha256"})
"""Those that speak of who signed what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What is asked of a challenger.

    Attributes:
        margin: Loss of average precision that still counts as not worse.
        calibration_error: Most that may be off beyond chance, as a share of the frauds; see ``learning.calibration``.
        microseconds: Most that 99 of 100 payments may take from features to probability with contributions.
    """

    margin: float = 0.01
    calibration_error: float = 0.25
    microseconds: float = 500.0


SERIES = 2.0
"""How much more the number of frauds varies than if each came alone; of two simulated homes 1.3 and 2.2."""


class Refused(NamedTuple):
    """Why an artefact must not be served: the word of ``ArtefactRefused``, and its sentence."""

    word: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Parity:
    """The newest proof that features online and offline are equal.

    Attributes:
        compared: Vectors that were compared.
        mismatches: Those that differ.
        at: When, as a person reads it.
    """

    compared: int
    mismatches: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one model, most of it on the rows that both are judged by.

    Attributes:
        version: Model version.
        fingerprint: Feature fingerprint the model was trained on.
        refused: Why its files must not be served; then nothing below that is in them is known.
        rolled_back: When, by whom and why it was taken out of service; empty if it never was.
        rows: Rows judged.
        frauds: Frauds among them.
        average_precision: On those rows; None if the model could not be judged there.
        over_raw: Average precision over the raw-field CatBoost, as proved when the model was trained.
        over_champion: Average precision over the champion on those rows; None on the champion itself, and
            when they could not be compared.
        calibration_error: On the folds that judged it when it was trained.
        calibrated_on: Frauds on those folds.
        error_here: Calibration error on the rows that both are judged by; None if the model could not be judged there.
        latency: Measured here and now.
        parity: Of the features; None if it was never proved.
    """

    version: str
    fingerprint: str
    refused: Refused | None = None
    rolled_back: str = ""
    rows: int = 0
    frauds: int = 0
    average_precision: float | None = None
    over_raw: Interval | None = None
    over_champion: Interval | None = None
    calibration_error: float | None = None
    calibrated_on: float = 0.0
    error_here: float | None = None
    latency: Latency | None = None
    parity: Parity | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to promote, and why: each refusal of a gate, or else what every gate found."""

    promote: bool
    reasons: tuple[str, ...]


class Finding(NamedTuple):
    """What a gate says."""

    passes: bool
    said: str


@dataclass(frozen=True, slots=True)
class _Asked:
    champion: Evidence | None
    challenger: Evidence
    served_fingerprint: str
    rules: Gates


def decide(champion: Evidence | None, challenger: Evidence, *, served_fingerprint: str, rules: Gates) -> Decision:
    """Judge a challenger.

    Args:
        champion: The model that serves, None while there is none.
        challenger: The model that asks to.
        served_fingerprint: Fingerprint of the features that the service computes.
        rules: What is asked of it.
    """
    asked = _Asked(champion, challenger, served_fingerprint, rules)
    # Of files that must not be read nothing is known: what is in them would only repeat the refusal.
    gates = (*ALWAYS, *OF_CONTENT) if challenger.refused is None else ALWAYS
    found = [(name, gate(asked)) for name, gate in gates]
    passes = all(finding.passes for _, finding in found)
    return Decision(passes, tuple(f"{name}: {each.said}" for name, each in found if passes or not each.passes))


def _version(asked: _Asked) -> Finding:
    version, champion = asked.challenger.version, asked.champion
    if champion is not None and champion.version == version:
        return Finding(False, f"v{version} is the champion already")
    return Finding(True, f"challenger v{version}" + (f" asks to replace v{champion.version}" if champion else ""))


def _rolled_back(asked: _Asked) -> Finding:
    version, told = asked.challenger.version, asked.challenger.rolled_back
    if told:
        return Finding(False, f"v{version} was taken out of service {told}; only `sentinela rollback --to` returns it")
    return Finding(True, f"v{version} was never taken out of service")


def _artefact(asked: _Asked) -> Finding:
    refused = asked.challenger.refused
    if refused is None or refused.word in OF_FEATURES:
        return Finding(True, "signed by this home's key, loaded, its checks answered as where it was trained")
    what = "signature" if refused.word in OF_SIGNATURE else "content"
    return Finding(False, f"{what} refused ({refused.word}): {refused.sentence}")


def _features(asked: _Asked) -> Finding:
    ours, served, refused = asked.challenger.fingerprint, asked.served_fingerprint, asked.challenger.refused
    if refused is not None and refused.word in OF_FEATURES:
        return Finding(False, f"trained on {ours}, the service computes {served}: {refused.sentence}")
    if ours == served:
        return Finding(True, f"trained on {ours}, which the service computes")
    return Finding(True, f"trained on {ours}, the service computes {served}; each of its inputs still means the same")


def _parity(asked: _Asked) -> Finding:
    proof = asked.challenger.parity
    if proof is None:
        return Finding(False, "never proved; materialise features/payment_features with its checks")
    told = (
        f"{proof.mismatches:,} of {proof.compared:,} logged vectors differ from those recomputed offline ({proof.at})"
    )
    if proof.mismatches:
        return Finding(False, f"{told}; what the model learnt from is not what the service computes")
    return Finding(
        True, told if proof.compared else f"nothing was decided live yet, so nothing to compare ({proof.at})"
    )


def _raw_fields(asked: _Asked) -> Finding:
    over = asked.challenger.over_raw
    if over is None:
        return Finding(False, "it was not compared with a CatBoost on raw fields when it was trained; train again")
    if over.point > 0:
        return Finding(True, f"beats a CatBoost on raw fields by {over} in average precision")
    told = f"does not beat a CatBoost on raw fields: its average precision differs by {over}"
    # Where fraud has changed, days of before and after are judged together, and few raw fields adapt faster.
    if _is_better(asked) and not math.isnan(over.point):
        return Finding(True, f"{told}; but it is better than the champion")
    return Finding(False, told)


def _is_better(asked: _Asked) -> bool:
    """Whether it surely is better than a champion that serves."""
    over = asked.challenger.over_champion
    return asked.champion is not None and over is not None and over.low > 0


def _champion(asked: _Asked) -> Finding:
    champion, challenger, margin = asked.champion, asked.challenger, asked.rules.margin
    if champion is None:
        return Finding(True, "there is none yet: this is the first")
    if champion.refused is not None:
        return Finding(True, f"v{champion.version} cannot be loaded in this build: {champion.refused.sentence}")
    over, rows = challenger.over_champion, f"{challenger.rows:,} later rows with {challenger.frauds:,} frauds"
    if over is None or champion.average_precision is None or challenger.average_precision is None:
        return Finding(False, f"cannot be compared with v{champion.version}: only {rows} that neither has seen")
    measured = (
        f"average precision {challenger.average_precision:.4f} against {champion.average_precision:.4f} of "
        f"v{champion.version} on the same {rows}, difference {over}"
    )
    if over.low > 0:
        return Finding(True, f"better: {measured}")
    if over.low >= -margin:
        return Finding(True, f"not worse by more than {margin:g}: {measured}")
    return Finding(False, f"may be worse by more than {margin:g}: {measured}")


def _calibration(asked: _Asked) -> Finding:
    champion, error = asked.champion, asked.challenger.calibration_error
    if error is None:
        return Finding(False, "its calibration error was not measured when it was trained; train again")
    frauds, bound = asked.challenger.calibrated_on, asked.rules.calibration_error
    chance = chance_of(frauds)
    told = f"{error:.3f} of {frauds:,.0f} frauds expected where they were not"
    if error <= bound + chance:
        return Finding(True, f"{told}, at most {bound:g} and {chance:.3f} by chance are allowed")
    theirs = champion.calibration_error if champion is not None else None
    if champion is not None and theirs is not None and error <= theirs:
        return Finding(
            True, f"{told}, more than {bound:g} and chance, but no worse than {theirs:.3f} of v{champion.version}"
        )
    here, there = asked.challenger.error_here, champion.error_here if champion is not None else None
    by_chance = chance_of(asked.challenger.frauds)
    if (
        champion is not None
        and here is not None
        and there is not None
        and _is_better(asked)
        and here <= there + by_chance
    ):
        return Finding(
            True, f"{told}, more than {bound:g} and chance; but where it is better, no worse than v{champion.version}: "
            f"{here:.3f} against {there:.3f}, {by_chance:.3f} by chance"
        )  # fmt: skip
    beside = f"; v{champion.version} has {theirs:.3f}" if champion is not None and theirs is not None else ""
    return Finding(False, f"{told}, more than {bound:g} and {chance:.3f} by chance{beside}")


def chance_of(frauds: float) -> float:
    """Calibration error that a perfect probability may show on so many frauds.

    Each of ``BINS`` groups has a tenth of them, so their number is off by sqrt(2 / pi x frauds / BINS) on average if
    they come one by one; they come in series, by one fraudster or through one account, and that varies more.
    """
    return SERIES * math.sqrt(2 * BINS / (math.pi * frauds)) if frauds > 0 else math.inf


def _latency(asked: _Asked) -> Finding:
    champion, measured, budget = asked.champion, asked.challenger.latency, asked.rules.microseconds
    if measured is None:
        return Finding(False, "was not measured; materialise model/champion again")
    beside = f"; v{champion.version}: {champion.latency}" if champion is not None and champion.latency else ""
    told = f"{measured} from features to probability and contributions, the budget is {budget:g}{beside}"
    return Finding(measured.p99_microseconds <= budget, told)


Gate = Callable[[_Asked], Finding]
ALWAYS: tuple[tuple[str, Gate], ...] = (
    ("version", _version),
    ("rolled back", _rolled_back),
    ("artefact", _artefact),
    ("features", _features),
    ("parity", _parity),
)
OF_CONTENT: tuple[tuple[str, Gate], ...] = (
    ("raw fields", _raw_fields),
    ("champion", _champion),
    ("calibration", _calibration),
    ("latency", _latency),
)
