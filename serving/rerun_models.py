"""The models of past decisions: by name and version, never by alias; signature and SHA-256 verified before parsing.

What makes a copy good is its bytes: a folder on this machine that is signed, and has the SHA-256 that stands on the
decision, is the version that decided, so the registry is asked for what is not here, or where it shall be looked at
itself (``fresh``).
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learning.artefact import CARD_FILE, ModelCard
from learning.ensemble import Ensemble, FeatureMismatch, load_ensemble
from learning.errors import ArtefactRefused, RegistryError
from learning.registry import download, version_of
from learning.signing import verify
from serving.rerun_errors import EvidenceAway, OtherBuild

Identity = tuple[str, str, str]
"""Name, version and SHA-256, as they stand on a decision."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that decided.

    Attributes:
        ensemble: Its members.
        folder: Its files.
        source: Where they were found.
    """

    ensemble: Ensemble
    folder: Path
    source: str

    def described(self) -> dict[str, Any]:
        """Where it was found, when it was trained, and from which versions of which tables."""
        told: dict[str, Any] = {"from": self.source}
        if (self.folder / CARD_FILE).exists():
            card = ModelCard.read(self.folder)
            told |= {"trained_at": card.trained_at, "data_versions": dict(card.data_versions)}
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class PastModels:
    """Models by what stands on a decision; each is loaded once.

    Attributes:
        uri: Address of MLflow.
        public_key: PEM file of the key that artefacts must be signed with.
        downloads: Where versions are brought to; what is there already counts unless ``fresh``.
        copies: Further folders with a folder per version, such as the service's own.
        fresh: Fetch every version from the registry.
    """

    uri: str
    public_key: Path
    downloads: Path
    copies: Sequence[Path] = ()
    fresh: bool = False
    _loaded: dict[Identity, Loaded | ArtefactRefused] = field(default_factory=dict)

    def of(self, identity: Mapping[str, str]) -> Loaded:
        """The version that a decision names.

        Raises:
            ArtefactRefused: What the registry has under this version is not what decided, or not what was signed.
            EvidenceAway: Neither the registry nor this machine has it.
            OtherBuild: It takes features that this build does not compute.
        """
        wanted = (identity["name"], identity["version"], identity["sha256"])
        if wanted not in self._loaded:
            try:
                self._loaded[wanted] = self._load(*wanted)
            except FeatureMismatch as other:
                raise OtherBuild(str(other)) from other
            except ArtefactRefused as refused:
                if refused.reason == "no_key":
                    # Nothing was judged yet.
                    raise EvidenceAway(str(refused)) from refused
                self._loaded[wanted] = refused
        found = self._loaded[wanted]
        if isinstance(found, ArtefactRefused):
            raise found
        return found

    def _load(self, name: str, version: str, sha256: str) -> Loaded:
        if not self.fresh and version.isdecimal():
            for folder in (self.downloads / version, *(copy / version for copy in self.copies)):
                if folder.is_dir() and self._is_whole(folder, sha256):
                    return Loaded(load_ensemble(folder), folder, "a copy here")
        try:
            ref = version_of(self.uri, name, version)
            if ref is None:
                raise EvidenceAway(
                    f"the registry at {self.uri} has no version {version} of {name}: a version that decided must never "
                    "be deleted; restore it from a backup"
                )
            if ref.sha256 != sha256:
                raise ArtefactRefused(
                    "sha256",
                    f"{name} version {version} decided with SHA-256 {sha256}, the registry has {ref.sha256} under it",
                )
            if self.fresh:
                shutil.rmtree(self.downloads / version, ignore_errors=True)
            found = download(self.uri, ref, self.downloads, public_key=self.public_key)
        except ArtefactRefused:
            raise
        except RegistryError as away:
            copies = "copies on this machine were not to be taken" if self.fresh else "no copy of it is on this machine"
            raise EvidenceAway(f"{name} version {version} cannot be fetched, and {copies}: {away}") from away
        return Loaded(load_ensemble(found.folder), found.folder, "the registry")

    def _is_whole(self, folder: Path, sha256: str) -> bool:
        try:
            verify(folder, sha256, self.public_key)
        except ArtefactRefused as refused:
            if refused.reason == "no_key":
                raise
            return False
        return True
