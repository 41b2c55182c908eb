"""An ensemble as it is served: members read natively, added up, calibrated.

A further kind of member is a class here with two methods, and its name in ``KINDS``; nothing else changes.
Vectors are those of ``pix.features``: float64, one place per feature in its order, NaN where a fact is missing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from learning.additive import AdditiveTable
from learning.checks import read_checks, refuse_unequal
from learning.errors import ArtefactRefused
from learning.manifest import MANIFEST_FILE, Manifest, Member, read_manifest
from learning.trees import CatBoostTrees
from pix.features import DECLARATION_HASHES, FEATURE_NAMES

if TYPE_CHECKING:
    from learning.registry import Downloaded

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
SHOWN = 10


class LoadedMember(Protocol):
    """A member that was read from its file."""

    expected: float
    """Its log-odds where nothing is known of a row."""
    tolerance: float
    """How far its log-odds may be from those of the library that fit it."""

    def log_odds(self, vector: Vector) -> float:
        """Log-odds of fraud."""

    def log_odds_of(self, rows: Matrix) -> Vector:
        """The same of many rows, each bit for bit what ``log_odds`` says of it."""

    def contributions(self, vector: Vector) -> Vector:
        """What each of its inputs adds to ``expected``."""


KINDS: Mapping[str, Callable[[bytes, Sequence[int]], LoadedMember]] = {
    "catboost": CatBoostTrees,
    "scorecard": AdditiveTable,
    "histogram": AdditiveTable,
}
"""Kind -> how its file's bytes become a member, given the places of its inputs."""


class FeatureMismatch(ArtefactRefused):
    """A model was trained on other features than this service computes."""

    def __init__(self, message: str) -> None:
        super().__init__("features", message)


@dataclass(frozen=True, slots=True)
class _Part:
    weight: float
    places: NDArray[np.int64]
    member: LoadedMember


class Ensemble:
    """A loaded, checked ensemble. Safe to use from several threads."""

    def __init__(self, manifest: Manifest, members: Sequence[LoadedMember]) -> None:
        """Put members together.

        Args:
            manifest: Its description.
            members: The loaded members, in the manifest's order.

        Raises:
            FeatureMismatch: Not all of its inputs are computed here with the same meaning.
        """
        self.manifest = manifest
        self._parts = tuple(
            _Part(described.weight, np.array(places_of(described, manifest.fingerprint)), member)
            for described, member in zip(manifest.members, members, strict=True)
        )
        self.expected = manifest.intercept + sum(part.weight * part.member.expected for part in self._parts)
        """The raw score where nothing is known of a row."""
        self._raws = [point.raw for point in manifest.calibration]
        self._log_odds = [point.log_odds for point in manifest.calibration]

    def raw_score(self, vector: Vector) -> float:
        """Affine sum of the members' log-odds of fraud."""
        total = self.manifest.intercept
        for part in self._parts:
            total += part.weight * part.member.log_odds(vector)
        return total

    def raw_scores(self, rows: Matrix) -> Vector:
        """The same of many rows, each bit for bit what ``raw_score`` says of it.

        Args:
            rows: One vector each.
        """
        rows, total = np.ascontiguousarray(rows, np.float64), np.full(len(rows), self.manifest.intercept)
        for part in self._parts:
            total += part.weight * part.member.log_odds_of(rows)
        return total

    def probabilities(self, raw_scores: Vector) -> Vector:
        """Calibrated probabilities of raw scores, each bit for bit what ``probability`` says of it."""
        log_odds = self._all_calibrated(raw_scores) if self._raws else raw_scores
        # By the same exponential as a decision's: NumPy's own may differ in the last bit.
        return np.fromiter(map(sigmoid, log_odds.tolist()), np.float64, len(log_odds))

    def member_scores(self, vector: Vector) -> dict[str, float]:
        """Member -> its log-odds of fraud."""
        names = [member.name for member in self.manifest.members]
        return {name: part.member.log_odds(vector) for name, part in zip(names, self._parts, strict=True)}

    def probability(self, raw_score: float) -> float:
        """Calibrated probability of fraud of a raw score."""
        return sigmoid(self._calibrated(raw_score) if self._raws else raw_score)

    def contributions(self, vector: Vector) -> list[float]:
        """What each feature adds to ``expected``; both together are the raw score. 0 for what no member reads."""
        total = np.zeros(len(FEATURE_NAMES))
        for part in self._parts:
            total[part.places] += part.weight * part.member.contributions(vector)
        contributions: list[float] = total.tolist()
        return contributions

    def _calibrated(self, raw: float) -> float:
        first, last = self._raws[0], self._raws[-1]
        if raw <= first:
            return raw - first + self._log_odds[0]
        if raw >= last:
            return raw - last + self._log_odds[-1]
        return float(np.interp(raw, self._raws, self._log_odds))

    def _all_calibrated(self, raw: Vector) -> Vector:
        """``_calibrated`` of many."""
        first, last = self._raws[0], self._raws[-1]
        beyond = np.where(raw <= first, raw - first + self._log_odds[0], raw - last + self._log_odds[-1])
        between = (raw > first) & (raw < last)
        found: Vector = np.where(between, np.interp(raw, self._raws, self._log_odds), beyond)
        return found


