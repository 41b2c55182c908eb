"""Messages at the doors and on the topics: parsed strictly, once, then trusted.

``PaymentMessage`` and ``LabelMessage`` are what senders write (clear identifiers); ``Payment`` is the same
payment behind the door (tokens, milliseconds). ``DecisionRecord``, ``FoldRecord``, ``DeadLetterRecord``,
``RedrivenRecord`` and ``ShadowScore`` describe, byte for byte, what this platform writes. Anything unexpected is
refused by field name; a reason never repeats a value. Everything others need is importable from here; the modules
below are private to it.
"""

from pix.contracts.dead_letter import DeadLetterRecord, RedrivenRecord
from pix.contracts.decision import DecisionRecord
from pix.contracts.errors import FieldError, InvalidFields, InvalidMessage, NotJson
from pix.contracts.fields import DAY_MS, HOUR_MS, MAX_AMOUNT_CENTS, MINUTE_MS, parse_instant, readable_id
from pix.contracts.fold import FoldRecord
from pix.contracts.json_text import MAX_BODY_BYTES, canonical_json, parse_json_object
from pix.contracts.label import FRAUD_KINDS, LabelMessage, check_label_live, label_from, label_id, parse_label
from pix.contracts.payment import INSTANT_FIELDS, MAX_AGE_MS, PaymentMessage, check_live, parse_payment, payment_from
from pix.contracts.shadow import ShadowScore
from pix.contracts.tokenised import (
    LIVE_HISTORY,
    PAYMENT_FIELDS,
    TOKEN_KINDS,
    Payment,
    behind_the_door,
    history_tenant,
    payment_digest,
)

__all__ = [
    "DAY_MS",
    "FRAUD_KINDS",
    "HOUR_MS",
    "INSTANT_FIELDS",
    "LIVE_HISTORY",
    "MAX_AGE_MS",
    "MAX_AMOUNT_CENTS",
    "MAX_BODY_BYTES",
    "MINUTE_MS",
    "PAYMENT_FIELDS",
    "TOKEN_KINDS",
    "DeadLetterRecord",
    "DecisionRecord",
    "FieldError",
    "FoldRecord",
    "InvalidFields",
    "InvalidMessage",
    "LabelMessage",
    "NotJson",
    "Payment",
    "PaymentMessage",
    "RedrivenRecord",
    "ShadowScore",
    "behind_the_door",
    "canonical_json",
    "check_label_live",
    "check_live",
    "history_tenant",
    "label_from",
    "label_id",
    "parse_instant",
    "parse_json_object",
    "parse_label",
    "parse_payment",
    "payment_digest",
    "payment_from",
    "readable_id",
]
