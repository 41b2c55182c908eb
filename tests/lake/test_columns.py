"""Columns say what the row-wise functions of the online path say, payment by payment."""

import random

import numpy as np
import pyarrow as pa
import pytest

from pix.contracts import Payment, canonical_json
from pix.engines.events import Carried, entity_keys, payment_events
from pix.features import facts
from pix.features.declarations import YOUNG_ACCOUNT_MS
from pix.features.facts import CODES
from pix.offline import packing
from pix.offline.columns import PAYMENT, Flags, event_words, fact_grid, parsed
from pix.offline.columns import entity_keys as key_columns

NOW_MS = 1_795_000_000_000
TEXTS = ("device_id", "payer_tax_id", "payee_tax_id", "remittance_text", "device_municipality", "payer_municipality")
TIMES = tuple(field.name for field in PAYMENT if field.name.endswith("_ms") and field.name != "initiated_at_ms")


def random_payment(draw: random.Random, number: int) -> Payment:
    """Every optional fact there or not, at its edges, tied and before 1970."""
    values = {"end_to_end_id": f"E{number}", "tenant": draw.choice(["default", "other@amlsim"])}
    values |= {"initiated_at_ms": draw.choice([NOW_MS - draw.randint(0, 10**11), draw.randint(-(10**11), 10**11)])}
    values |= {"amount_cents": draw.choice([1, 10_000, 10**12, draw.randint(1, 10**7)])}
    values |= {"payer_account": f"k1:{draw.randint(1, 9)}", "payee_account": f"k1:{draw.randint(10, 19)}"}
    for field in PAYMENT:
        if field.name in values or draw.random() < 0.4:
            continue
        if field.name in TEXTS:
            values[field.name] = draw.choice(["3550308", "3304557", "1302603", 'a "quoted" \\ ação'])
        elif field.name in CODES:
            values[field.name] = draw.choice(CODES[field.name])
        elif field.type == pa.bool_():
            values[field.name] = draw.random() < 0.5
        elif field.type == pa.int64() and field.name in TIMES:
            values[field.name] = values["initiated_at_ms"] - draw.choice([0, YOUNG_ACCOUNT_MS, -5, 10**9])
        elif field.type == pa.int64():
            values[field.name] = draw.choice([0, 1, draw.randint(0, 10**9)])
    return Payment(**values)


@pytest.fixture(scope="module")
def payments():
    draw = random.Random(8)
    return [random_payment(draw, number) for number in range(2_000)]


@pytest.fixture(scope="module")
def columns(payments):
    return parsed(pa.array([canonical_json(payment.to_dict()).decode() for payment in payments]), PAYMENT)


def test_nothing_is_lost_on_the_way_through_json(payments, columns):
    rows = [{name: value for name, value in row.items() if value is not None} for row in columns.to_pylist()]
    assert rows == [payment.to_dict() for payment in payments]


def test_facts(payments, columns):
    times = np.array([payment.initiated_at_ms for payment in payments])
    expected = [[int(value) for value in facts(payment, payment.initiated_at_ms)] for payment in payments]
    assert fact_grid(columns, times).tolist() == expected


@pytest.mark.parametrize("is_imported", [False, True])
def test_events(payments, columns, is_imported):
    draw = random.Random(9)
    times = np.array([payment.initiated_at_ms for payment in payments])
    flags = [np.array([draw.random() < 0.5 for _ in payments]) for _ in range(3)]
    keys = key_columns(columns)
    found = event_words(columns, times, keys, Flags(*flags, is_imported=is_imported))
    named = {role: column.to_pylist() for role, column in keys.items()}
    own = 0
    for n, payment in enumerate(payments):
        mine = {role: column[n] for role, column in named.items() if column[n] is not None}
        assert mine == entity_keys(payment)
        own += len(set(mine.values())) < len(mine)
        payer, payee, allowed = (bool(column[n]) for column in flags)
        carried = Carried(payer_flagged=payer, payee_flagged=payee)
        events = payment_events(
            payment, mine, payment.initiated_at_ms, carried, is_allowed=allowed, is_imported=is_imported
        )
        for role, key in mine.items():
            words = (payment.initiated_at_ms, int(found[role][0][n]), int(found[role][1][n]))
            assert words == events[key].words(), role
    assert own > len(payments) / 20


def test_no_rows_are_no_columns():
    assert parsed(pa.array([], pa.string()), PAYMENT).num_rows == 0


def test_packed_integers_come_back():
    draw = np.random.default_rng(3)
    rows = draw.integers(-(2**63), 2**63 - 1, (500, 40)) >> draw.integers(0, 63, (500, 40))
    rows[:, :3] = (-(2**63), 2**63 - 1, 0)
    packed = packing.pack(rows)
    grid, places = np.zeros((500, 50), np.int64), draw.permutation(500)
    packing.unpack(packed, places, 7, 40, grid)
    assert np.array_equal(grid[places, 7:47], rows)
    assert (grid[:, :7] == 0).all()
    half = packed.slice(250)
    packing.unpack(half, np.arange(250), 7, 40, grid)
    assert np.array_equal(grid[:250, 7:47], rows[250:])
    assert len(packing.pack(np.full((1, 9), -(2**63)))[0].as_py()) == 9
