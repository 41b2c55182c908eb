"""Two sides of a comparison, interleaved."""

import statistics
from collections.abc import Callable

ROUNDS = 11


def paired(name: str, ours: Callable[[], float], reference: Callable[[], float]) -> dict[str, object]:
    """Interleave both sides and compare medians; each side returns microseconds per operation."""
    pairs = [(ours(), reference()) for _ in range(ROUNDS)][1:]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return {"name": name, "ours_us": mine, "reference_us": theirs, "ratio": ratio}
