"""One payment of forty fields from bytes to a validated message, against a naive parse of the same bytes.

Naive is ``json.loads`` and a pydantic model with default settings: it takes duplicate keys, NaN, coerced
types and wrong check digits. ``python -m benchmarks.contracts`` runs this one alone.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, create_model

from pix.contracts import INSTANT_FIELDS, PaymentMessage, canonical_json, parse_payment
from pix.identifiers import cnpj, cpf, make_end_to_end_id

MESSAGES = 400
ROUNDS = 12
START_MS = 1_795_000_000_000
Naive = Callable[[bytes], BaseModel]


def parse_over_naive() -> dict[str, object]:
    """Median and 99th percentile of one parse, each side taking turns message by message."""
    draw = random.Random(3)  # noqa: S311
    bodies = [canonical_json(payment(draw)) for _ in range(MESSAGES)]
    naive = naive_parser()
    for body in bodies:
        if differing := difference(parse_payment(body), naive(body)):
            raise SystemExit(f"both parsers must read the same values, {differing} differs; nothing is measured")
    ours, reference = [], []
    for turn in range(ROUNDS):
        for body in bodies:
            mine, theirs = took(parse_payment, body), took(naive, body)
            if turn:
                ours.append(mine)
                reference.append(theirs)
    row = {f"{side}{name}": value for side, times in (("ours", ours), ("reference", reference))
           for name, value in (("_us", percentile(times, 50)), ("_p99_us", percentile(times, 99)))}  # fmt: skip
    name = f"parse a payment of {len(json.loads(bodies[0]))} fields: strict / json.loads and default pydantic"
    return {"name": name, **row, "ratio": row["ours_us"] / row["reference_us"]}


def took(parse: Callable[[bytes], object], body: bytes) -> float:
    """Microseconds of one parse."""
    start = time.perf_counter_ns()
    parse(body)
    return (time.perf_counter_ns() - start) / 1000


def percentile(times: list[float], percent: int) -> float:
    """The value that ``percent`` of the times do not exceed."""
    return sorted(times)[len(times) * percent // 100]


def naive_parser() -> Naive:
    """What one writes first: the standard library's JSON into a model of plain types."""
    fields: dict[str, Any] = {}
    for name, kind in get_type_hints(PaymentMessage).items():
        field = PaymentMessage.model_fields.get(name)
        if field is not None:
            numbers = [number for number in (bool, int) if number in (kind, *get_args(kind))]
            plain: Any = datetime if name in INSTANT_FIELDS else (*numbers, str)[0]
            fields[name] = (plain, ...) if field.is_required() else (plain | None, None)
    model = create_model("NaivePayment", **fields)
    return lambda body: model.model_validate(json.loads(body))


def difference(ours: PaymentMessage, naive: BaseModel) -> str | None:
    """Name of a field that the two parsers read differently."""
    for name in PaymentMessage.model_fields:
        mine, theirs = getattr(ours, name), getattr(naive, name)
        if isinstance(theirs, datetime):
            theirs = int(theirs.replace(microsecond=0).timestamp()) * 1000 + theirs.microsecond // 1000
        if mine != theirs and not (name == "tenant" and theirs is None):
            return name
    return None


def payment(draw: random.Random) -> dict[str, object]:
    """A payment with forty facts, no two alike; the ten possible instants among them."""
    at_ms = START_MS + draw.randrange(10**9)
    person = draw.randint(1, 10**6)
    words: dict[str, object] = {
        "end_to_end_id": make_end_to_end_id("12345678", at_ms, f"{draw.randrange(10**11):011d}"),
        "amount_cents": draw.randint(1, 10**6),
        "payer_account": f"12345678-0001-{person}",
        "payee_account": f"87654321-0001-{person + 1}",
        "initiation": "DICT",
        "purpose": "IPAY",
        "priority": "HIGH",
        "pix_key": f"customer.{person}@example.com",
        "pix_key_type": "EMAIL",
        "payer_tax_id": cpf(f"{123_000_000 + person}"),
        "payee_tax_id": cnpj(f"12ABC{person:07d}"),
        "payer_person_type": "PF",
        "payee_person_type": "PJ",
        "payer_account_type": "CACC",
        "payee_account_type": "TRAN",
        "payer_age_years": draw.randint(18, 90),
        "payer_municipality": "3550308",
        "payee_fraud_markers_d90": draw.randint(0, 3),
        "payee_open_reports": 0,
        "device_id": f"device-{person}",
        "device_ip": "100.64.7.9",
        "device_remote_access": False,
        "device_rooted": False,
        "active_call": draw.random() < 0.1,
        "authentication": "BIOMETRY",
        "login_age_ms": draw.randint(0, 10**6),
        "typing_interval_ms": draw.randint(50, 400),
        "payer_balance_cents": draw.randint(0, 10**8),
        "payer_limit_cents": draw.randint(0, 10**8),
        "remittance_text": "almoço de domingo",
    }
    return words | {
        name: datetime.fromtimestamp((at_ms - draw.randrange(10**10)) / 1000, UTC).isoformat(timespec="milliseconds")
        for name in INSTANT_FIELDS
    }


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in parse_over_naive().items()))
