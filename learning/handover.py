"""A person moves the alias ``champion``: back to a version that served, or on to one that was proposed.

Verified and loaded first, so that no service is pointed to what it would refuse. The service asks every second which
version serves; nothing here talks to it.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from learning import registry
from learning.ensemble import load_registered
from learning.errors import NothingBefore
from learning.succession import Succession


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlace:
    """Where a home finds its models.

    Attributes:
        uri: Address of MLflow.
        model_name: Registered model.
        downloads: Where versions are kept.
        public_key: PEM file of the key that they must be signed with.
    """

    uri: str
    model_name: str
    downloads: Path
    public_key: Path


@dataclass(frozen=True, slots=True)
class Handover:
    """Which version served, and which one serves from now on."""

    before: str
    after: str


def approve(place: ModelPlace, version: str, *, by: str, note: str, now: datetime) -> Handover:
    """Promote what was proposed.

    Args:
        place: Where the models are.
        version: The version.
        by: The person.
        note: What that person has to say.
        now: The clock.

    Raises:
        NotPromoted: It was not proposed, or things have changed since.
        ArtefactRefused: It must not be served.
        RegistryError: MLflow is away, or refuses.
    """
    succession = Succession(place.uri, place.model_name)
    succession.require_proposed(version)
    require_servable(place, version)
    return Handover(succession.approve(version, by=by, note=note, now=now), version)


def roll_back(place: ModelPlace, to: str | None, *, by: str, reason: str, now: datetime) -> Handover:
    """Return to a version that served.

    Args:
        place: Where the models are.
        to: The version; None is the newest that served before the present one.
        by: The person.
        reason: Why.
        now: The clock.

    Raises:
        NothingBefore: No version served before, or the one that is named never did.
        ArtefactRefused: It must not be served.
        RegistryError: MLflow is away, or refuses.
    """
    succession = Succession(place.uri, place.model_name)
    chosen = succession.before() if to is None else succession.require_served(to)
    require_servable(place, chosen)
    return Handover(succession.roll_back(chosen, by=by, reason=reason, now=now), chosen)


def require_servable(place: ModelPlace, version: str) -> None:
    """Download, verify and load a version.

    Raises:
        ArtefactRefused: It must not be served.
        RegistryError: MLflow is away, or has no such version.
    """
    ref = registry.version_of(place.uri, place.model_name, version)
    if ref is None:
        raise NothingBefore(f"{place.model_name} has no version {version!r}")
    load_registered(registry.download(place.uri, ref, place.downloads, public_key=place.public_key))
