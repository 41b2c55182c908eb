"""Messages at the doors: parsed strictly, once, then trusted.

``PaymentMessage`` and ``LabelMessage`` are what senders write (clear identifiers); ``Payment`` is the
same payment behind the door (tokens, milliseconds). Anything unexpected is refused by field name; the
reason never repeats the value, because values may be personal data.

InvalidMessage
├── NotJson           the bytes are not one JSON object without doubtful parts
└── InvalidFields     fields that break the contract, each with its reason
"""

import json
import re
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from pix.identifiers import end_to_end_minute_ms, valid_cnpj, valid_cpf
from pix.tokens import Keyring

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

MAX_BODY_BYTES = 16_384
MAX_AHEAD_MS = MINUTE_MS
MAX_AGE_MS = 7 * DAY_MS
MAX_ID_DISTANCE_MS = 12 * HOUR_MS
# R$ 10 billion: nine million such payments in one window still fit a signed 64-bit sum.
MAX_AMOUNT_CENTS = 10**12

Initiation = Literal["MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APES", "APDN"]
Purpose = Literal["IPAY", "GSCB", "OTHR"]
Priority = Literal["HIGH", "NORM"]
AccountType = Literal["CACC", "SVGS", "TRAN", "SLRY", "OTHR"]
KeyType = Literal["CPF", "CNPJ", "PHONE", "EMAIL", "EVP"]
PersonType = Literal["PF", "PJ"]
LabelKind = Literal["contested", "accepted", "rejected", "reversed", "confirmed", "dismissed"]
FraudType = Literal["SCAM", "ACCOUNT_TAKEOVER", "COERCION", "FRAUDULENT_ACCESS", "OTHER", "UNKNOWN"]
LIVE_HISTORY = "live"
FRAUD_KINDS = frozenset({"accepted", "confirmed"})

RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken field and why."""

    field: str
    reason: str


class InvalidMessage(Exception):
    """A message that no door lets in.

    Attributes:
        errors: Every broken field; ``field`` is empty where the message as a whole is broken.
    """

    def __init__(self, *errors: FieldError, end_to_end_id: str | None = None) -> None:
        super().__init__("; ".join(f"{error.field or 'message'}: {error.reason}" for error in errors))
        self.errors = errors
        self.end_to_end_id = end_to_end_id


class NotJson(InvalidMessage):
    """The bytes are not one JSON object without doubtful parts."""


class InvalidFields(InvalidMessage):
    """Fields that break the contract."""


def parse_instant(value: object) -> int:
    """RFC 3339 text with an offset to epoch milliseconds (finer parts are cut).

    Raises:
        ValueError: Not such a text.
    """
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-11-21T09:30:15.120-03:00")
    moment = datetime.fromisoformat(value.upper())
    return round_down_ms(moment)


def round_down_ms(moment: datetime) -> int:
    """Epoch milliseconds of an aware time, exact (floats would round)."""
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1000 + moment.microsecond // 1000


Instant = Annotated[int, BeforeValidator(parse_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
EndToEndId = Annotated[str, Field(pattern=r"^E[0-9A-Z]{8}[0-9]{12}[A-Za-z0-9]{11}$")]
Account = Annotated[str, Field(pattern=r"^[0-9A-Z]{8}-[0-9]{4}-[0-9]{1,13}$", description="ISPB-branch-number")]
Tenant = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
# The first digit is the region: 1 North, 2 Northeast, 3 Southeast, 4 South, 5 Centre-West.
Municipality = Annotated[str, Field(pattern=r"^[1-5][0-9]{6}$", description="IBGE code of a municipality")]
# Tax ids of eleven and fourteen places; check digits are looked at after the shape.
TaxId = Annotated[str, Field(pattern=r"^([0-9]{11}|[0-9A-Z]{12}[0-9]{2})$")]


class StrictMessage(BaseModel):
    """Unknown fields, coerced types and infinite numbers are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Message = TypeVar("Message", bound=StrictMessage)


