"""CatBoost's trees without CatBoost: raw scores bit for bit, and exact SHAP values.

Read from CatBoost's JSON export. All its trees are oblivious: one question per level, the same for every row, so
the answers are the number of a leaf. A row's SHAP values depend on that leaf alone; they are laid out per leaf
when a model is read, and explaining a row is adding up as many numbers as scoring it, times the depth.

Compiled with explicit signatures and cached: a service must not compile while it starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, isfinite
from typing import Any, NamedTuple

import numpy as np
from numba import float32, float64, njit, types, uint32
from numpy.typing import NDArray

from learning.errors import ArtefactRefused
from pix.contracts import InvalidMessage, parse_json_object

MAX_DEPTH = 10
"""SHAP values are laid out over all leaves and all sets of a tree's features: 4 to the power of this."""
MAX_BYTES = 512 * 2**20
ROWS_AT_ONCE = 128
"""Of many: as many as a processor compares with one border in a few instructions and has near at hand."""
# How CatBoost answers a question about a missing value: as if it lay below or above every border.
NAN_AS = {"AsIs": -np.inf, "AsFalse": -np.inf, "AsTrue": np.inf}

_places = types.Array(uint32, 1, "C")
_singles = types.Array(float32, 1, "C")
_doubles = types.Array(float64, 1, "C")
_grid = types.Array(float64, 2, "C")
# Read-only, so that vectors can be scored where Arrow has them.
_rows = types.Array(float64, 2, "C", readonly=True)
_inner = njit(nogil=True, error_model="numpy")


@_inner
def singles(vector, inputs, nan_as):
    """The model's inputs as CatBoost sees them: single precision, missing values on their side of every border."""
    row = np.empty(inputs.size, np.float32)
    for n in range(inputs.size):
        value = vector[inputs[n]]
        row[n] = nan_as[n] if value != value else np.float32(value)
    return row


@_inner
def leaf(row, starts, asked, borders, tree):
    """Number of the leaf that a row falls into."""
    number, bit = uint32(0), uint32(0)
    for split in range(starts[tree], starts[tree + uint32(1)]):
        number |= uint32(row[asked[split]] > borders[split]) << bit
        bit += uint32(1)
    return number


