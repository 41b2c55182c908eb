"""Who serves, who served, and who may: the alias ``champion``, and the tags that say why it moved.

Tags of a version, all written before the alias moves, so that no champion is without its reason:

promoted_at, promotion_reasons                 when a decision, or a person, made it the champion, and why
promotion_by, promotion_note                   the person who approved it, where that was asked for
label_to_service_hours_p50, _p95               how long its new labels had waited for it then (``learning.label_news``)
promotion_proposed_at, promotion_proposed_over it waits for a person, and which version served then
promotion_refused_at, promotion_refusals       the newest judgement that refused it
champion_since                                 when the alias last moved to it
rolled_back_at, _to, _by, _reason              when it was taken out of service, for which version, by whom and why

No Dagster here, and no file of a model is read: whoever moves the alias has verified them (``learning.evidence``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from learning.errors import NothingBefore, NotPromoted, RegistryError
from learning.label_news import hours_until
from learning.registry import CHALLENGER, CHAMPION, MOST_VERSIONS, champion, client_of, require_reachable, shown

NOBODY = "none"
"""Stands for the champion where there is none."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version with its tags."""

    version: str
    tags: Mapping[str, str]

    def instant(self, tag: str) -> datetime | None:
        """When a tag says; None without it."""
        said = self.tags.get(tag)
        return datetime.fromisoformat(said) if said else None

    @property
    def rolled_back(self) -> str:
        """When, by whom and why it was taken out of service; empty if it never was."""
        at = self.tags.get("rolled_back_at")
        if not at:
            return ""
        by, why = (self.tags.get(f"rolled_back_{name}", "") for name in ("by", "reason"))
        return f"at {at}" + (f" by {by}" if by else "") + (f" ({why})" if why else "")


