"""Payments as columns: their JSON parsed, their facts, keys and events computed for a whole Arrow batch at once.

The same meaning as the row-wise functions of the online path (``pix.features.facts``, ``pix.engines.events``);
tests hold the two together, value by value. Nothing here makes a Python object per payment, except that each
distinct account of a batch is hashed once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from pix.engines.events import (
    ALLOWED,
    AMOUNT_BITS,
    FLAGGED,
    FLOW_BITS,
    IMPORTED,
    IN,
    MARKED,
    OUT,
    YOUNG,
    counterpart_hash,
)
from pix.features import FACT_NAMES, FLOW_OF_ROLE, MISSING, ROLES
from pix.features.declarations import ROUND_AMOUNT_CENTS, YOUNG_ACCOUNT_MS
from pix.features.facts import CALENDAR, CODES, DIRECT, SINCE, TIMES, calendar
from pix.offline.declaration import ARROW_TYPES
from pix.offline.tables import payment_columns

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROLE_NAMES = tuple(ROLES)
PAYMENT = pa.struct([(column.name, ARROW_TYPES[column.type]) for column in payment_columns()])
"""A payment behind the door, as Arrow types."""

_STATE = pa.struct([("key", pa.string()), ("read", pa.int64()), ("got", pa.int64())])
_CARRIED = pa.struct([("value", pa.bool_())])
RECORD = pa.struct(
    [
        ("payment", PAYMENT),
        ("event_time_ms", pa.int64()),
        ("decided_at_ms", pa.int64()),
        ("outcome", pa.string()),
        ("generation", pa.int64()),
        ("feature_fingerprint", pa.string()),
        ("features", pa.list_(pa.float64())),
        ("carried", pa.struct([("payer_flagged", _CARRIED), ("payee_flagged", _CARRIED)])),
        ("states", pa.struct([(role, _STATE) for role in ROLE_NAMES])),
    ]
)
"""What the offline engine reads of a decision record."""

ACCOUNT, PERSON = "account", "person"
_ENTITY_OF_ROLE = {"device": "device_id", "payer_person": "payer_tax_id", "payee_person": "payee_tax_id"}


def parsed(texts: pa.Array, shape: pa.StructType) -> pa.Table:
    """JSON objects, one a row, as columns; fields that ``shape`` lacks are ignored, absent ones are null.

    Args:
        texts: Canonical JSON as the platform wrote it: no line breaks, no nulls.
        shape: Names and types of the fields wanted.
    """
    schema = pa.schema(list(shape))
    if len(texts) == 0:
        return schema.empty_table()
    lines = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), "\n")
    content = lines[0].as_buffer()
    table = pj.read_json(
        pa.BufferReader(content),
        # One block: rows must not be split, and their order is needed.
        read_options=pj.ReadOptions(use_threads=False, block_size=content.size + 2),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    return table.combine_chunks()


def as_table(column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The fields of a struct column as columns."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.table(whole.flatten(), names=[field.name for field in whole.type])


def integers(column: pa.Array | pa.ChunkedArray, missing: int = MISSING) -> Integers:
    """A column of integers or flags as 64-bit integers, with ``missing`` for null."""
    filled = pc.fill_null(column.cast(pa.int64()), missing)
    values: Integers = filled.to_numpy()
    return values


def known(column: pa.Array | pa.ChunkedArray) -> Bools:
    """Where a column is not null."""
    values: Bools = np.asarray(pc.is_valid(column))
    return values


def fact_grid(payments: pa.Table, event_ms: Integers) -> Integers:
    """Facts of payments (rows x ``FACT_NAMES``), as ``pix.features.facts`` has them of one.

    Args:
        payments: The fields of ``PAYMENT``.
        event_ms: Their event times, epoch milliseconds.
    """
    facts = {name: integers(payments[name]) for name in DIRECT}
    for name in SINCE:
        moment = integers(payments[name])
        facts[name] = np.where(moment == MISSING, MISSING, event_ms - moment)
    for name, values in CODES.items():
        facts[name] = integers(pc.index_in(payments[name], pa.array(values)))
    facts |= dict(zip((*TIMES, *CALENDAR), calendar(event_ms), strict=True))
    facts |= _derived(payments, facts)
    return np.stack([facts[name].astype(np.int64) for name in FACT_NAMES], axis=1)


def _derived(payments: pa.Table, facts: Mapping[str, Integers]) -> dict[str, Integers]:
    amount, marked = facts["amount_cents"], facts["payee_fraud_markers_d90"]
    created, owned = integers(payments["key_created_at_ms"]), integers(payments["key_owned_since_ms"])
    here, home = payments["device_municipality"], payments["payer_municipality"]
    has_device = known(payments["device_id"])
    return {
        "is_round_amount": amount % ROUND_AMOUNT_CENTS == 0,
        "odd_centavos": amount % 100,
        "is_key_claimed": np.where((created == MISSING) | (owned == MISSING), MISSING, owned > created),
        "is_tax_id_key": integers(pc.is_in(payments["pix_key_type"], pa.array(["CPF", "CNPJ"])))
        + np.where(known(payments["pix_key_type"]), 0, MISSING),
        "is_contactless": _where_known(payments["initiation"], pc.is_in(payments["initiation"], _CONTACT)),
        "is_away_from_home": integers(pc.not_equal(here, home)),
        "is_away_region": integers(pc.not_equal(_region(here), _region(home))),
        "is_device_unregistered": np.where(has_device, ~known(payments["device_registered_at_ms"]), MISSING),
        "has_text": known(payments["remittance_text"]),
        "has_device": has_device,
        "payee_markers_any": np.where(marked == MISSING, MISSING, marked > 0),
    }


_CONTACT = pa.array(["APES", "APDN"])


def _where_known(column: pa.ChunkedArray, flags: pa.ChunkedArray) -> Integers:
    return np.where(known(column), integers(flags, 0), MISSING)


def _region(municipality: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(municipality, 0, 1)


def entity_keys(payments: pa.Table) -> dict[str, pa.Array]:
    """Role -> key of the entity's state per payment; null where the payment has no such entity."""
    tenant = payments["tenant"]

    def key(kind: str, token: pa.ChunkedArray) -> pa.Array:
        return pc.binary_join_element_wise(tenant, kind, token, "|").combine_chunks()

    payer, payee = payments["payer_account"], payments["payee_account"]
    keys = {
        "payer_account": key(ACCOUNT, payer),
        "payee_account": key(ACCOUNT, payee),
        "pair": key("pair", pc.binary_join_element_wise(payer, payee, ">")),
    }
    return keys | {role: key(ROLES[role], payments[field]) for role, field in _ENTITY_OF_ROLE.items()}


