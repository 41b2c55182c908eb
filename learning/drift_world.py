"""Simulated payments that fit into memory, with what becomes known of them and when, and criminals who change."""

from typing import TYPE_CHECKING, Any

import numpy as np

from learning.inputs import RAW_PREFIX, labels
from learning.small_history import frame
from pix.contracts import DAY_MS, FRAUD_KINDS, behind_the_door, label_from, payment_from
from pix.features import FEATURE_NAMES
from pix.labels import CLEARING_KINDS, CONTESTED
from pix.simulator.plan import SimulationPlan
from pix.simulator.simulation import simulate
from pix.tokens import Keyring

if TYPE_CHECKING:
    import pandas as pd

RAW = ("amount_cents", "initiation", "payer_age_years")
_KEYRING = Keyring(1, {1: b"drift trial".ljust(32, b".")})
MOVED_TO = {"payer_age_years": (16, 20), "local_hour": (6, 8), "is_night": (0, 1), "is_business_hours": (0, 1)}
"""Feature -> its least value, and the first one above its greatest; see ``elsewhere``."""
OF_FIELDS = {"payer_age_years": (f"{RAW_PREFIX}payer_age_years", 0), "local_hour": (f"{RAW_PREFIX}hour", 3)}
"""Feature -> the field that says the same, and how much more it says: hours of fields are those of UTC."""


def history(plan: SimulationPlan) -> "pd.DataFrame":
    """Every simulated payment with its features of the moment, and since when what is known of it.

    Columns: those of ``learning.small_history.frame``, and what a training set has beside them; ``contested_at_ms``.
    ``is_fraud`` is as it becomes known in the end.
    """
    import pandas as pd

    simulation = simulate(plan)
    payments = [behind_the_door(payment_from(one), _KEYRING) for one in simulation.payments]
    said = [label_from(one) for one in simulation.labels]
    whole = frame(payments, said, RAW, as_of_ms=plan.window[1] + 200 * DAY_MS, maturity_ms=0)
    times: dict[str, dict[str, float]] = {"fraud_known_at_ms": {}, "cleared_at_ms": {}, "contested_at_ms": {}}
    for label in said:
        kind = label.kind
        column = "fraud_known" if kind in FRAUD_KINDS else "cleared" if kind in CLEARING_KINDS else CONTESTED
        known = times[f"{column}_at_ms"]
        known[label.end_to_end_id] = min(known.get(label.end_to_end_id, np.inf), label.known_at)
    identity = whole["end_to_end_id"]
    columns: dict[str, pd.Series[Any]] = {
        name: identity.map(pd.Series(known, dtype=np.float64)) for name, known in times.items()
    }
    columns["fraud_type"] = identity.map({label.end_to_end_id: label.fraud_type for label in said if label.fraud_type})
    columns["payee_account"] = identity.map({one.end_to_end_id: one.payee_account for one in payments})
    whole = whole.assign(**columns, weight=1.0, label_class="")
    return whole.sort_values(["event_time_ms", "end_to_end_id"], kind="stable", ignore_index=True)


def elsewhere(whole: "pd.DataFrame", from_ms: int, *, seed: int) -> "pd.DataFrame":
    """The same payments in a world where criminals do something else from some time on.

    From then on a fraud looks like some honest payment of its own day in every feature and field, but for
    ``MOVED_TO``: it is by a young payer, early in the morning. Of its own day, because many features only grow: a fraud
    that looked like a payment of next week would teach that next week's payments are fraud. The simulator's own drifts
    do less: a model hardly suffers from them.

    Args:
        whole: Of ``history``; every day from then on has an honest payment.
        from_ms: From when on, epoch milliseconds.
        seed: Draws which honest payments.
    """
    rng = np.random.default_rng(seed)
    times = whole["event_time_ms"].to_numpy(np.int64)
    is_fraud, days = labels(whole), (times - from_ms) // DAY_MS
    moved = np.flatnonzero(is_fraud & (days >= 0))
    alike = {day: np.flatnonzero(~is_fraud & (days == day)) for day in np.unique(days[moved])}
    drawn = np.array([rng.choice(alike[day]) for day in days[moved]], np.int64)
    found = whole.copy()
    columns = [name for name in whole if name in FEATURE_NAMES or str(name).startswith(RAW_PREFIX)]
    found.loc[moved, columns] = whole.loc[drawn, columns].to_numpy()
    for name, (low, high) in MOVED_TO.items():
        values = rng.integers(low, high, len(moved))
        field, more = OF_FIELDS.get(name, ("", 0))
        found.loc[moved, name] = values
        if field in columns:
            found.loc[moved, field] = values + more
    return found


def as_known(rows: "pd.DataFrame", at_ms: "int | pd.Series") -> "pd.DataFrame":
    """Rows as they are known at some time; those that are contested and wait for their verdict are left out.

    Args:
        rows: Of ``history``.
        at_ms: Epoch milliseconds, one for all or one for each.
    """
    is_cleared = rows["cleared_at_ms"] <= at_ms
    is_fraud = (rows["fraud_known_at_ms"] <= at_ms) & ~is_cleared
    is_open = (rows["contested_at_ms"] <= at_ms) & ~is_fraud & ~is_cleared
    return rows.assign(is_fraud=is_fraud)[~is_open]


def matured(rows: "pd.DataFrame", maturity_ms: int) -> "pd.DataFrame":
    """Rows as each was known when it had just matured: so days compare with each other, old and new ones."""
    return as_known(rows, rows["event_time_ms"] + maturity_ms)