class Succession:
    """The versions of one registered model."""

    def __init__(self, uri: str, model_name: str) -> None:
        """Look at a model's versions.

        Args:
            uri: Address of MLflow.
            model_name: Registered model.

        Raises:
            RegistryUnavailable: The server does not answer.
        """
        require_reachable(uri)
        self._uri, self._name, self._client = uri, model_name, client_of(uri)

    def versions(self) -> dict[str, Version]:
        """Every version there is, by its number.

        Raises:
            RegistryError: MLflow refuses.
        """
        with self._asked("list"):
            found = self._client.search_model_versions(f"name='{self._name}'", max_results=MOST_VERSIONS)
        return {str(each.version): Version(str(each.version), dict(each.tags)) for each in found}

    def serving(self) -> str:
        """The version that serves, ``NOBODY`` while there is none."""
        found = champion(self._uri, self._name)
        return found.version if found else NOBODY

    def promote(
        self, version: str, reasons: Sequence[str], *, over: str, now: datetime, by: str = "", note: str = ""
    ) -> None:
        """Make a version the champion.

        Args:
            version: The version.
            reasons: Why.
            over: The version that served when that was decided, or ``NOBODY``.
            now: The clock.
            by: The person who approved it.
            note: What that person had to say.

        Raises:
            NotPromoted: Another version serves by now: what was decided was not decided over it.
        """
        if (serves := self.serving()) != over:
            raise NotPromoted(
                f"version {version} was judged over {over}, but {serves} serves by now; materialise model/champion "
                "again"
            )
        person = {"promotion_by": by, "promotion_note": note} if by else {}
        found = self.versions().get(version)
        waited = hours_until(found.tags if found else {}, round(now.timestamp() * 1000), of="service")
        told = {**person, **{name: str(hours) for name, hours in waited.items()}}
        self._tag(version, promoted_at=now.isoformat(), promotion_reasons="\n".join(reasons), **told)
        self._untag(version, "promotion_proposed_at", "promotion_proposed_over")
        self._move(version, now)

    def propose(self, version: str, reasons: Sequence[str], *, over: str, now: datetime) -> None:
        """Record that a version waits for a person; the champion stays."""
        self._tag(
            version,
            promotion_proposed_at=now.isoformat(),
            promotion_proposed_over=over,
            promotion_reasons="\n".join(reasons),
        )

    def refuse(self, version: str, reasons: Sequence[str], *, now: datetime) -> None:
        """Record why a version was refused; an earlier proposal of it is withdrawn."""
        self._tag(version, promotion_refused_at=now.isoformat(), promotion_refusals="\n".join(reasons))
        self._untag(version, "promotion_proposed_at", "promotion_proposed_over")

    def approve(self, version: str, *, by: str, note: str, now: datetime) -> str:
        """Promote what was proposed, as a person.

        Returns:
            The version that served before, or ``NOBODY``.

        Raises:
            NotPromoted: It was not proposed, or things have changed since.
        """
        over = self.require_proposed(version)
        if not by.strip():
            raise NotPromoted(f"say who approves version {version}: it stands on the record")
        reasons = self.versions()[version].tags.get("promotion_reasons", "").split("\n")
        self.promote(version, reasons, over=over, now=now, by=by.strip(), note=note.strip())
        return over

    def require_proposed(self, version: str) -> str:
        """Whom a proposal that still stands would replace.

        Raises:
            NotPromoted: There is no such proposal.
        """
        every = self.versions()
        found = every.get(version)
        if found is None:
            raise NotPromoted(f"{self._name} has no version {version!r}; it has {', '.join(every) or 'none'}")
        proposed = found.instant("promotion_proposed_at")
        if proposed is None:
            raise NotPromoted(
                f"version {version} is not proposed; materialise model/champion, which judges the challenger"
            )
        newest = champion(self._uri, self._name, alias=CHALLENGER)
        if newest is None or newest.version != version:
            raise NotPromoted(f"version {version} is not the challenger any more; materialise model/champion again")
        over, serves = found.tags.get("promotion_proposed_over", NOBODY), self.serving()
        since = every[serves].instant("champion_since") if serves in every else None
        if serves != over or (since is not None and since > proposed):
            raise NotPromoted(
                f"version {version} was proposed over {over} at {proposed.isoformat()}, but {serves} serves since; "
                "materialise model/champion again"
            )
        return over

    def before(self) -> str:
        """The version that served before the present one, and was never taken out of service itself.

        Raises:
            NothingBefore: There is none.
        """
        every, serves = self.versions(), self.serving()
        present = every.get(serves)
        until = present.instant("promoted_at") if present else None
        served = {
            at: each.version
            for each in every.values()
            if each.version != serves and not each.rolled_back and (at := each.instant("promoted_at")) is not None
            if until is None or at < until
        }
        if not served:
            raise NothingBefore(
                f"no version of {self._name} served before {serves}, or each was rolled back itself; `--to` names any "
                "that served once"
            )
        return served[max(served)]

    def require_served(self, version: str) -> str:
        """A version that served once and does not now, as it was given.

        Raises:
            NothingBefore: It never served, or serves now.
        """
        every, serves = self.versions(), self.serving()
        if version == serves:
            raise NothingBefore(f"version {version} of {self._name} serves already")
        served = [each.version for each in every.values() if each.instant("promoted_at") and each.version != serves]
        if version not in served:
            known = ", ".join(sorted(served, key=int)) or "none"
            raise NothingBefore(f"version {version!r} of {self._name} never served; those that did: {known}")
        return version

    def roll_back(self, to: str, *, by: str, reason: str, now: datetime) -> str:
        """Let a version that served once serve again; the present one is marked, and no decision promotes it again.

        Args:
            to: The version.
            by: Who wants it.
            reason: Why.
            now: The clock.

        Returns:
            The version that served until now, or ``NOBODY``.

        Raises:
            NothingBefore: It never served, or serves now.
        """
        self.require_served(to)
        every, serves = self.versions(), self.serving()
        if serves in every:
            told = {"rolled_back_to": to, "rolled_back_by": by, "rolled_back_reason": reason}
            self._tag(serves, rolled_back_at=now.isoformat(), **{name: said for name, said in told.items() if said})
        self._move(to, now)
        return serves

    def _move(self, version: str, now: datetime) -> None:
        self._tag(version, champion_since=now.isoformat())
        with self._asked(f"move the champion to version {version} of"):
            self._client.set_registered_model_alias(self._name, CHAMPION, version)

    def _tag(self, version: str, **tags: str) -> None:
        with self._asked(f"record {', '.join(tags)} on version {version} of"):
            for name, value in tags.items():
                self._client.set_model_version_tag(self._name, version, name, value)

    def _untag(self, version: str, *names: str) -> None:
        with self._asked(f"take {', '.join(names)} from version {version} of"):
            there: Any = self._client.get_model_version(self._name, version).tags
            for name in names:
                if name in there:
                    self._client.delete_model_version_tag(self._name, version, name)

    @contextmanager
    def _asked(self, doing: str) -> Iterator[None]:
        """What MLflow refuses, as this package's error."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise RegistryError(f"MLflow at {shown(self._uri)} refused to {doing} {self._name}: {error}") from error