@dataclass(frozen=True, slots=True)
class Flags:
    """What is true of each payment beyond its own fields, in columns; see ``pix.engines.events.Carried``."""

    payer_flagged: Bools
    payee_flagged: Bools
    is_allowed: Bools
    is_imported: bool


def event_words(
    payments: pa.Table, event_ms: Integers, keys: Mapping[str, pa.Array], flags: Flags
) -> dict[str, tuple[Integers, Integers]]:
    """Role -> second and third word of the payment's event there; the first is its time.

    Two roles of one key (a person on both sides) get the same event, with both flows.

    Args:
        payments: The fields of ``PAYMENT``.
        event_ms: Their event times, epoch milliseconds.
        keys: What ``entity_keys`` says of them.
        flags: What else is true of them.
    """
    payer, payee = account_hashes(payments["payer_account"]), account_hashes(payments["payee_account"])
    amount = integers(payments["amount_cents"])
    shared = np.where(flags.is_allowed, ALLOWED, 0) | (IMPORTED if flags.is_imported else 0)
    marked = integers(payments["payee_fraud_markers_d90"], 0) > 0
    of_payee = np.where(_is_young(payments["payee_account_opened_at_ms"], event_ms), YOUNG, 0)
    of_payee |= np.where(marked, MARKED, 0) | np.where(flags.payee_flagged, FLAGGED, 0)
    of_payer = np.where(_is_young(payments["payer_account_opened_at_ms"], event_ms), YOUNG, 0)
    of_payer |= np.where(flags.payer_flagged, FLAGGED, 0)
    paid = amount | (shared | of_payee | OUT) << AMOUNT_BITS
    received = amount | (shared | of_payer | IN) << AMOUNT_BITS
    words = {role: (paid, payee) if FLOW_BITS[FLOW_OF_ROLE[role]] == OUT else (received, payer) for role in ROLE_NAMES}
    words["device"] = (paid, payer)
    own = integers(pc.equal(keys["payer_person"], keys["payee_person"]), 0) != 0
    both = paid | IN << AMOUNT_BITS
    words["payer_person"] = (np.where(own, both, paid), payee)
    words["payee_person"] = (np.where(own, both, received), np.where(own, payee, payer))
    return words


def account_hashes(accounts: pa.ChunkedArray) -> Integers:
    """Signed 64-bit hash of each account, computed once per distinct one."""
    coded = accounts.combine_chunks().dictionary_encode()
    hashes = np.array([counterpart_hash(account) for account in coded.dictionary.to_pylist()], np.int64)
    return hashes[coded.indices.to_numpy()] if len(coded) else hashes


def _is_young(opened: pa.ChunkedArray, event_ms: Integers) -> Bools:
    moment = integers(opened)
    young: Bools = (moment != MISSING) & (event_ms - np.where(moment == MISSING, 0, moment) < YOUNG_ACCOUNT_MS)
    return young