class PaymentMessage(StrictMessage):
    """A Pix payment to be decided, as its sender writes it. A missing fact is null."""

    end_to_end_id: EndToEndId
    initiated_at: Instant
    amount_cents: int = Field(gt=0, le=MAX_AMOUNT_CENTS)
    payer_account: Account
    payee_account: Account
    tenant: Tenant = "default"

    initiation: Initiation | None = None
    purpose: Purpose | None = None
    priority: Priority | None = None
    txid: str | None = Field(None, pattern=r"^[A-Za-z0-9]{1,35}$")
    pix_key: str | None = Field(None, max_length=77, pattern=r"^[\x21-\x7e]+$")
    pix_key_type: KeyType | None = None
    payer_tax_id: TaxId | None = None
    payee_tax_id: TaxId | None = None
    payer_person_type: PersonType | None = None
    payee_person_type: PersonType | None = None
    payer_account_type: AccountType | None = None
    payee_account_type: AccountType | None = None
    payer_age_years: int | None = Field(None, ge=0, le=130)
    payer_municipality: Municipality | None = None

    key_created_at: Instant | None = None
    key_owned_since: Instant | None = None
    payer_account_opened_at: Instant | None = None
    payee_account_opened_at: Instant | None = None
    payee_settlements_d90: Count | None = None
    payee_fraud_markers_d90: Count | None = None
    payee_mule_markers_d90: Count | None = None
    payee_fraud_reporters_d90: Count | None = None
    payee_rejected_reports_d90: Count | None = None
    payee_open_reports: Count | None = None
    fraud_markers_watermark: Instant | None = None
    payee_is_preregistered: bool | None = None

    device_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    device_registered_at: Instant | None = None
    device_ip: str | None = Field(None, pattern=r"^[0-9A-Fa-f.:]{2,45}$")
    device_municipality: Municipality | None = None
    device_remote_access: bool | None = None
    device_rooted: bool | None = None
    active_call: bool | None = None
    authentication: Literal["PASSWORD", "BIOMETRY", "TOKEN"] | None = None
    login_age_ms: int | None = Field(None, ge=0, le=365 * DAY_MS)
    typing_interval_ms: int | None = Field(None, ge=0, le=60_000)
    credentials_changed_at: Instant | None = None

    payer_balance_cents: int | None = Field(None, ge=-MAX_AMOUNT_CENTS, le=MAX_AMOUNT_CENTS)
    payer_limit_cents: int | None = Field(None, ge=0, le=MAX_AMOUNT_CENTS)
    limit_raised_at: Instant | None = None
    funds_raised_at: Instant | None = None
    remittance_text: str | None = Field(None, max_length=140, pattern=r"^[^\x00-\x1f\x7f]*$")


class LabelMessage(StrictMessage):
    """What became known about a payment, by the Pix MED or by an analyst."""

    label_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    end_to_end_id: EndToEndId
    kind: LabelKind
    fraud_type: FraudType | None = None
    effective_at: Instant
    known_at: Instant
    source: str = Field(pattern=r"^[a-z0-9_.-]{1,32}$")
    tenant: Tenant = "default"

    @model_validator(mode="before")
    @classmethod
    def _id_matches_content(cls, content: Any) -> Any:
        if isinstance(content, dict) and "label_id" in content and content["label_id"] != label_id(content):
            raise ValueError("label_id is not the hash of the label's other fields")
        return content


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
        return {name: value for name in PAYMENT_FIELDS if (value := getattr(self, name)) is not None}


PAYMENT_FIELDS = tuple(field.name for field in fields(Payment))
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
INSTANT_FIELDS = {
    name: f"{name}_ms"
    for name in (
        "initiated_at",
        "key_created_at",
        "key_owned_since",
        "payer_account_opened_at",
        "payee_account_opened_at",
        "fraud_markers_watermark",
        "device_registered_at",
        "credentials_changed_at",
        "limit_raised_at",
        "funds_raised_at",
    )
}


