"""The training frame of a history that fits into memory: the service's kernel, event by event, without Spark.

For judging simulated traffic and for notebooks; the platform's own sets come from the lake
(``features/training_set``), with the same meaning.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from learning.training import RAW_PREFIX
from pix.contracts import HOUR_MS, LabelMessage, Payment
from pix.engines import kernel
from pix.features import FEATURE_NAMES, ROLES, vector
from pix.labels import fold_labels

if TYPE_CHECKING:
    import pandas as pd

# At one time payments come before labels, then the order is by id: the fold order of imported history.
_PAYMENT, _LABEL = range(2)


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
            is_fraud = fold_labels("", said.get(payment.end_to_end_id, []))[0].counted_at_ms is not None
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
    by_id = {payment.end_to_end_id: payment for payment in payments}
    events: list[tuple[int, int, str, kernel.Labelled | None]] = [
        (payment.initiated_at_ms, _PAYMENT, payment.end_to_end_id, None) for payment in payments
    ]
    for identity, parts in said.items():
        events += [(event.time_ms, _LABEL, identity, event) for event in fold_labels("", parts)[1]]
    states: dict[str, kernel.EntityState | None] = defaultdict(lambda: None)
    for time_ms, _, identity, labelled in sorted(events, key=lambda event: event[:3]):
        payment = by_id[identity]
        keys = kernel.entity_keys(payment)
        if labelled is not None:
            states[keys["payee_account"]] = kernel.fold(states[keys["payee_account"]], "account", labelled)
            continue
        reads = {role: kernel.read(states[keys[role]], role, time_ms) if role in keys else None for role in ROLES}
        yield payment, vector(payment, time_ms, reads)
        for role, key in keys.items():
            event = kernel.payment_event(payment, role, time_ms, allowed=True)
            states[key] = kernel.fold(states[key], ROLES[role], event)
