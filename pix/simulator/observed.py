"""What a plan's traffic looks like from outside, narrowed to what published figures speak of.

One day at a time is in memory with all its columns; a few narrow ones stay. Everything is read off payments,
truth and labels as they are written, gaps included; only the rules of limits are checked on what happened,
because a gap must neither hide a breach nor look like one.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pix.simulator import published
from pix.simulator.flow import (
    NEVER,
    OWN,
    UNREGISTERED,
    UNREGISTERED_CENTS,
    UNREGISTERED_DAY_CENTS,
    Flow,
    night_rule,
)
from pix.simulator.outcomes import REFUNDS
from pix.simulator.plan import SimulationPlan
from pix.simulator.population import Population
from pix.simulator.rhythm import Ints, is_night, local_days, local_hour
from pix.simulator.settling import is_preregistered
from pix.simulator.simulation import Label, Part, world

UNKNOWN = -1
RELATION_OF = {("PF", "PJ"): "P2B", ("PF", "PF"): "P2P", ("PJ", "PF"): "B2P", ("PJ", "PJ"): "B2B"}
# The first digit of an IBGE municipality code.
REGION_DIGITS = {"North": 1, "Northeast": 2, "Southeast": 3, "South": 4, "Centre-West": 5}
NIGHT, DEVICE_ONCE, DEVICE_DAY = "night limit", "unregistered device, payment", "unregistered device, day"


class Observed(NamedTuple):
    """What was seen.

    Attributes:
        payments: amount_cents; at_ms; hour and day (since the epoch) in Brasília; initiation, relation, refund as
            places in ``published.INITIATIONS``, ``published.RELATIONS``, ``REFUNDS``; payer_company, payee_company
            as 0 or 1; payer_age_years; region (digit); lag_ms of the directory's answer; device_known;
            is_fraud, typology, campaign, hop, contested, accepted, refunded_cents. Whole numbers, -1 where unknown.
        labels: kind; since_payment_ms and known_after_ms, to and from the time it speaks of; analysis_ms.
        keys: Each Pix key once, with the ISPB of its account.
        checked: How often a rule of limits applied, by rule.
        breached: How often it was broken.
    """

    payments: pa.Table
    labels: pa.Table
    keys: pa.Table
    checked: Counter[str]
    breached: Counter[str]


def observe(plan: SimulationPlan, *, rules: bool = False, say: Callable[[int, int], None] | None = None) -> Observed:
    """Simulate a plan day by day and keep what figures need.

    Args:
        plan: What to simulate.
        rules: Whether to check the rules of limits, too.
        say: Told days done, and all of them.
    """
    everything = world(plan)
    payments, labels, keys = list[pa.Table](), list[pa.Table](), list[pa.Table]()
    checked, breached = Counter[str](), Counter[str]()
    for number in range(len(everything.windows)):
        part = everything.part(number)
        payments.append(_narrow(part))
        labels.append(_delays(part))
        keys.append(_keys(part.payments))
        if rules:
            _check(everything.population, everything.flow(number, np.random.default_rng(number)), checked, breached)
        if say is not None:
            say(number + 1, len(everything.windows))
    every_key = pa.concat_tables(keys).group_by("key").aggregate([("ispb", "min")])
    return Observed(pa.concat_tables(payments), pa.concat_tables(labels), every_key, checked, breached)


def pooled(several: Sequence[Observed]) -> Observed:
    """Several plans as one; their campaigns stay apart."""
    payments = [
        one.payments.append_column("seen", pa.array(np.full(one.payments.num_rows, number, dtype=np.int8)))
        for number, one in enumerate(several)
    ]
    return Observed(
        pa.concat_tables(payments),
        pa.concat_tables([one.labels for one in several]),
        pa.concat_tables([one.keys for one in several]),
        sum((one.checked for one in several), Counter()),
        sum((one.breached for one in several), Counter()),
    )


def _narrow(part: Part) -> pa.Table:
    table, truth = part.payments, part.truth
    at_ms = table.column("initiated_at").cast(pa.int64()).to_numpy()
    payer, payee = table.column("payer_person_type"), table.column("payee_person_type")
    relations = {pair: published.RELATIONS.index(name) for pair, name in RELATION_OF.items()}
    by_kinds = np.array([[relations[one, other] for other in ("PF", "PJ")] + [UNKNOWN] for one in ("PF", "PJ")])
    by_kinds = np.vstack([by_kinds, np.full(3, UNKNOWN)])
    payers, payees = _places(payer, ("PF", "PJ")), _places(payee, ("PF", "PJ"))
    watermark = table.column("fraud_markers_watermark").cast(pa.int64())
    region = pc.utf8_slice_codeunits(table.column("payer_municipality"), 0, 1)
    columns = {
        "amount_cents": table.column("amount_cents").to_numpy(),
        "at_ms": at_ms,
        "hour": local_hour(at_ms).astype(np.int8),
        "day": local_days(at_ms).astype(np.int32),
        "initiation": _places(table.column("initiation"), published.INITIATIONS),
        "relation": by_kinds[payers, payees].astype(np.int8),
        "payer_company": payers,
        "payee_company": payees,
        "payer_age_years": _numbers(table.column("payer_age_years")).astype(np.int16),
        "region": _places(region, tuple(map(str, range(6)))),
        "lag_ms": _numbers(pc.subtract(pa.chunked_array([at_ms]), watermark)).astype(np.int32),
        "device_known": table.column("device_id").is_valid().to_numpy().astype(np.int8),
        "is_fraud": truth.column("is_fraud").to_numpy().astype(np.int8),
        "campaign": _numbers(truth.column("campaign")).astype(np.int32),
        "hop": _numbers(truth.column("hop")).astype(np.int8),
        "contested": truth.column("verdict").is_valid().to_numpy().astype(np.int8),
        "accepted": pc.equal(truth.column("verdict"), "accepted").fill_null(False).to_numpy().astype(np.int8),
        "refund": _places(truth.column("refund"), REFUNDS),
        "refunded_cents": _numbers(truth.column("refunded_cents")),
    }
    narrow = pa.table(columns)
    return narrow.append_column("typology", truth.column("typology").dictionary_encode().cast(_CATEGORY))


_CATEGORY = pa.dictionary(pa.int32(), pa.string())


def _numbers(column: pa.ChunkedArray) -> Ints:
    values: Ints = pc.fill_null(column.cast(pa.int64()), UNKNOWN).to_numpy()
    return values


def _places(column: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.int8]:
    """The place of each value among the names, ``UNKNOWN`` where it is missing."""
    found = pc.index_in(column, pa.array(names, pa.string()))
    places: NDArray[np.int8] = pc.fill_null(found, UNKNOWN).to_numpy().astype(np.int8)
    return places


def _keys(payments: pa.Table) -> pa.Table:
    table = pa.table(
        {"key": payments.column("pix_key"), "ispb": pc.utf8_slice_codeunits(payments.column("payee_account"), 0, 8)}
    ).filter(payments.column("pix_key").is_valid())
    return table.group_by("key").aggregate([("ispb", "min")]).rename_columns(["key", "ispb"])


def _delays(part: Part) -> pa.Table:
    disputed = part.payments.filter(part.truth.column("verdict").is_valid())
    ids, times = disputed.column("end_to_end_id").to_pylist(), disputed.column("initiated_at").cast(pa.int64())
    paid_ms = dict(zip(ids, times.to_pylist(), strict=True))
    contested_ms = {
        label["end_to_end_id"]: _ms(label["effective_at"]) for label in part.labels if label["kind"] == "contested"
    }
    rows = [_delay(label, paid_ms[label["end_to_end_id"]], contested_ms) for label in part.labels]
    return pa.Table.from_pylist(rows, schema=_DELAYS)


_DELAYS = pa.schema(
    [("kind", pa.string()), ("since_payment_ms", "int64"), ("analysis_ms", "int64"), ("known_after_ms", "int64")]
)


def _delay(label: Label, paid_ms: int, contested_ms: dict[str, int]) -> dict[str, object]:
    effective_ms = _ms(label["effective_at"])
    return {
        "kind": label["kind"],
        "since_payment_ms": effective_ms - paid_ms,
        "analysis_ms": effective_ms - contested_ms[label["end_to_end_id"]],
        "known_after_ms": _ms(label["known_at"]) - effective_ms,
    }


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _check(population: Population, flow: Flow, checked: Counter[str], breached: Counter[str]) -> None:
    """Hold one day, cut at 6h, to the rules of limits."""
    raised = np.isin(flow.payer, flow.payer[flow.limit_age_ms != NEVER])
    ruled = is_night(flow.at_ms) & night_rule(population, flow.payer, flow.payee) & ~raised
    ruled &= ~is_preregistered(population, flow.payer, flow.payee)
    payers, paid, payments = _sums(flow.payer[ruled], flow.amount_cents[ruled])
    # Nobody pays less than one centavo, however little is left.
    over = paid > population.night_limit_cents[payers] + payments
    strange = (flow.device != OWN) & (flow.device_age_ms == UNREGISTERED)
    _, in_a_day, _ = _sums(flow.payer[strange], flow.amount_cents[strange])
    for rule, broken in (
        (NIGHT, over),
        (DEVICE_ONCE, flow.amount_cents[strange] > UNREGISTERED_CENTS),
        (DEVICE_DAY, in_a_day > UNREGISTERED_DAY_CENTS),
    ):
        checked[rule] += len(broken)
        breached[rule] += int(broken.sum())


def _sums(groups: Ints, values: Ints) -> tuple[Ints, Ints, Ints]:
    """Each group once, with the sum and the number of its values."""
    names, place = np.unique(groups, return_inverse=True)
    return names, np.bincount(place, values, len(names)).astype(np.int64), np.bincount(place, minlength=len(names))