def sigmoid(log_odds: float) -> float:
    """Probability of log-odds, for any size of them."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    small = math.exp(log_odds)
    return small / (1 + small)


def vector_of(features: Sequence[float | None]) -> Vector:
    """A logged vector as the members take it."""
    return np.array([math.nan if value is None else value for value in features], np.float64)


def load_ensemble(folder: Path, prefix: str = "") -> Ensemble:
    """Read an artefact whose signature was verified, and hold every member against its library's answers.

    Args:
        folder: The artefact.
        prefix: Begin of its files' names; see ``learning.artefact``.

    Raises:
        ArtefactRefused: A file is malformed, an input has another meaning here, or an answer differs.
    """
    manifest = read_manifest(folder / f"{prefix}{MANIFEST_FILE}")
    ensemble = Ensemble(manifest, [_loaded(folder, manifest, member) for member in manifest.members])
    nothing = np.full(len(FEATURE_NAMES), np.nan)
    ensemble.probability(ensemble.raw_score(nothing))
    ensemble.contributions(nothing)
    return ensemble


def load_registered(found: "Downloaded") -> Ensemble:
    """Load what a registered version serves; its files were verified.

    Raises:
        ArtefactRefused: It is malformed, does not fit this build, or is registered for other features than it is for.
    """
    ensemble = load_ensemble(found.folder)
    if ensemble.manifest.fingerprint != found.ref.fingerprint:
        raise ArtefactRefused(
            "fingerprint",
            f"{found.ref.name} version {found.ref.version} is registered for features {found.ref.fingerprint}, its "
            f"manifest is for {ensemble.manifest.fingerprint}; train and register again",
        )
    return ensemble


def places_of(member: Member, fingerprint: str) -> list[int]:
    """Places of a member's inputs among this service's features.

    A model of an older fingerprint is served as long as every input still means what it was trained on.

    Raises:
        FeatureMismatch: Some inputs are not computed here, or mean something else.
    """
    changed = [one.name for one in member.inputs if DECLARATION_HASHES.get(one.name) != one.declaration]
    if changed:
        shown = ", ".join(changed[:SHOWN]) + (f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")
        raise FeatureMismatch(
            f"member {member.name} was trained on features {fingerprint}; in this service other declarations stand "
            f"behind {shown}; deploy the matching service or retrain"
        )
    places = {name: place for place, name in enumerate(FEATURE_NAMES)}
    return [places[one.name] for one in member.inputs]


def _loaded(folder: Path, manifest: Manifest, described: Member) -> LoadedMember:
    kind = KINDS.get(described.kind)
    if kind is None:
        raise ArtefactRefused(
            "malformed",
            f"member {described.name} is of kind {described.kind!r}, this build reads {', '.join(sorted(KINDS))}; "
            "deploy a service that knows it",
        )
    places = places_of(described, manifest.fingerprint)
    try:
        content = (folder / described.file).read_bytes()
    except OSError as missing:
        raise ArtefactRefused(
            "malformed", f"the file of member {described.name} cannot be read: {missing}; register again"
        ) from missing
    member = kind(content, places)
    refuse_unequal(described.name, member, read_checks(folder / described.checks, len(places)), places)
    return member
