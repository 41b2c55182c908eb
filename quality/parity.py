"""Is every logged feature, recomputed offline, equal bit for bit? Pure: vectors in, a frozen report out.

Equal means the same 64 bits, with two exceptions that carry no information: null is NaN, and NaN equals
NaN whatever its payload. 0.0 and −0.0 differ, because a division tells them apart.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quality.errors import VectorsDiffer

if TYPE_CHECKING:
    import pyarrow as pa

MAX_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One value that differs; ``row`` is the decision's id, or its position where no ids were given."""

    row: str
    feature: str
    logged: float
    recomputed: float

    def __str__(self) -> str:
        return f"{self.row} {self.feature}: logged {self.logged!r}, recomputed {self.recomputed!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """How logged and recomputed vectors compare.

    Attributes:
        compared: Vectors compared.
        mismatches: Vectors with at least one value that differs.
        by_feature: Feature → vectors in which it differs; only features that do.
        examples: The first values that differ.
    """

    compared: int
    mismatches: int
    by_feature: Mapping[str, int]
    examples: tuple[Mismatch, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.mismatches == 0

    def __add__(self, other: "ParityReport") -> "ParityReport":
        """The report over the rows of both, for callers that compare in batches."""
        return ParityReport(
            compared=self.compared + other.compared,
            mismatches=self.mismatches + other.mismatches,
            by_feature=dict(Counter(self.by_feature) + Counter(other.by_feature)),
            examples=(*self.examples, *other.examples)[:MAX_EXAMPLES],
        )


def compare(
    logged: Sequence[Any] | NDArray[Any],
    recomputed: Sequence[Any] | NDArray[Any],
    feature_names: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
) -> ParityReport:
    """Compare vectors row by row.

    Args:
        logged: Vectors as decisions carry them; a missing value may be None or NaN.
        recomputed: Vectors of the same decisions in the same order.
        feature_names: Names of the vectors' places.
        ids: Names of the rows for the examples.

    Raises:
        VectorsDiffer: Another number of rows, or a vector of another length.
    """
    ours = _matrix("logged", logged, len(feature_names))
    theirs = _matrix("recomputed", recomputed, len(feature_names))
    if len(ours) != len(theirs) or (ids is not None and len(ids) != len(ours)):
        raise VectorsDiffer(
            f"{len(ours)} logged vectors, {len(theirs)} recomputed"
            + ("" if ids is None else f", {len(ids)} ids")
            + "; compare the same decisions in the same order"
        )
    differs = (ours.view(np.int64) != theirs.view(np.int64)) & ~(np.isnan(ours) & np.isnan(theirs))
    counts = differs.sum(axis=0)
    examples = tuple(
        Mismatch(
            ids[row] if ids is not None else str(row),
            feature_names[place],
            float(ours[row, place]),
            float(theirs[row, place]),
        )
        for row, place in np.argwhere(differs)[:MAX_EXAMPLES]
    )
    return ParityReport(
        compared=len(ours),
        mismatches=int(differs.any(axis=1).sum()),
        by_feature={name: int(n) for name, n in zip(feature_names, counts, strict=True) if n},
        examples=examples,
    )


def _matrix(which: str, rows: Sequence[Any] | NDArray[Any], width: int) -> NDArray[np.float64]:
    if isinstance(rows, np.ndarray) and rows.dtype == np.float64 and rows.shape == (len(rows), width):
        return np.ascontiguousarray(rows)
    for position, row in enumerate(rows):
        if row is None or len(row) != width:
            found = "no vector" if row is None else f"{len(row)} values"
            raise VectorsDiffer(f"{which} row {position} has {found}, the features are {width}")
    matrix = np.array([np.asarray(row, dtype=np.float64) for row in rows], dtype=np.float64)
    return np.ascontiguousarray(matrix.reshape(len(rows), width))


CARRIED = ("carried.payer_flagged", "carried.payee_flagged")
"""Compared beside the features, under these names; bits of one integer in ``features/payment_features``."""


def of_rows(batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Compare rows of ``features/payment_features`` where they are: one JSON report for all batches.

    Args:
        batches: end_to_end_id, features, logged, carried, logged_carried; logged under this build's declarations.
    """
    import pyarrow as pa

    from pix.features import FEATURE_NAMES
    from pix.offline.vectors import matrix

    names, report = (*FEATURE_NAMES, *CARRIED), no_rows()
    for batch in batches:
        sides = (("logged", "logged_carried"), ("features", "carried"))
        logged, recomputed = (np.hstack([matrix(batch[v]), _bits(batch[c].to_numpy())]) for v, c in sides)
        report += compare(logged, recomputed, names, ids=batch["end_to_end_id"].to_pylist())
    yield pa.RecordBatch.from_arrays([pa.array([json.dumps(asdict(report))])], names=["report"])


def _bits(flags: NDArray[Any]) -> NDArray[np.float64]:
    return np.stack([flags & 1, flags >> 1 & 1], axis=1).astype(np.float64)


def no_rows() -> ParityReport:
    """The report over nothing."""
    return ParityReport(compared=0, mismatches=0, by_feature={}, examples=())


def report_of(text: str) -> ParityReport:
    """A report from its JSON."""
    content = json.loads(text)
    examples = tuple(Mismatch(**example) for example in content.pop("examples"))
    return ParityReport(**content, examples=examples)
