"""The models in the service: fetched by MLflow alias, verified, held against their checks, warm, swapped whole.

    look up the alias -> download -> signature and SHA-256 -> parse -> equal answers -> warm -> one assignment

MLflow is never asked for a payment, and its client need not be in the process (``learning.fetching``). The last
version that served lies on disk, and serves again after a restart whether MLflow answers or not; it is verified again
when it is read. A version that must not be loaded is reported once and never replaces the one that serves.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from learning.ensemble import Ensemble, Vector, load_registered
from learning.errors import ArtefactRefused
from learning.registry import (
    CHALLENGER,
    CHAMPION,
    ChampionRef,
    Downloaded,
    Fetch,
    artefact_of,
    champion,
    download,
)
from learning.signing import verify

log = logging.getLogger(__name__)

Source = Literal["registry", "cache"]


@dataclass(frozen=True, slots=True)
class Champion:
    """A loaded version; see ``serving.outcomes.Model``.

    Attributes:
        ref: The version.
        ensemble: Its members.
        loaded_at_ms: When it was loaded, epoch milliseconds.
        source: Whether the registry named it, or the disk after a restart and the registry has not yet.
    """

    ref: ChampionRef
    ensemble: Ensemble
    loaded_at_ms: int
    source: Source

    @property
    def identity(self) -> Mapping[str, str]:
        """Name, version and SHA-256, as they stand on a decision."""
        return {"name": self.ref.name, "version": self.ref.version, "sha256": self.ref.sha256}

    def raw_score(self, vector: Vector) -> float:
        """Affine sum of the members' log-odds of fraud."""
        return self.ensemble.raw_score(vector)

    def probability(self, raw_score: float) -> float:
        """Calibrated probability of fraud of a raw score."""
        return self.ensemble.probability(raw_score)

    def contributions(self, vector: Vector) -> list[float]:
        """What each feature adds to the raw score."""
        return self.ensemble.contributions(vector)

    def described(self) -> dict[str, object]:
        """For ``GET /v1/model``."""
        return {
            **self.identity,
            "feature_fingerprint": self.ref.fingerprint,
            "members": [member.name for member in self.ensemble.manifest.members],
            "loaded_at_ms": self.loaded_at_ms,
            "source": self.source,
        }


def load_champion(found: Downloaded, *, now_ms: int, source: Source) -> Champion:
    """Load a version whose files were verified.

    Raises:
        ArtefactRefused: It is malformed, or does not fit this service.
    """
    return Champion(found.ref, load_registered(found), now_ms, source)


