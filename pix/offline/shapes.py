"""The frames inside the offline engine: events on their way to their keys, and what the keys said on its way back.

Column lists are declared once, for Spark (``ddl``) and for Arrow (``arrow``), because ``mapInArrow`` binds columns
by position.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pix.offline.declaration import ARROW_TYPES

ALONE, START, LABEL = -3, -2, -1
"""In ``role``: a decision that read no state, a state to begin with, a fold that nothing was read for (a label, or a
payment that was decided without the store); payments have the place of their role there."""

READ, STATE, WAITING_READ, WAITING_FOLD, BEHIND = range(5)
"""In ``what``: see ``STAGE``."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Names and types of a frame's columns, in order."""

    columns: tuple[tuple[str, str], ...]

    @property
    def ddl(self) -> str:
        """As Spark takes a schema."""
        return ", ".join(f"{name} {kind}" for name, kind in self.columns)

    @property
    def arrow(self) -> pa.Schema:
        """As Arrow takes it."""
        return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in self.columns])

    def batch(self, rows: int, **columns: Any) -> pa.RecordBatch:
        """Columns by name as one batch; those not given are null, and a single value stands for all rows."""
        unknown = columns.keys() - {name for name, _ in self.columns}
        if unknown:
            raise KeyError(f"no columns {sorted(unknown)} among {self.ddl}")
        schema = self.arrow
        return pa.RecordBatch.from_arrays(
            [self._column(rows, field.type, columns.get(field.name)) for field in schema], schema=schema
        )

    @staticmethod
    def _column(rows: int, kind: pa.DataType, value: Any) -> pa.Array:
        if value is None:
            return pa.nulls(rows, kind)
        if isinstance(value, (int, str, bool)):
            return pa.repeat(pa.scalar(value, kind), rows)
        column = value if isinstance(value, pa.Array) else pa.array(value)
        return column.cast(kind)


def shape(ddl: str) -> Shape:
    """A shape from its columns, ``name type`` each."""
    return Shape(tuple((name, kind) for name, kind in (part.split() for part in ddl.split(", "))))


_OF_PAYMENT = "roles byte, facts binary, logged binary, logged_by string, carried byte"

EVENTS = shape(
    "key string, kind byte, base int, read long, got long, time_ms long, word long, other long, place int, "
    f"identity string, role byte, at_ms long, asked boolean, blob binary, {_OF_PAYMENT}"
)
"""One event of one key. ``word`` and ``other`` are the event's words, ``place`` is 0 for payments and counts the
changes that labels made of one payment. Live events have the numbers they read and got, ``base`` is the newest
import in the base of their generation and ``at_ms`` when they were folded; of imported ones ``base`` is the import.
``asked`` says whether the payment's vector is wanted. The payer's account brings what belongs to the payment itself:
``roles`` (a bit per role it has), packed facts, and what its decision logged. A ``START`` brings a state: its
number in ``got`` and its blob."""

STAGE = shape(
    "what byte, key string, base int, number long, blob binary, identity string, role byte, time_ms long, "
    f"at_ms long, {_OF_PAYMENT}"
)
"""What a key said. READ: packed integers in ``blob`` for one role of a payment. STATE: the key's state after its last
fold. WAITING_READ and WAITING_FOLD: a number that cannot be reached, because a fold is missing (yet). BEHIND: a read
from before the state that the key began with; it can be answered from the key's whole past only."""

FEATURES = shape(
    "end_to_end_id string, tenant string, event_time_ms long, folded_at_ms long, features binary, logged binary, "
    "logged_fingerprint string, carried byte, logged_carried byte"
)
"""One payment's vector."""
