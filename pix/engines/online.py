"""One payment at a time: its states side by side in one buffer, read and folded by two compiled calls.

What is certain of a payment before its states are known is packed once; between reading and folding stands
the decision. ``pix.engines.kernel`` does the same for many events at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from threading import local

import numpy as np
from numpy.typing import NDArray

from pix.contracts import Payment
from pix.engines import compiled
from pix.engines.events import ALLOWED, IMPORTED, Carried, outlines
from pix.engines.layout import (
    ALL_PLANS,
    ASKED_FLAGS,
    ASKED_FOLDED,
    ASKED_LENGTHS,
    ASKED_PAYEE_FLAGGED,
    ASKED_PAYER_FLAGGED,
    FLAGGED_BY,
    FOLDED_AT,
    INTEGERS_AT,
    KINDS,
    LARGEST,
    PACKED_AT,
    PLACES,
    PROGRAM,
    READ_AT,
    SLOT_FIELDS,
    SLOTS,
    STATES_AT,
    VECTOR_AT,
    WORK_WORDS,
)
from pix.features import ROLES, timeless

WORD = 8
_STATES_AT, _FOLDED_AT, _MOST_BYTES = STATES_AT * WORD, FOLDED_AT * WORD, SLOTS * LARGEST * WORD
_REQUEST = Struct(f"={ASKED_LENGTHS + SLOTS}q")
_NO_LENGTHS = [(0,) * (SLOTS - slots) for slots in range(SLOTS + 1)]
_PACKED = slice(PACKED_AT * WORD, INTEGERS_AT * WORD)
_KIND_OF_ROLE = {role: KINDS.index(kind) for role, kind in ROLES.items()}
_CARRIED = [[Carried(payer, payee) for payee in (False, True)] for payer in (False, True)]
_NO_SLOTS = [(-1, *[0] * (SLOT_FIELDS - 1)) * (SLOTS - slots) for slots in range(SLOTS + 1)]
_PACK = Struct(f"={INTEGERS_AT - PACKED_AT}q").pack
_PAYER_FLAGGED = INTEGERS_AT + READ_AT["payer_account"] + FLAGGED_BY
_PAYEE_FLAGGED = INTEGERS_AT + READ_AT["payee_account"] + FLAGGED_BY


class BrokenBlob(Exception):
    """A state's bytes cannot be a blob of this layout."""


def is_flagged(reads: Sequence[int] | NDArray[np.int64]) -> bool:
    """Whether what was read of an account says that it received known frauds in the last 90 days."""
    return bool(reads[FLAGGED_BY] > 0)


@dataclass(frozen=True, slots=True)
class Packed:
    """What is certain of a payment before its states are known.

    Attributes:
        keys: Role -> key of its state.
        slots: The distinct keys; states come and go in this order.
        words: What the compiled code takes; see ``pix.engines.layout``.
    """

    keys: Mapping[str, str]
    slots: tuple[str, ...]
    words: bytes


def pack(payment: Payment, keys: Mapping[str, str]) -> Packed:
    """Prepare a payment for a desk.

    Args:
        payment: The payment behind the door.
        keys: Role -> key of its state (``pix.engines.events.entity_keys``).
    """
    found = outlines(payment, keys)
    slots = tuple(found)
    kinds = {key: _KIND_OF_ROLE[role] for role, key in keys.items()}
    words = timeless(payment)
    for key, outline in found.items():
        words.append(kinds[key])
        words += outline
    words += _NO_SLOTS[len(slots)]
    words += [slots.index(keys[role]) if role in keys else -1 for role in ROLES]
    return Packed(keys, slots, _PACK(*words))


class Desk:
    """Room to work on one payment at a time; a thread has its own.

    ``load`` brings a payment with its states, ``read`` tells its features, ``fold`` its states after it.
    """

    def __init__(self) -> None:
        self._work = np.zeros(WORK_WORDS, np.int64)
        self._features = self._work[VECTOR_AT:STATES_AT].view(np.float64)
        self._words = self._work.data
        self._bytes = self._words.cast("B")
        self._slots: tuple[str, ...] = ()

    def load(self, packed: Packed, event_ms: int, states: Sequence[bytes | None], *, is_imported: bool = False) -> None:
        """Take a payment and its states.

        Args:
            packed: The payment.
            event_ms: Its event time, epoch milliseconds.
            states: Blobs in the order of ``packed.slots``; None without one.
            is_imported: Whether it comes from imported history, where attempts are unknown.

        Raises:
            BrokenBlob: The blobs are longer than any can be.
        """
        blobs = [blob or b"" for blob in states]
        joined = b"".join(blobs)
        if len(joined) > _MOST_BYTES:
            raise BrokenBlob(f"the states of {', '.join(packed.slots)} have {len(joined)} bytes, at most {_MOST_BYTES}")
        work = self._bytes
        work[_STATES_AT : _STATES_AT + len(joined)] = joined
        work[_PACKED] = packed.words
        flags = IMPORTED if is_imported else 0
        _REQUEST.pack_into(work, 0, event_ms, flags, 0, 0, *map(len, blobs), *_NO_LENGTHS[len(blobs)])
        self._slots = packed.slots

    def read(self) -> tuple[NDArray[np.float64], Carried]:
        """All features in the order of ``FEATURES`` (NaN is missing), and what the payment's event will carry.

        Raises:
            BrokenBlob: A blob has an impossible length.
        """
        broken = compiled.read_payment(ALL_PLANS, PLACES, PROGRAM, self._work)
        if broken >= 0:
            raise self._broken(broken)
        words = self._words
        return self._features.copy(), _CARRIED[words[_PAYER_FLAGGED] > 0][words[_PAYEE_FLAGGED] > 0]

    def fold(self, carried: Carried, *, is_allowed: bool) -> list[bytes]:
        """The states with the payment folded in, in the order of ``packed.slots``.

        Args:
            carried: What the payment's accounts said when it was decided.
            is_allowed: Whether it went on.

        Raises:
            BrokenBlob: A blob has an impossible length.
        """
        words = self._words
        words[ASKED_FLAGS] = words[ASKED_FLAGS] & IMPORTED | (ALLOWED if is_allowed else 0)
        words[ASKED_PAYER_FLAGGED], words[ASKED_PAYEE_FLAGGED] = carried.payer_flagged, carried.payee_flagged
        broken = compiled.fold_payment(ALL_PLANS, PLACES, self._work)
        if broken >= 0:
            raise self._broken(broken)
        at, blobs = 0, []
        lengths = words[ASKED_FOLDED : ASKED_FOLDED + len(self._slots)].tolist()
        joined = self._bytes[_FOLDED_AT : _FOLDED_AT + sum(lengths)].tobytes()
        for length in lengths:
            blobs.append(joined[at : at + length])
            at += length
        return blobs

    def _broken(self, slot: int) -> BrokenBlob:
        length = self._words[ASKED_LENGTHS + slot]
        return BrokenBlob(f"the {length} bytes of {self._slots[slot]} are no state of this layout")


_of_thread = local()


def desk_of_this_thread() -> Desk:
    """The desk that nobody else uses meanwhile."""
    desk: Desk | None = getattr(_of_thread, "desk", None)
    if desk is None:
        desk = _of_thread.desk = Desk()
    return desk