@njit(
    float64(_doubles, _places, _singles, _places, _places, _singles, _places, _doubles),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _total(vector, inputs, nan_as, starts, asked, borders, leaves_at, leaves):
    """Sum of the leaves that a row falls into, tree after tree as CatBoost adds them."""
    row = singles(vector, inputs, nan_as)
    total = 0.0
    for tree in range(uint32(starts.size - 1)):
        total += leaves[leaves_at[tree] + leaf(row, starts, asked, borders, tree)]
    return total


@njit(
    types.void(_rows, _places, _singles, _places, _places, _singles, _places, _doubles, _doubles),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _totals(rows, inputs, nan_as, starts, asked, borders, leaves_at, leaves, out):
    """``_total`` of many rows: some go through a tree together, and each adds its leaves in the same order."""
    columns, numbers = np.empty((inputs.size, ROWS_AT_ONCE), np.float32), np.empty(ROWS_AT_ONCE, np.uint32)
    for first in range(0, rows.shape[0], ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows.shape[0] - first)
        totals = out[first : first + count]
        totals[:] = 0.0
        for row in range(count):
            for n in range(inputs.size):
                value = rows[first + row, inputs[n]]
                columns[n, row] = nan_as[n] if value != value else np.float32(value)
        for tree in range(starts.size - 1):
            numbers[:], bit = 0, uint32(1)
            for split in range(starts[tree], starts[tree + 1]):
                column, border = columns[asked[split]], borders[split]
                # Over the places of rows that are not there, too: a constant count is what becomes few instructions.
                for row in range(ROWS_AT_ONCE):
                    numbers[row] += bit if column[row] > border else uint32(0)
                bit = uint32(bit + bit)
            reached = leaves[leaves_at[tree] :]
            for row in range(count):
                totals[row] += reached[numbers[row]]


@njit(
    types.void(
        *(_doubles, _places, _singles, _places, _places, _singles),
        *(_places, _places, _places, _doubles, _doubles),
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _explain(vector, inputs, nan_as, starts, asked, borders, names_at, names, values_at, values, out):
    """Add the SHAP values of the leaves that a row falls into, each to its input."""
    row = singles(vector, inputs, nan_as)
    for tree in range(uint32(starts.size - 1)):
        first, count = names_at[tree], names_at[tree + uint32(1)] - names_at[tree]
        at = values_at[tree] + leaf(row, starts, asked, borders, tree) * count
        for n in range(count):
            out[names[first + n]] += values[at + n]


@njit(float64(_doubles, _doubles, _places, _doubles, _grid), nogil=True, cache=True, error_model="numpy")
def _lay_out(leaves, covers, name_of_split, shares, out):
    """SHAP values of every leaf of one tree.

    Args:
        leaves: Its values.
        covers: How many training rows fell into each leaf.
        name_of_split: Per level, which of the tree's distinct inputs it asks about; the last level is the root.
        shares: Per number of inputs known before, the weight of one more becoming known.
        out: Gets a row per leaf and a column per distinct input.

    Returns:
        The tree's expected value.
    """
    size, depth, count = leaves.size, name_of_split.size, out.shape[1]
    known = np.empty((1 << count, size), np.float64)
    for subset in range(1 << count):
        values = known[subset]
        values[:] = leaves
        below = covers.copy()
        for level in range(depth):
            for one in range(size):
                other = one | (1 << level)
                if one == other:
                    continue
                left, right = below[one], below[other]
                both = left + right
                if subset >> name_of_split[level] & 1 == 0:
                    # Unknown: as the training rows that came here went on. Where none came, no side is likelier.
                    mean = (values[one] + values[other]) / 2
                    if both > 0:
                        mean = (left * values[one] + right * values[other]) / both
                    values[one] = values[other] = mean
                below[one] = below[other] = both
    out[:] = 0.0
    for name in range(count):
        for subset in range(1 << count):
            if subset >> name & 1:
                continue
            others, rest = 0, subset
            while rest:
                others += rest & 1
                rest >>= 1
            for n in range(size):
                out[n, name] += shares[others] * (known[subset | 1 << name, n] - known[subset, n])
    return known[0, 0]


class Split(NamedTuple):
    """One question: is this input above this border?"""

    asked: int
    border: float


@dataclass(frozen=True, slots=True)
class Tree:
    """One oblivious tree, checked.

    Attributes:
        splits: Its questions; the first one is the lowest bit of a leaf's number.
        leaves: Value per leaf.
        covers: Training rows per leaf.
    """

    splits: tuple[Split, ...]
    leaves: tuple[float, ...]
    covers: tuple[float, ...]


class CatBoostTrees:
    """A member of the ensemble; see ``learning.ensemble.LoadedMember``."""

    tolerance = 0.0

    def __init__(self, content: bytes, places: Sequence[int]) -> None:
        """Read an exported model.

        Args:
            content: What ``save_model(format="json")`` wrote.
            places: Per input of the model, its place in the vectors to score.

        Raises:
            ArtefactRefused: It is no model of oblivious trees over that many numeric inputs with one output.
        """
        try:
            model = parse_json_object(content, MAX_BYTES)
        except InvalidMessage as broken:
            raise _malformed(f"not JSON: {broken}") from broken
        nan_as, trees = _checked_inputs(model, len(places)), _checked_trees(model, len(places))
        self._scale, self._bias = _checked_scale(model)
        sizes = [len(tree.leaves) for tree in trees]
        questions = [split for tree in trees for split in tree.splits]
        self._inputs = np.array(places, np.uint32)
        self._walk: tuple[NDArray[Any], ...] = (
            self._inputs,
            np.array(nan_as, np.float32),
            _starts([len(tree.splits) for tree in trees]),
            np.array([split.asked for split in questions], np.uint32),
            np.array([split.border for split in questions], np.float32),
        )
        self._leaves = (_starts(sizes)[:-1].copy(), np.concatenate([np.array(tree.leaves) for tree in trees]))
        self._names = [sorted({split.asked for split in tree.splits}) for tree in trees]
        self._shap = self._laid_out(trees)

    def _laid_out(self, trees: Sequence[Tree]) -> tuple[NDArray[Any], ...]:
        tables, expected = [], 0.0
        for tree, names in zip(trees, self._names, strict=True):
            count = len(names)
            shares = [factorial(n) * factorial(count - n - 1) / factorial(count) for n in range(count)]
            table = np.empty((len(tree.leaves), count))
            of_split = np.array([names.index(split.asked) for split in tree.splits], np.uint32)
            leaves, covers = np.array(tree.leaves), np.array(tree.covers)
            expected += _lay_out(leaves, covers, of_split, np.array(shares, np.float64), table)
            tables.append(table.ravel() * self._scale)
        self.expected = expected * self._scale + self._bias
        return (
            _starts([len(names) for names in self._names]),
            np.array([place for names in self._names for place in names], np.uint32),
            _starts([table.size for table in tables])[:-1].copy(),
            np.concatenate(tables),
        )

    def log_odds(self, vector: NDArray[np.float64]) -> float:
        """Bit for bit what CatBoost's ``predict`` gives for this row alone as RawFormulaVal."""
        total: float = _total(vector, *self._walk, *self._leaves)  # type: ignore[call-arg]
        return total * self._scale + self._bias

    def log_odds_of(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of many rows."""
        out = np.empty(len(rows))
        _totals(rows, *self._walk, *self._leaves, out)  # type: ignore[call-arg]
        return out * self._scale + self._bias

    def contributions(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """SHAP value per input of the model; with ``expected`` they sum to ``log_odds``."""
        out = np.zeros(self._inputs.size)
        _explain(vector, *self._walk, *self._shap, out)  # type: ignore[call-arg]
        return out


def _starts(sizes: Sequence[int]) -> NDArray[np.uint32]:
    """Where each of several parts begins when they stand one after the other, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32)


def _malformed(why: str) -> ArtefactRefused:
    return ArtefactRefused("malformed", f"a CatBoost member cannot be read: {why}; train and register again")


def _checked_inputs(model: dict[str, Any], count: int) -> list[float]:
    """Per input, what stands for a missing value."""
    try:
        described = model["features_info"]
        others = sorted(kind for kind, found in described.items() if found and kind != "float_features")
        floats = described["float_features"]
        treatments = {one["flat_feature_index"]: NAN_AS[one["nan_value_treatment"]] for one in floats}
        are_plain = all(one["feature_index"] == one["flat_feature_index"] for one in floats)
    except (KeyError, TypeError, AttributeError) as missing:
        raise _malformed(f"features_info lacks or misstates {missing}") from missing
    if others or not are_plain:
        raise _malformed(f"only numeric inputs are served, it has {', '.join(others) or 'others in between'}")
    if sorted(treatments) != list(range(count)):
        raise _malformed(f"it has {len(treatments)} inputs, {count} are declared")
    return [treatments[n] for n in range(count)]


def _checked_scale(model: dict[str, Any]) -> tuple[float, float]:
    match model.get("scale_and_bias"):
        case [int() | float() as scale, [int() | float() as bias]] if isfinite(scale) and isfinite(bias):
            return float(scale), float(bias)
    raise _malformed("scale_and_bias must be a number and a list of one")


def _checked_trees(model: dict[str, Any], count: int) -> list[Tree]:
    found = model.get("oblivious_trees")
    if not isinstance(found, list) or not found:
        raise _malformed("it has no oblivious_trees; train with the default grow_policy")
    return [_checked_tree(number, tree, count) for number, tree in enumerate(found)]


def _checked_tree(number: int, tree: Any, count: int) -> Tree:
    try:
        asked = tree["splits"] or []
        kinds = {split["split_type"] for split in asked}
        splits = tuple(Split(split["float_feature_index"], split["border"]) for split in asked)
        leaves, covers = tuple(map(float, tree["leaf_values"])), tuple(map(float, tree["leaf_weights"]))
        are_singles = all(float(np.float32(split.border)) == split.border for split in splits)
        are_known = all(type(split.asked) is int and 0 <= split.asked < count for split in splits)
    except (KeyError, TypeError, ValueError) as broken:
        raise _malformed(f"tree {number} lacks or misstates {broken}") from broken
    if kinds - {"FloatFeature"} or not are_known or not are_singles:
        raise _malformed(f"tree {number} asks about something else than the declared inputs")
    if len(splits) > MAX_DEPTH:
        raise _malformed(f"tree {number} is {len(splits)} deep, at most {MAX_DEPTH} are served")
    if not len(leaves) == len(covers) == 1 << len(splits) or not all(map(isfinite, leaves + covers)):
        raise _malformed(f"tree {number} must have {1 << len(splits)} finite leaves with their weights")
    return Tree(splits, leaves, covers)
