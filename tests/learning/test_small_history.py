"""A label known after a payment changes nothing in it; moved across, it changes exactly what it should."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from learning.small_history import frame
from pix.contracts import DAY_MS, HOUR_MS, LabelMessage, Payment, label_id
from pix.features import FEATURE_NAMES

START_MS = 1_790_000_000_000
DAYS = 12
OF_THE_PAYEE = {"payee_frauds_7d", "payee_frauds_30d", "payee_frauds_90d", "payee_fraud_share_90d"}
OF_THE_PAYER = {"payer_flagged_payees_24h", "payer_flagged_payees_30d"}


def payment(name: str, at_ms: int, payer: str, payee: str) -> Payment:
    return Payment(
        end_to_end_id=name,
        tenant="default",
        initiated_at_ms=at_ms,
        amount_cents=100,
        payer_account=payer,
        payee_account=payee,
    )


def label(identity: str, known_ms: int) -> LabelMessage:
    """Accepted, with effect from the fraud on, and known later."""
    effect, known = (
        datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds") for at_ms in (START_MS, known_ms)
    )
    content = {
        "end_to_end_id": identity,
        "kind": "accepted",
        "source": "med",
        "effective_at": effect,
        "known_at": known,
    }
    return LabelMessage.model_validate({**content, "label_id": label_id(content)})


# Each day somebody new pays the account "mule", and an hour later somebody else: the fraud is the first payment.
FRAUD = "E12345678202609211200aaaaaaaaaa0"
PAYMENTS = [payment(FRAUD, START_MS, "victim", "mule")]
for _day in range(1, DAYS):
    _at_ms = START_MS + _day * DAY_MS
    PAYMENTS.append(payment(f"to{_day:02}", _at_ms, f"payer{_day}", "mule"))
    PAYMENTS.append(payment(f"next{_day:02}", _at_ms + HOUR_MS, f"payer{_day}", "shop"))


def features(*labels: LabelMessage) -> pd.DataFrame:
    as_of_ms = START_MS + 100 * DAY_MS
    return frame(PAYMENTS, labels, [], as_of_ms=as_of_ms, maturity_ms=0).set_index("end_to_end_id")[list(FEATURE_NAMES)]


def changed(with_label: pd.DataFrame, without: pd.DataFrame) -> dict[str, set[str]]:
    """Payment -> the features that differ."""
    differs = ~(with_label.eq(without) | (with_label.isna() & without.isna()))
    return {str(name): set(row.index[row]) for name, row in differs.iterrows() if row.any()}


@pytest.mark.parametrize("day", [1, 2, 5, 11])
@pytest.mark.parametrize("shift_ms", [-1, 0, 1])
def test_a_label_moved_across_a_payment_changes_exactly_the_expected(day: int, shift_ms: int) -> None:
    """At one time payments come before labels, so a label of that very millisecond is not seen either."""
    without = features()
    known_ms = START_MS + day * DAY_MS + shift_ms
    with_label = features(label(FRAUD, known_ms))
    found = changed(with_label, without)
    seen_from = day if shift_ms < 0 else day + 1
    expected = {f"to{later:02}": OF_THE_PAYEE for later in range(seen_from, DAYS)}
    expected |= {f"next{later:02}": OF_THE_PAYER for later in range(seen_from, DAYS)}
    assert set(found) == set(expected)
    for identity, names in found.items():
        is_recent = identity.startswith("to") and with_label.loc[identity, "payee_frauds_7d"] == 1
        assert names == (
            expected[identity] if is_recent or identity.startswith("next") else OF_THE_PAYEE - {"payee_frauds_7d"}
        )
    for later in range(seen_from, DAYS):
        row = with_label.loc[f"to{later:02}"]
        assert row["payee_frauds_90d"] == 1
        assert row["payee_fraud_share_90d"] == 1 / later
        at_ms = START_MS + later * DAY_MS
        first_ms = at_ms // (12 * HOUR_MS) * (12 * HOUR_MS) - 7 * DAY_MS
        assert row["payee_frauds_7d"] == (known_ms >= first_ms)
