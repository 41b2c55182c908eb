"""Random payments in order and with unique times, as the lake has them and as tables for SQL."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pix.contracts import DAY_MS, HOUR_MS, canonical_json
from pix.features import BRASILIA_OFFSET_MS
from pix.features.declarations import NIGHT_HOURS, REAIS_CAP, ROUND_AMOUNT_CENTS

START_MS = 1_780_000_000_000
SPAN_MS = 80 * DAY_MS
"""Shorter than the longest window, so that a join over a key's windows sees all of its past."""
TENANT = "default@bench"
HISTORY = pa.schema(
    [
        *(("history", pa.string()), ("import_number", pa.int32()), ("end_to_end_id", pa.string())),
        *(("tenant", pa.string()), ("event_time_ms", pa.int64()), ("payment", pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class Payments:
    """The same payments thrice.

    Attributes:
        history: As ``silver/history_payments`` has them, as far as the offline engine reads it.
        plain: id, t, amount, reais, night, rounded, and a key per role (null without such an entity).
        events: key, t, flow, counterpart, amount, reais, night, rounded: one row per role.
    """

    history: pa.Table
    plain: pa.Table
    events: pa.Table


def payments(count: int, accounts: int, seed: int) -> Payments:
    """Payments of some accounts, a few of them busy; two accounts belong to a person, one in four has no device."""
    draw = np.random.default_rng(seed)
    t = START_MS + np.sort(draw.choice(SPAN_MS, count, replace=False))
    popular = 1 / np.arange(1, accounts + 1)
    payer = draw.choice(accounts, count, p=popular / popular.sum())
    payee = (payer + 1 + draw.choice(accounts - 1, count, p=popular[1:] / popular[1:].sum())) % accounts
    amount = np.where(draw.random(count) < 0.2, draw.integers(1, 100, count) * 10_000, draw.integers(1, 10**7, count))
    plain = {
        "id": np.array([f"E12345678202606011200{n:011d}" for n in range(count)]),
        **{"t": t, "amount": amount, "reais": np.minimum(amount // 100, REAIS_CAP)},
        "night": np.isin((t + BRASILIA_OFFSET_MS) // HOUR_MS % 24, list(NIGHT_HOURS)).astype(np.int64),
        "rounded": (amount % ROUND_AMOUNT_CENTS == 0).astype(np.int64),
        **{"payer_account": _named("k1:a", payer), "payee_account": _named("k1:a", payee)},
        "pair": np.char.add(_named("k1:a", payer), np.char.add(">", _named("k1:a", payee))),
        "device": np.where(payer % 4 == 0, None, _named("k1:d", payer // 3).astype(object)),
        **{"payer_person": _named("k1:p", payer // 2), "payee_person": _named("k1:p", payee // 2)},
    }
    table = pa.table({name: pa.array(values) for name, values in plain.items()})
    return Payments(_history(table), table, _events(table))


def _named(
    prefix: str, numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> "np.ndarray[tuple[int], np.dtype[np.str_]]":
    return np.char.add(prefix, numbers.astype(str))


def _history(plain: pa.Table) -> pa.Table:
    rows = []
    for row in plain.to_pylist():
        payment = {
            "end_to_end_id": row["id"],
            "tenant": TENANT,
            "initiated_at_ms": row["t"],
            "amount_cents": row["amount"],
            "payer_account": row["payer_account"],
            "payee_account": row["payee_account"],
            "payer_tax_id": row["payer_person"],
            "payee_tax_id": row["payee_person"],
        }
        if row["device"] is not None:
            payment["device_id"] = row["device"]
        rows.append(("bench", 1, row["id"], TENANT, row["t"], canonical_json(payment).decode()))
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), HISTORY, strict=True)], schema=HISTORY
    )


def _events(plain: pa.Table) -> pa.Table:
    """Every payment once per role and side; one between a person's own accounts is one event on both sides."""
    content = {name: plain[name] for name in ("t", "amount", "reais", "night", "rounded")}
    payer, payee = plain["payer_account"], plain["payee_account"]
    own = np.asarray(plain["payer_person"]) == np.asarray(plain["payee_person"])
    of_person = pa.array(np.where(own, np.asarray(payee), np.asarray(payer)))
    sides = (
        *(("payer_account", "out", payee), ("payee_account", "in", payer), ("pair", "out", payee)),
        *(("device", "out", payer), ("payer_person", "out", payee), ("payee_person", "in", of_person)),
    )
    tables = [
        pa.table({"key": plain[role], "flow": pa.array([flow] * len(plain)), "counterpart": other, **content})
        for role, flow, other in sides
    ]
    return pa.concat_tables(tables)