class ChampionKeeper:
    """Holds the version that an alias points to, and looks for a newer one."""

    def __init__(
        self,
        *,
        uri: str,
        model_name: str,
        folder: Path,
        public_key: Path,
        now_ms: Callable[[], int],
        refused: Callable[[str], None],
        alias: str = CHAMPION,
        fetch: Fetch = artefact_of,
    ) -> None:
        """Begin without a model.

        Args:
            uri: Address of MLflow.
            model_name: Registered model.
            folder: Where versions are kept.
            public_key: PEM file of the key that artefacts must be signed with.
            now_ms: The clock, epoch milliseconds.
            refused: Told the reason of each refusal, one word, for a metric.
            alias: The alias to follow.
            fetch: Brings an artefact from MLflow.
        """
        self._uri = uri
        self._name = model_name
        self._folder = folder
        self._public_key = public_key
        self._now_ms = now_ms
        self._told = refused
        self._alias = alias
        self._fetch = fetch
        self._refused: ChampionRef | None = None
        self.current: Champion | None = None

    def restore(self) -> bool:
        """Serve what served last, from disk; whether there was something.

        Raises:
            ArtefactRefused: What lies there must not be loaded.
        """
        try:
            ref = ChampionRef(**json.loads(self._last.read_text()))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError) as broken:
            raise self._refusal(
                ArtefactRefused("malformed", f"{self._last} does not say what served last: {broken}; it is made anew")
            ) from broken
        folder = self._folder / ref.version
        try:
            if not folder.is_dir():
                raise ArtefactRefused("unsigned", f"{folder}, which served last, is gone; MLflow is asked for it")
            verify(folder, ref.sha256, self._public_key)
            self.current = load_champion(Downloaded(ref, folder), now_ms=self._now_ms(), source="cache")
        except ArtefactRefused as refused:
            raise self._refusal(refused) from refused
        return True

    def refresh(self, beside: ChampionRef | None = None) -> bool:
        """Load the alias's version if it is another one than serves; blocking, call it in a thread.

        Args:
            beside: A version that is not needed twice; where the alias points to it, nothing is held.

        Returns:
            Whether another version serves now.

        Raises:
            learning.errors.RegistryError: MLflow is away.
            ArtefactRefused: The version must not be loaded.
        """
        found = champion(self._uri, self._name, alias=self._alias)
        if found is not None and found == beside:
            self.current = None
        if found is None or found in (self._refused, beside):
            return False
        if self.current is not None and found == self.current.ref:
            if self.current.source == "cache":
                self.current = Champion(found, self.current.ensemble, self.current.loaded_at_ms, "registry")
            return False
        try:
            brought = download(self._uri, found, self._folder, public_key=self._public_key, fetch=self._fetch)
            self.current = load_champion(brought, now_ms=self._now_ms(), source="registry")
        except ArtefactRefused as refused:
            # Without the key nothing was judged yet; it may come any moment.
            self._refused = None if refused.reason == "no_key" else found
            raise self._refusal(refused) from refused
        self._refused = None
        self._remember(found)
        return True

    @property
    def _last(self) -> Path:
        return self._folder / f"{self._alias}.json"

    def _remember(self, ref: ChampionRef) -> None:
        beside = self._last.with_name(f".{self._last.name}.{os.getpid()}")
        beside.write_text(json.dumps(asdict(ref)) + "\n")
        beside.replace(self._last)

    def _refusal(self, refused: ArtefactRefused) -> ArtefactRefused:
        self._told(refused.reason)
        serves = f"version {self.current.ref.version} goes on serving" if self.current else "no model serves"
        return ArtefactRefused(refused.reason, f"{self._alias} refused ({refused.reason}): {refused}; {serves}")


class Models:
    """The champion, and the challenger that is scored in its shadow."""

    def __init__(self, follow: Callable[[str], ChampionKeeper]) -> None:
        """Begin without models.

        Args:
            follow: Makes the keeper of an alias.
        """
        self._champion, self._challenger = follow(CHAMPION), follow(CHALLENGER)
        self._trouble: dict[str, str] = {}

    @property
    def champion(self) -> Champion | None:
        """What decides."""
        return self._champion.current

    @property
    def challenger(self) -> Champion | None:
        """What is scored beside it."""
        return self._challenger.current

    def restore(self) -> bool:
        """Serve what decided last, from disk; whether there was something. Never raises what a model is guilty of."""
        return self._tried(CHAMPION, self._champion.restore)

    def refresh(self, *, with_challenger: bool) -> None:
        """Look for newer versions; blocking, call it in a thread. What goes wrong is logged, once."""
        self._tried(CHAMPION, self._champion.refresh)
        if with_challenger:
            served = self.champion
            self._tried(CHALLENGER, lambda: self._challenger.refresh(served.ref if served else None))

    def described(self) -> dict[str, object]:
        """For ``GET /v1/model``."""
        champion, challenger = self.champion, self.challenger
        return {
            "model": champion.described() if champion else None,
            "challenger": challenger.described() if challenger else None,
        }

    def _tried(self, alias: str, load: Callable[[], bool]) -> bool:
        try:
            is_new = load()
        except Exception as trouble:
            # Asked every second: say it once, not once a second.
            if str(trouble) != self._trouble.get(alias):
                log.warning("the %s could not be renewed; serving goes on as it is: %s", alias, trouble)
            self._trouble[alias] = str(trouble)
            return False
        self._trouble.pop(alias, None)
        held = self.champion if alias == CHAMPION else self.challenger
        if is_new and held is not None:
            log.warning("%s now held: %s, from %s", alias, dict(held.identity), held.source)
        return is_new