def parse_json_object(raw: bytes, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """One JSON object; duplicate keys, NaN and Infinity are refused.

    Raises:
        NotJson: With the reason.
        InvalidFields: A key appears more than once.
    """
    if len(raw) > max_bytes:
        raise NotJson(FieldError("", f"is larger than {max_bytes} bytes"))
    try:
        # Decoded here, because json.loads would take UTF-16 and UTF-32, too.
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except InvalidMessage:
        raise
    except (ValueError, RecursionError):
        raise NotJson(FieldError("", "is not valid JSON in UTF-8")) from None
    if not isinstance(content, dict):
        raise NotJson(FieldError("", "must be a JSON object"))
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidFields(FieldError(_safe_name(twice), "appears more than once"))
    return content


def _no_constant(name: str) -> None:
    raise NotJson(FieldError("", f"{name} is not a JSON number"))


def parse_payment(raw: bytes) -> PaymentMessage:
    """A payment from the bytes of its message.

    Raises:
        NotJson: The bytes are not one JSON object.
        InvalidFields: Fields break the contract.
    """
    return payment_from(parse_json_object(raw))


def payment_from(content: dict[str, Any]) -> PaymentMessage:
    """A payment from a JSON object that ``parse_json_object`` let through.

    Raises:
        InvalidFields: Fields break the contract.
    """
    message = _validated(PaymentMessage, content)
    errors = []
    for name in ("payer_tax_id", "payee_tax_id"):
        tax_id = getattr(message, name)
        if tax_id is not None and not (valid_cpf(tax_id) if len(tax_id) == 11 else valid_cnpj(tax_id)):
            errors.append(FieldError(name, "has wrong check digits"))
    if message.payer_account == message.payee_account:
        errors.append(FieldError("payee_account", "must differ from payer_account"))
    try:
        end_to_end_minute_ms(message.end_to_end_id)
    except ValueError:
        errors.append(FieldError("end_to_end_id", "holds no such UTC minute"))
    if errors:
        raise InvalidFields(*errors, end_to_end_id=message.end_to_end_id)
    return message


def parse_label(raw: bytes) -> LabelMessage:
    """A label from the bytes of its message.

    Raises:
        NotJson: The bytes are not one JSON object.
        InvalidFields: Fields break the contract.
    """
    return label_from(parse_json_object(raw))


def label_from(content: dict[str, Any]) -> LabelMessage:
    """A label from a JSON object that ``parse_json_object`` let through.

    Raises:
        InvalidFields: Fields break the contract.
    """
    return _validated(LabelMessage, content)


def _validated(model: type[Message], content: dict[str, Any]) -> Message:
    try:
        return model.model_validate(content)
    except ValidationError as broken:
        errors = tuple(
            FieldError(_safe_name(".".join(str(part) for part in error["loc"])), _reason(error["type"], error["msg"]))
            for error in broken.errors(include_input=False, include_url=False, include_context=False)
        )
        raise InvalidFields(*errors, end_to_end_id=readable_id(content)) from None


def _reason(kind: str, message: str) -> str:
    known = {"extra_forbidden": "is not a known field", "missing": "is required"}
    return known.get(kind, message.removeprefix("Value error, "))


def _safe_name(name: str) -> str:
    """A field's name for an answer; senders may put personal data into names, too."""
    return name if re.fullmatch(r"[A-Za-z0-9_.]{0,64}", name) and not re.search(r"[0-9]{6}", name) else "(unreadable)"


def readable_id(content: dict[str, Any]) -> str | None:
    """The EndToEndId of a possibly broken message, if it has one of the right shape."""
    value = content.get("end_to_end_id")
    matches = isinstance(value, str) and re.fullmatch(r"E[0-9A-Z]{8}[0-9]{12}[A-Za-z0-9]{11}", value)
    return value if matches else None


def check_live(message: PaymentMessage, now_ms: int) -> None:
    """Rules of the live doors: no payment from the future or from long ago.

    Args:
        message: The parsed payment.
        now_ms: The door's clock, epoch milliseconds.

    Raises:
        InvalidFields: ``initiated_at`` or the id's minute is out of bounds.
    """
    errors = []
    if message.initiated_at > now_ms + MAX_AHEAD_MS:
        errors.append(FieldError("initiated_at", f"is more than {MAX_AHEAD_MS // 1000} s ahead of this door's clock"))
    if message.initiated_at < now_ms - MAX_AGE_MS:
        errors.append(FieldError("initiated_at", f"is older than {MAX_AGE_MS // DAY_MS} days"))
    if abs(end_to_end_minute_ms(message.end_to_end_id) - message.initiated_at) > MAX_ID_DISTANCE_MS:
        errors.append(FieldError("end_to_end_id", "its minute is more than 12 h from initiated_at"))
    if errors:
        raise InvalidFields(*errors, end_to_end_id=message.end_to_end_id)


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
    for name in PaymentMessage.model_fields:
        value = getattr(message, name)
        if value is None:
            continue
        kind = TOKEN_KINDS.get(name)
        values[INSTANT_FIELDS.get(name, name)] = keyring.token(tenant, kind, value) if kind else value
    values["tenant"] = tenant
    return Payment(**values)


def canonical_json(content: Any) -> bytes:
    """The one way bytes are made where they are hashed or compared: sorted, compact, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def payment_digest(payment: Payment) -> str:
    """What "same body" compares: SHA-256 over the canonical tokenised payment."""
    return sha256(canonical_json(payment.to_dict())).hexdigest()


def label_id(fields_of_label: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a label's fields, without the id itself."""
    content = {name: value for name, value in fields_of_label.items() if name != "label_id"}
    return sha256(canonical_json(content)).hexdigest()
