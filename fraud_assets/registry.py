"""Registered models as a resource: a thin door over ``learning``'s registry, its judgements and its successions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import dagster as dg

from pix import environments
from pix.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from fraud_assets.learning_rows import Recipe
    from learning.evidence import Candidate
    from learning.handover import Handover, ModelPlace
    from learning.label_news import LabelNews
    from learning.promotion import Decision, Evidence, Gates, Parity
    from learning.registering import Dataset, RegisteredVersion
    from learning.registry import ChampionRef, Downloaded
    from learning.training import Trained
    from serving.rerun_models import PastModels

Mode = Literal["automatic", "approval"]
Outcome = Literal["promoted", "proposed", "refused", "serves already"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A challenger beside the champion, and what was decided."""

    champion: "Evidence | None"
    challenger: "Evidence"
    decision: "Decision"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A version's files, and what its record says of its rows.

    Attributes:
        found: The files, verified.
        history: Whose payments it was made from.
        tables: Delta table -> version that was read.
        digests: Delta table -> hash of the rows that were read, where one was taken.
        git_commit: The code that made it.
    """

    found: "Downloaded"
    history: str
    tables: Mapping[str, int]
    digests: Mapping[str, str]
    git_commit: str


class RegistryResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Registered models in MLflow; their aliases say which one serves."""

    uri: str
    model_name: str
    cache: str
    served: str
    secrets: str
    mode: Mode

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The registry that the settings name."""
        return cls(
            uri=settings.mlflow,
            model_name=settings.model_name,
            cache=str(settings.root / "tmp" / "models"),
            served=str(settings.root / "serving" / "models"),
            secrets=str(settings.secrets),
            mode=settings.promotion,
        )

    def register(
        self, trained: "Trained", *, datasets: "Sequence[Dataset]", now: datetime, tags: Mapping[str, str]
    ) -> "RegisteredVersion":
        """Register a model as the challenger; logs into the process's active MLflow run."""
        from learning import registering, signing
        from learning.provenance import provenance
        from pix.features import FINGERPRINT

        signing.ensure_signing_keys(Path(self.secrets))
        made_by = {**provenance(environments.ROOT).tags(), "seed": str(trained.config.seed)}
        return registering.register(
            trained,
            uri=self.uri,
            model_name=self.model_name,
            private_key=Path(self.secrets) / signing.PRIVATE_KEY_FILE,
            fingerprint=FINGERPRINT,
            datasets=datasets,
            now=now,
            extra_tags={**tags, **made_by},
        )

    def news_in(self, frame: "pd.DataFrame", recipe: "Recipe") -> "LabelNews":
        """What rows know of labels that the champion, if it was fit on this history, could not learn from."""
        from learning.label_news import UNTIL, LabelNews
        from learning.succession import Succession

        succession = Succession(self.uri, self.model_name)
        serves = succession.versions().get(succession.serving())
        tags = serves.tags if serves is not None and serves.tags.get("history") == recipe.history else {}
        since = int(tags[UNTIL]) if UNTIL in tags else None
        return LabelNews.of(frame, since_ms=since, until_ms=recipe.as_of_ms, maturity_ms=recipe.maturity_ms)

    def challenger(self) -> "Downloaded | None":
        """The challenger's files; None while there is none."""
        from learning.registry import CHALLENGER

        return self._of_alias(CHALLENGER)

    def champion(self) -> "Downloaded | None":
        """The champion's files; None while there is none."""
        from learning.registry import CHAMPION

        return self._of_alias(CHAMPION)

    def _of_alias(self, alias: str) -> "Downloaded | None":
        from learning import registry

        place = self.place()
        return registry.download_champion(
            self.uri, self.model_name, place.downloads, public_key=place.public_key, alias=alias
        )

    def judge(self, frame: "pd.DataFrame", rules: "Gates", *, parity: "Parity | None", seed: int) -> Judged | None:
        """Champion and challenger on rows neither has seen, and what is decided; None without a challenger."""
        import numpy as np

        from learning import evidence, promotion
        from learning.registry import CHALLENGER, CHAMPION
        from pix.features import FINGERPRINT

        challenger = self._candidate(CHALLENGER)
        if challenger is None:
            return None
        rng = np.random.default_rng(seed)
        theirs, ours = evidence.gather(frame, challenger, self._candidate(CHAMPION), parity=parity, rng=rng)
        return Judged(theirs, ours, promotion.decide(theirs, ours, served_fingerprint=FINGERPRINT, rules=rules))

    def settle(self, judged: Judged, mode: Mode, *, now: datetime) -> Outcome:
        """Promote, propose or refuse as was decided; the reasons stand on the version."""
        from learning.succession import NOBODY, Succession

        version, reasons = judged.challenger.version, judged.decision.reasons
        over = judged.champion.version if judged.champion is not None else NOBODY
        if version == over:
            return "serves already"
        succession = Succession(self.uri, self.model_name)
        if not judged.decision.promote:
            succession.refuse(version, reasons, now=now)
            return "refused"
        if mode == "approval":
            succession.propose(version, reasons, over=over, now=now)
            return "proposed"
        succession.promote(version, reasons, over=over, now=now)
        return "promoted"

    def approve(self, version: str, *, by: str, note: str, now: datetime) -> "Handover":
        """Promote what was proposed, as a person."""
        from learning import handover

        return handover.approve(self.place(), version, by=by, note=note, now=now)

    def recorded(self, version: str) -> Recorded:
        """A version's files and record; of the champion if none is named.

        Raises:
            learning.errors.NotReproducible: There is no such version, or its record lacks what it was made from.
        """
        from learning import registry
        from learning.errors import NotReproducible

        ref = self._named(version)
        if ref is None:
            raise NotReproducible(f"{self.model_name} has no {f'version {version!r}' if version else 'champion'}")
        place, record = self.place(), registry.record_of(self.uri, ref)
        found = registry.download(self.uri, ref, place.downloads, public_key=place.public_key)
        history, commit = record.tags.get("history", ""), record.tags.get("git_commit", "unknown")
        return Recorded(found, history, record.tables, record.digests, commit)

    def version(self, version: str) -> "Downloaded":
        """A version's files, whatever became of it; of the champion if none is named.

        Raises:
            learning.errors.UnknownVersion: There is no such version.
            learning.errors.ArtefactRefused: Its files are not what was registered and signed.
        """
        from learning import registry
        from learning.errors import UnknownVersion
        from learning.succession import Succession

        ref = self._named(version)
        if ref is None:
            there = sorted(Succession(self.uri, self.model_name).versions(), key=int)
            raise UnknownVersion(
                f"{self.model_name} has no {f'version {version!r}' if version else 'champion'}; there are "
                f"{', '.join(there) or 'none'}: name one as model_version, or materialise model/challenger"
            )
        place = self.place()
        return registry.download(self.uri, ref, place.downloads, public_key=place.public_key)

    def publish_card(self, alias: str) -> "tuple[str, str] | None":
        """Write the card of the version that an alias points to into MLflow.

        Returns:
            The version and the card in Markdown; None while the alias points to none.
        """
        from learning.card_page import Standing, page
        from learning.registering import publish_card
        from learning.succession import Succession

        found = self._of_alias(alias)
        if found is None:
            return None
        succession, ref = Succession(self.uri, self.model_name), found.ref
        tags, serves = succession.versions()[ref.version].tags, succession.serving() == ref.version
        text = page(found.card, Standing(name=ref.name, version=ref.version, serves=serves, tags=tags))
        publish_card(self.uri, ref, text)
        return ref.version, text

    def data_versions(self) -> dict[str, dict[str, int]]:
        """Registered version -> Delta table -> the version that it was made from."""
        from learning import registry

        return registry.data_versions(self.uri, self.model_name)

    def past_models(self) -> "PastModels":
        """Versions that decided, by what stands on a decision; the service's own copies will do, if whole."""
        from serving.rerun_models import PastModels

        place = self.place()
        return PastModels(
            uri=self.uri,
            public_key=place.public_key,
            downloads=place.downloads,
            copies=(Path(self.served),),
        )

    def place(self) -> "ModelPlace":
        """Where versions are found, kept and verified against which key."""
        from learning import signing
        from learning.handover import ModelPlace

        return ModelPlace(
            uri=self.uri,
            model_name=self.model_name,
            downloads=Path(self.cache),
            public_key=Path(self.secrets) / signing.PUBLIC_KEY_FILE,
        )

    def _named(self, version: str) -> "ChampionRef | None":
        """A version by its number, or the champion by none; None if there is none."""
        from learning import registry

        if version:
            return registry.version_of(self.uri, self.model_name, version)
        return registry.champion(self.uri, self.model_name)

    def _candidate(self, alias: str) -> "Candidate | None":
        from learning import registry
        from learning.evidence import look_into
        from learning.succession import Succession

        ref = registry.champion(self.uri, self.model_name, alias=alias)
        if ref is None:
            return None
        place, version = self.place(), Succession(self.uri, self.model_name).versions()[ref.version]
        return look_into(
            ref,
            lambda: registry.download(self.uri, ref, place.downloads, public_key=place.public_key),
            rolled_back=version.rolled_back,
        )
