"""The payment behind the door: identifiers are tokens, times are epoch milliseconds."""

from dataclasses import dataclass, fields
from hashlib import sha256
from operator import attrgetter
from typing import Any

from pix.contracts.json_text import canonical_json
from pix.contracts.payment import INSTANT_FIELDS, PaymentMessage
from pix.tokens import Keyring

LIVE_HISTORY = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment behind the door: identifiers are tokens, times are epoch milliseconds."""

    end_to_end_id: str
    tenant: str
    initiated_at_ms: int
    amount_cents: int
    payer_account: str
    payee_account: str
    initiation: str | None = None
    purpose: str | None = None
    priority: str | None = None
    txid: str | None = None
    pix_key: str | None = None
    pix_key_type: str | None = None
    payer_tax_id: str | None = None
    payee_tax_id: str | None = None
    payer_person_type: str | None = None
    payee_person_type: str | None = None
    payer_account_type: str | None = None
    payee_account_type: str | None = None
    payer_age_years: int | None = None
    payer_municipality: str | None = None
    key_created_at_ms: int | None = None
    key_owned_since_ms: int | None = None
    payer_account_opened_at_ms: int | None = None
    payee_account_opened_at_ms: int | None = None
    payee_settlements_d90: int | None = None
    payee_fraud_markers_d90: int | None = None
    payee_mule_markers_d90: int | None = None
    payee_fraud_reporters_d90: int | None = None
    payee_rejected_reports_d90: int | None = None
    payee_open_reports: int | None = None
    fraud_markers_watermark_ms: int | None = None
    payee_is_preregistered: bool | None = None
    device_id: str | None = None
    device_registered_at_ms: int | None = None
    device_ip: str | None = None
    device_municipality: str | None = None
    device_remote_access: bool | None = None
    device_rooted: bool | None = None
    active_call: bool | None = None
    authentication: str | None = None
    login_age_ms: int | None = None
    typing_interval_ms: int | None = None
    credentials_changed_at_ms: int | None = None
    payer_balance_cents: int | None = None
    payer_limit_cents: int | None = None
    limit_raised_at_ms: int | None = None
    funds_raised_at_ms: int | None = None
    remittance_text: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The facts that are known; missing ones are left out."""
        return {name: value for name, value in zip(PAYMENT_FIELDS, _values(self), strict=True) if value is not None}


PAYMENT_FIELDS = tuple(field.name for field in fields(Payment))
_values = attrgetter(*PAYMENT_FIELDS)
TOKEN_KINDS = {
    "payer_account": "account",
    "payee_account": "account",
    "payer_tax_id": "tax_id",
    "payee_tax_id": "tax_id",
    "pix_key": "pix_key",
    "txid": "txid",
    "device_id": "device",
    "device_ip": "ip",
    "remittance_text": "text",
}


def history_tenant(tenant: str, history: str) -> str:
    """The tenant of an imported payment: histories share no account with each other or with live traffic.

    The history ``live`` is the exception: it is the past of the live traffic. No door accepts the ``@``.
    """
    return tenant if history == LIVE_HISTORY else f"{tenant}@{history}"


def behind_the_door(message: PaymentMessage, keyring: Keyring, *, history: str = LIVE_HISTORY) -> Payment:
    """The same payment with tokens in place of clear identifiers.

    Args:
        message: The parsed payment.
        keyring: Keys for the tokens.
        history: Name of the history that it belongs to; it enters the tenant, and so every token.
    """
    tenant = history_tenant(message.tenant, history)
    values: dict[str, Any] = {}
    # The dictionary itself: asking for fifty attributes by name takes as long as making the tokens.
    for name, value in message.__dict__.items():
        if value is None:
            continue
        kind = TOKEN_KINDS.get(name)
        values[INSTANT_FIELDS.get(name, name)] = keyring.token(tenant, kind, value) if kind else value
    values["tenant"] = tenant
    return Payment(**values)


def payment_digest(payment: Payment) -> str:
    """What "same body" compares: SHA-256 over the canonical tokenised payment."""
    return sha256(canonical_json(payment.to_dict())).hexdigest()
