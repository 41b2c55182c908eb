"""Is a recorded model what its record gives? Fit again from it, and compare what would be served."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from learning import training
from learning.artefact import EVALUATION, write_models
from learning.ensemble import load_ensemble
from learning.errors import NotReproducible
from learning.recipe import TrainingConfig
from learning.registry import Downloaded
from learning.scoring import raw_scores
from learning.signing import file_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A recorded model beside one that was fit again.

    Attributes:
        rows: Rows that both were asked about: all that it was fit on.
        files: Files compared.
        differing: Those whose bytes differ. CatBoost writes a new identity and the time into each of its own.
        unequal: Raw scores of these rows that are not the same 64 bits, of what serves and of what judges.
        greatest_difference: Between two raw scores of one row.
    """

    rows: int
    files: int
    differing: tuple[str, ...]
    unequal: int
    greatest_difference: float

    @property
    def identical(self) -> bool:
        """Whether every prediction is the same, to the bit."""
        return self.unequal == 0


def reproduce(found: Downloaded, frame: pd.DataFrame, *, say: Callable[[str], None] = lambda _: None) -> Reproduction:
    """Fit by the recipe on a model's card, on the rows that it was made from.

    Args:
        found: The recorded model, verified.
        frame: Those rows.
        say: Told of every step.

    Raises:
        NotReproducible: The recipe is not one of this build.
        LearningError: The rows cannot be learnt from.
    """
    card = found.card
    try:
        config = TrainingConfig(**{**card.config, "members": tuple(card.config["members"])})
    except (TypeError, ValueError, KeyError) as other:
        raise NotReproducible(
            f"the recipe of version {found.ref.version} is not one of this build ({other}); check out the commit on "
            "its tag git_commit"
        ) from other
    trained = training.fit(frame, card.feature_names, config, say=say)
    with tempfile.TemporaryDirectory(prefix="sentinela-reproduction-") as scratch:
        again = Path(scratch)
        write_models(trained, again, fingerprint=card.fingerprint)
        names = sorted(path.name for path in again.iterdir())
        differing = tuple(name for name in names if not _same(found.folder / name, again / name))
        unequal, greatest = _compared(found.folder, again, frame) if differing else (0, 0.0)
    return Reproduction(
        rows=len(frame), files=len(names), differing=differing, unequal=unequal, greatest_difference=greatest
    )


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and file_sha256(one) == file_sha256(other)


def _compared(one: Path, other: Path, frame: pd.DataFrame) -> tuple[int, float]:
    """How many raw scores differ, and by how much at most."""
    unequal, greatest = 0, 0.0
    for prefix in ("", EVALUATION):
        ours, theirs = load_ensemble(one, prefix), load_ensemble(other, prefix)
        recorded, again = raw_scores(ours, frame), raw_scores(theirs, frame)
        unequal += int((recorded.view(np.int64) != again.view(np.int64)).sum())
        greatest = max(greatest, float(np.max(np.abs(recorded - again))))
    return unequal, greatest
