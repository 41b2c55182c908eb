"""Rows with the answers of the library that trained a member, kept beside it.

Made at training and held against the native member whenever it is loaded, so that a service finds a difference
before it serves, without the library. Rows are drawn where differences hide: on both sides of a model's borders in
single and in double precision, missing, infinite, huge and tiny.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from learning.errors import ArtefactRefused
from pix.features import FEATURE_NAMES

if TYPE_CHECKING:
    from learning.additive import Table
    from learning.ensemble import LoadedMember

ROWS = 256
TOLERANCE = 1e-9
EXTREMES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-40, 3.5e38, -3.5e38, 1.7e308, -1.7e308)


@dataclass(frozen=True, slots=True)
class Checks:
    """Questions and right answers.

    Attributes:
        rows: Inputs in the model's order, one row each.
        log_odds: The library's answer per row, asked alone; held to the bit, or to the member's own tolerance.
        contributions: SHAP values per row and input; held to ``TOLERANCE``.
        expected: The value that they add up from.
    """

    rows: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    contributions: NDArray[np.float64]
    expected: float

    def write(self, path: Path) -> None:
        """Write them, compressed."""
        np.savez_compressed(
            path,
            rows=self.rows,
            log_odds=self.log_odds,
            contributions=self.contributions,
            expected=np.array([self.expected]),
        )


def read_checks(path: Path, inputs: int) -> Checks:
    """Read what ``Checks.write`` wrote.

    Raises:
        ArtefactRefused: The file is missing, or not of that shape.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            checks = Checks(found["rows"], found["log_odds"], found["contributions"], float(found["expected"][0]))
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile) as broken:
        raise ArtefactRefused("malformed", f"{path} holds no checks: {broken}; register again") from broken
    count = len(checks.rows)
    shapes = (checks.rows.shape, checks.log_odds.shape, checks.contributions.shape)
    kinds = {checks.rows.dtype, checks.log_odds.dtype, checks.contributions.dtype}
    if count == 0 or shapes != ((count, inputs), (count,), (count, inputs)) or kinds != {np.dtype(np.float64)}:
        raise ArtefactRefused(
            "malformed", f"{path} holds checks of shapes {shapes} for {inputs} inputs; register again"
        )
    return checks


def refuse_unequal(name: str, member: "LoadedMember", checks: Checks, places: Sequence[int]) -> None:
    """Ask a native member every question.

    Raises:
        ArtefactRefused: An answer differs from the library's.
    """
    vector = np.full(len(FEATURE_NAMES), np.nan)
    for number, row in enumerate(checks.rows):
        vector[list(places)] = row
        got, wanted = member.log_odds(vector), float(checks.log_odds[number])
        if not abs(got - wanted) <= member.tolerance:
            raise ArtefactRefused(
                "unequal",
                f"member {name} scores row {number} of its checks {got!r} here, {wanted!r} where it was trained; "
                "train and register again with the versions of this build",
            )
        off = float(np.max(np.abs(member.contributions(vector) - checks.contributions[number])))
        if not off <= TOLERANCE:
            raise ArtefactRefused(
                "unequal", f"contributions of member {name} on row {number} of its checks are off by {off:.3g}"
            )
    if not abs(member.expected - checks.expected) <= TOLERANCE:
        raise ArtefactRefused("unequal", f"member {name} expects {member.expected!r}, its library {checks.expected!r}")


def catboost_checks(model: object, borders: Sequence[Sequence[float]], draw: np.random.Generator) -> Checks:
    """Ask CatBoost.

    Args:
        model: A fitted ``CatBoostClassifier``.
        borders: Per input, the borders that its trees ask about.
        draw: Source of the rows.
    """
    rows = drawn_rows(borders, ROWS, draw)
    return Checks(rows, *catboost_answers(model, rows))


def catboost_answers(
    model: object, rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """CatBoost's own log-odds, each row asked alone, its SHAP values and their expected value."""
    from catboost import CatBoostClassifier, Pool

    if not isinstance(model, CatBoostClassifier):
        raise TypeError(f"not a CatBoostClassifier: {type(model).__name__}")
    log_odds = [model.predict(row.tolist(), prediction_type="RawFormulaVal", thread_count=1) for row in rows]
    values = model.get_feature_importance(Pool(rows), type="ShapValues", thread_count=1)
    return np.array(log_odds, np.float64), values[:, :-1].copy(), float(values[0, -1])


def table_checks(table: "Table", draw: np.random.Generator) -> Checks:
    """Ask a table by plain numpy.

    Args:
        table: Of a member.
        draw: Source of the rows.
    """
    rows = drawn_rows([bins.borders for bins in table.inputs], ROWS, draw)
    parts = np.empty(rows.shape)
    for place, bins in enumerate(table.inputs):
        of_bin = np.array([*bins.values, bins.missing])
        bin_of = np.searchsorted(bins.borders, rows[:, place], side="left")
        parts[:, place] = of_bin[np.where(np.isnan(rows[:, place]), len(bins.values), bin_of)]
    means = np.array([bins.expected for bins in table.inputs])
    return Checks(rows, table.intercept + parts.sum(axis=1), parts - means, table.intercept + float(means.sum()))


def drawn_rows(borders: Sequence[Sequence[float]], count: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Rows on, around and far from borders."""
    rows = np.empty((count, len(borders)))
    for place, of_input in enumerate(borders):
        around = np.array(of_input if len(of_input) else [0.0])
        chosen = around[draw.integers(len(around), size=count)]
        single = chosen.astype(np.float32)
        with np.errstate(over="ignore"):
            above, below = (np.nextafter(single, np.float32(side)) for side in (np.inf, -np.inf))
        beside = [
            chosen,
            np.nextafter(chosen, np.inf),
            np.nextafter(chosen, -np.inf),
            above.astype(np.float64),
            below.astype(np.float64),
            chosen + draw.normal(size=count) * (1 + np.median(np.abs(around))),
            np.array(EXTREMES)[draw.integers(len(EXTREMES), size=count)],
            np.full(count, np.nan),
        ]
        rows[:, place] = np.choose(draw.integers(len(beside), size=count), beside)
    return rows
