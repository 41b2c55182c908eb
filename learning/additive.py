"""Members that are tables: each input falls into a bin, each bin has a value, the values are added up.

A scorecard (logistic regression on weights of evidence) and a histogram of what is usual are of this form. What an
input contributes is its value, so nothing has to be laid out to explain a row.

Compiled with explicit signatures and cached: a service must not compile while it starts.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from numba import float64, njit, types, uint32
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from learning.errors import ArtefactRefused
from pix.contracts import InvalidMessage, parse_json_object

MAX_BYTES = 16 * 2**20
ROWS_AT_ONCE, INPUTS_AT_ONCE = 128, 8
"""Of many: as many as a processor compares with one border in a few instructions and has near at hand."""
Number = Annotated[float, Field(allow_inf_nan=False)]

_places = types.Array(uint32, 1, "C")
_doubles = types.Array(float64, 1, "C")
# Read-only, so that vectors can be scored where Arrow has them.
_rows = types.Array(float64, 2, "C", readonly=True)
_inner = njit(nogil=True, error_model="numpy")


class Bins(BaseModel):
    """One input's table.

    Attributes:
        borders: Rising; a value above the n-th border and not above the next is in bin n + 1.
        values: Value per bin, one more than there are borders.
        missing: Value where the input is missing.
        expected: Mean of the values over the rows that the member was fit on.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    borders: list[Number]
    values: list[Number]
    missing: Number
    expected: Number

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.values) != len(self.borders) + 1:
            raise ValueError(f"{len(self.borders)} borders need {len(self.borders) + 1} values, not {len(self.values)}")
        if any(above <= below for below, above in pairwise(self.borders)):
            raise ValueError("borders must rise")
        return self


class Table(BaseModel):
    """The file of such a member.

    Attributes:
        intercept: Added to the inputs' values.
        inputs: A table per input, in the order of the manifest.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    intercept: Number
    inputs: list[Bins] = Field(min_length=1)

    def content(self) -> bytes:
        """As it is written."""
        return json.dumps(self.model_dump()).encode() + b"\n"


@_inner
def _place(value, borders, first, last):
    """Where a value's number stands among an input's: its bin's, or the one behind them where it is missing."""
    if value != value:
        return last + uint32(1)
    at = first
    while at < last and value > borders[at]:
        at += uint32(1)
    return at


@njit(float64(_doubles, _places, _places, _doubles, _doubles), nogil=True, cache=True, error_model="numpy")
def _total(vector, inputs, starts, borders, values):
    """Sum of the values of a row, in the order of the inputs."""
    total = 0.0
    for n in range(uint32(inputs.size)):
        # An input has as many borders as bins but one, and one number more for a missing value: two more in all.
        at = _place(vector[inputs[n]], borders, starts[n], starts[n + uint32(1)] - uint32(2))
        total += values[at]
    return total


@njit(types.void(_doubles, _places, _places, _doubles, _doubles, _doubles), nogil=True, cache=True, error_model="numpy")
def _each(vector, inputs, starts, borders, values, out):
    """The value of each input of a row."""
    for n in range(uint32(inputs.size)):
        out[n] = values[_place(vector[inputs[n]], borders, starts[n], starts[n + uint32(1)] - uint32(2))]


@njit(types.void(_rows, _places, _places, _doubles, _doubles, _doubles), nogil=True, cache=True, error_model="numpy")
def _totals(rows, inputs, starts, borders, values, out):
    """``_total`` of many rows: some go through an input together, and each adds its values in the same order."""
    columns, places = np.empty((INPUTS_AT_ONCE, ROWS_AT_ONCE), np.float64), np.empty(ROWS_AT_ONCE, np.int64)
    for first in range(0, rows.shape[0], ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows.shape[0] - first)
        totals = out[first : first + count]
        totals[:] = 0.0
        for begin in range(0, inputs.size, INPUTS_AT_ONCE):
            many = min(INPUTS_AT_ONCE, inputs.size - begin)
            for row in range(count):
                for n in range(many):
                    columns[n, row] = rows[first + row, inputs[begin + n]]
            for n in range(many):
                column, missing = columns[n], np.int64(starts[begin + n + 1]) - 1
                places[:] = starts[begin + n]
                # Borders rise: as many lie below a value as a walk up to it passes. Places of rows that are not there
                # are counted, too: a constant count is what becomes few instructions.
                for at in range(starts[begin + n], missing - 1):
                    border = borders[at]
                    for row in range(ROWS_AT_ONCE):
                        places[row] += 1 if column[row] > border else 0
                for row in range(count):
                    totals[row] += values[missing if column[row] != column[row] else places[row]]


class AdditiveTable:
    """A member of the ensemble; see ``learning.ensemble.LoadedMember``."""

    tolerance = 1e-9
    """Libraries add in another order."""

    def __init__(self, content: bytes, places: Sequence[int]) -> None:
        """Read a table.

        Args:
            content: What ``Table.content`` gave.
            places: Per input, its place in the vectors to score.

        Raises:
            ArtefactRefused: It is no table of that many inputs.
        """
        try:
            table = Table.model_validate(parse_json_object(content, MAX_BYTES))
        except InvalidMessage as broken:
            raise _malformed(str(broken)) from broken
        except ValidationError as broken:
            first = broken.errors(include_url=False, include_input=False)[0]
            raise _malformed(f"{'.'.join(map(str, first['loc'])) or 'as a whole'}: {first['msg']}") from broken
        if len(table.inputs) != len(places):
            raise _malformed(f"it has {len(table.inputs)} inputs, {len(places)} are declared")
        self._intercept = table.intercept
        self._means = np.array([bins.expected for bins in table.inputs])
        self.expected = table.intercept + float(self._means.sum())
        self._laid = (
            np.array(places, np.uint32),
            np.concatenate([[0], np.cumsum([len(bins.values) + 1 for bins in table.inputs])]).astype(np.uint32),
            np.array([number for bins in table.inputs for number in (*bins.borders, 0.0, 0.0)]),
            np.array([number for bins in table.inputs for number in (*bins.values, bins.missing)]),
        )

    def log_odds(self, vector: NDArray[np.float64]) -> float:
        """Intercept and the row's values."""
        total: float = _total(vector, *self._laid)
        return self._intercept + total

    def log_odds_of(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of many rows, each bit for bit."""
        out = np.empty(len(rows))
        _totals(rows, *self._laid, out)
        found: NDArray[np.float64] = self._intercept + out
        return found

    def contributions(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The row's value per input, less what it is on average; with ``expected`` they sum to ``log_odds``."""
        out = np.empty(len(self._means))
        _each(vector, *self._laid, out)
        found: NDArray[np.float64] = out - self._means
        return found


def _malformed(why: str) -> ArtefactRefused:
    return ArtefactRefused("malformed", f"a member of tables cannot be read: {why}; train and register again")
