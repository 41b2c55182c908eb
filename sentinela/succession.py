"""`sentinela rollback` and `sentinela promote`: a person moves the alias, and learns when the service followed.

Neither Spark nor Dagster is needed, and no service: one that is down finds the alias where it was moved to.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pix.settings import Settings
from sentinela.errors import BadUse, NotRunning, SentinelaError

if TYPE_CHECKING:
    from learning.handover import Handover, ModelPlace

FOLLOWED_WITHIN_SECONDS = 10.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done, and what the service says.

    Attributes:
        before: The version that served.
        after: The version that serves from now on.
        by: Who wanted it.
        reason: Why.
        served_after_seconds: When the service named it, from the move on; None if it did not within ten seconds.
        service: Why it did not; empty if it did.
    """

    before: str
    after: str
    by: str
    reason: str
    served_after_seconds: float | None
    service: str

    def document(self) -> dict[str, Any]:
        """For ``--json``; ``from`` and ``to`` as a person says it."""
        found = asdict(self)
        return {"from": found.pop("before"), "to": found.pop("after"), **found}

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        yield f"champion: version {self.before} -> {self.after}, by {self.by}"
        if self.served_after_seconds is not None:
            yield f"the service decides by version {self.after}, {self.served_after_seconds:.1f} s later"
        else:
            yield f"the alias is moved; {self.service}"


def roll_back(settings: Settings, to: str | None, *, by: str, reason: str, now: datetime) -> Moved:
    """Return to a version that served.

    Raises:
        BadUse: The version that is named never served.
        SentinelaError: There is none to return to, or it must not be served.
        NotRunning: MLflow does not answer.
    """
    from learning import handover
    from learning.errors import NothingBefore

    with _registry_asked():
        try:
            done = handover.roll_back(_place(settings), to, by=by, reason=reason, now=now)
        except NothingBefore as nothing:
            raise (SentinelaError if to is None else BadUse)(str(nothing)) from nothing
    return _followed(settings, done, by, reason)


def approve(settings: Settings, version: str, *, by: str, note: str, now: datetime) -> Moved:
    """Promote what was proposed, as the asset ``model/approval`` does.

    Raises:
        BadUse: It was not proposed, or things have changed since.
        SentinelaError: It must not be served.
        NotRunning: MLflow does not answer.
    """
    from learning import handover
    from learning.errors import NotPromoted

    with _registry_asked():
        try:
            done = handover.approve(_place(settings), version, by=by, note=note, now=now)
        except NotPromoted as refused:
            raise BadUse(str(refused)) from refused
    return _followed(settings, done, by, note)


@contextmanager
def _registry_asked() -> Iterator[None]:
    from learning.errors import ArtefactRefused, RegistryError, RegistryUnavailable
    from learning.registry import MLFLOW_ENVIRONMENT

    # MLflow reads them when it is first imported; else a server that is gone is waited for for minutes.
    os.environ.update(MLFLOW_ENVIRONMENT)
    try:
        yield
    except RegistryUnavailable as away:
        raise NotRunning(str(away)) from away
    except ArtefactRefused as refused:
        raise SentinelaError(f"the alias was not moved; refused ({refused.reason}): {refused}") from refused
    except RegistryError as refused:
        raise SentinelaError(str(refused)) from refused


def _place(settings: Settings) -> "ModelPlace":
    from learning.handover import ModelPlace
    from learning.signing import PUBLIC_KEY_FILE

    return ModelPlace(
        uri=settings.mlflow,
        model_name=settings.model_name,
        downloads=settings.root / "tmp" / "models",
        public_key=settings.secrets / PUBLIC_KEY_FILE,
    )


def _followed(settings: Settings, done: "Handover", by: str, reason: str) -> Moved:
    served, why = until_served(_asking(settings), done.after)
    return Moved(done.before, done.after, by, reason, served, why)


def _asking(settings: Settings) -> Callable[[], Mapping[str, Any]]:
    from serving.operator import NoAnswer, Operator

    try:
        key = (settings.secrets / "api-key").read_text().strip()
    except OSError:
        missing = f"the service of {settings.root} was never started; it will decide by this version when it is"

        def never() -> Mapping[str, Any]:
            raise NoAnswer(missing)

        return never
    return Operator(settings.service, key).model


def until_served(
    ask: Callable[[], Mapping[str, Any]],
    version: str,
    *,
    timer: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[float | None, str]:
    """Ask the service until it names a version.

    Args:
        ask: What ``GET /v1/model`` says.
        version: The version.
        timer: Seconds of a monotonic clock.
        wait: Sleeps.

    Returns:
        Seconds until it did, and an empty text; or None, and why not.
    """
    from serving.operator import NotDone

    begun = timer()
    while True:
        try:
            serves = (ask()["model"] or {}).get("version", "none")
        except NotDone as away:
            return None, str(away)
        if serves == version:
            return timer() - begun, ""
        if timer() - begun >= FOLLOWED_WITHIN_SECONDS:
            waited = f"after {FOLLOWED_WITHIN_SECONDS:.0f} s the service still decides by version {serves}"
            return None, f"{waited}; `sentinela logs serving` says why"
        wait(POLL_SECONDS)
