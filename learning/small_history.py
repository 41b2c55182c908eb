"""The training frame of a history that fits into memory: the service's kernel, without Spark.

For judging simulated traffic and for notebooks; the platform's own sets come from the lake
(``features/training_set``), with the same meaning.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from learning.inputs import RAW_PREFIX
from pix.contracts import HOUR_MS, LabelMessage, Payment
from pix.engines import kernel
from pix.engines.events import Carried, Event, account_key, entity_keys, kind_of, payment_events
from pix.features import FEATURE_NAMES, ROLES
from pix.labels import LabelChange, fold_labels

if TYPE_CHECKING:
    import pandas as pd

# At one time payments come before labels, then the order is by id: the fold order of imported history.
_PAYMENT, _LABEL = range(2)
_AT_ONCE = 10_000


def frame(
    payments: Sequence[Payment],
    labels: Iterable[LabelMessage],
    raw: Sequence[str],
    *,
    as_of_ms: int,
    maturity_ms: int,
) -> "pd.DataFrame":
    """Features and raw facts of the payments whose label has matured.

    Args:
        payments: Of one tenant, in any order; a payment's own time is its event time.
        labels: Of these payments; those known after ``as_of_ms`` do not count.
        raw: Fields of the payment that a model without features may see.
        as_of_ms: Epoch ms.
        maturity_ms: Age from which a payment without a label counts as honest.

    Returns:
        Columns end_to_end_id, event_time_ms, is_fraud, one per feature, and ``raw_`` ones.
    """
    import pandas as pd

    said: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for label in labels:
        if label.known_at <= as_of_ms:
            said[label.end_to_end_id].append((label.known_at, label.label_id, label.kind))
    rows = []
    for payment, features in _vectors(payments, said):
        if payment.initiated_at_ms <= as_of_ms - maturity_ms:
            is_fraud = fold_labels({}, said.get(payment.end_to_end_id, []))[0].counted_at_ms is not None
            facts = {f"{RAW_PREFIX}{name}": getattr(payment, name) for name in raw}
            identity = {"end_to_end_id": payment.end_to_end_id, "event_time_ms": payment.initiated_at_ms}
            hour = {f"{RAW_PREFIX}hour": payment.initiated_at_ms // HOUR_MS % 24}
            rows.append(
                {**identity, "is_fraud": is_fraud, **dict(zip(FEATURE_NAMES, features, strict=True)), **facts, **hour}
            )
    return pd.DataFrame(rows)


def _vectors(
    payments: Sequence[Payment], said: dict[str, list[tuple[int, str, str]]]
) -> Iterator[tuple[Payment, tuple[float | None, ...]]]:
    """Each payment with its features, in fold order."""
    ordered, places, steps = _steps(payments, said)
    reads = {kind: kind_steps.run().reads for kind, kind_steps in steps.items()}
    for start in range(0, len(ordered), _AT_ONCE):
        chunk = ordered[start : start + _AT_ONCE]
        integers = [
            kernel.integers_of(payment, payment.initiated_at_ms, {r: reads[ROLES[r]][n] for r, n in rows.items()})
            for payment, rows in zip(chunk, places[start : start + _AT_ONCE], strict=True)
        ]
        for payment, vector in zip(chunk, kernel.evaluate(np.stack(integers)), strict=True):
            yield payment, kernel.listed(vector)


def _steps(
    payments: Sequence[Payment], said: dict[str, list[tuple[int, str, str]]]
) -> tuple[list[Payment], list[dict[str, int]], dict[str, kernel.Steps]]:
    """Payments in fold order; role -> row of what it reads; kind -> its folds and reads."""
    by_id = {payment.end_to_end_id: payment for payment in payments}
    ordered_events = _events(payments, by_id, said)
    carried = _carried(ordered_events, by_id)
    ordered: list[Payment] = []
    places: list[dict[str, int]] = []
    steps = {kind: kernel.Steps(kind) for kind in ROLES.values()}
    for time_ms, _, identity, _, change in ordered_events:
        payment = by_id[identity]
        keys = entity_keys(payment)
        if change is None:
            ordered.append(payment)
            places.append(
                {
                    role: steps[ROLES[role]].add(key, kernel.READ, time_ms, is_imported=True)
                    for role, key in keys.items()
                }
            )
            folded: Mapping[str, Event] = payment_events(
                payment, keys, time_ms, carried[identity], is_allowed=True, is_imported=True
            )
        else:
            folded = change.events(keys)
        for key, event in folded.items():
            steps[kind_of(key)].add(key, kernel.FOLD, time_ms, event.words())
    return ordered, places, steps


_Happened = tuple[int, int, str, int, LabelChange | None]
"""Time, rank, payment, number of the change, and the change if a label made one."""


def _events(
    payments: Sequence[Payment], by_id: Mapping[str, Payment], said: dict[str, list[tuple[int, str, str]]]
) -> list[_Happened]:
    """Payments and changes by labels, in fold order."""
    events: list[_Happened] = [
        (payment.initiated_at_ms, _PAYMENT, payment.end_to_end_id, 0, None) for payment in payments
    ]
    for identity, parts in said.items():
        changes = fold_labels(entity_keys(by_id[identity]), parts)[1]
        events += [(change.time_ms, _LABEL, identity, n, change) for n, change in enumerate(changes)]
    return sorted(events, key=lambda event: event[:4])


def _carried(events: Sequence[_Happened], by_id: Mapping[str, Payment]) -> dict[str, Carried]:
    """Per payment, what its accounts' states said: only labels tell, and they carry nothing themselves."""
    steps, rows = kernel.Steps("account"), {}
    for time_ms, _, identity, _, change in events:
        payment = by_id[identity]
        if change is None:
            accounts = (payment.payer_account, payment.payee_account)
            rows[identity] = [
                steps.add(account_key(payment.tenant, account), kernel.READ, time_ms) for account in accounts
            ]
        else:
            for key, event in change.events(entity_keys(payment)).items():
                if kind_of(key) == "account":
                    steps.add(key, kernel.FOLD, time_ms, event.words())
    reads = steps.run().reads
    return {
        identity: Carried(payer_flagged=kernel.is_flagged(reads[payer]), payee_flagged=kernel.is_flagged(reads[payee]))
        for identity, (payer, payee) in rows.items()
    }
