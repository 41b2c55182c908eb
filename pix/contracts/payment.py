"""The payment as its sender writes it, with clear identifiers, and the rules of the live doors.

Rules of one field stand in its type. Rules between fields are looked at once every field keeps its own.
"""

from operator import itemgetter
from typing import Any, get_args, get_type_hints

from pydantic import Field, ValidationError

from pix.contracts.errors import FieldError, InvalidFields
from pix.contracts.fields import (
    DAY_MS,
    HOUR_MS,
    MAX_AMOUNT_CENTS,
    MINUTE_MS,
    Account,
    AccountType,
    Authentication,
    Count,
    EndToEndId,
    Initiation,
    Instant,
    KeyType,
    Municipality,
    PersonType,
    PixKey,
    Priority,
    Purpose,
    StrictMessage,
    TaxId,
    Tenant,
    validated,
)
from pix.contracts.json_text import MAX_BODY_BYTES, parse_json_object
from pix.identifiers import end_to_end_minute_ms, has_key_shape

MAX_AHEAD_MS = MINUTE_MS
MAX_AGE_MS = 7 * DAY_MS
MAX_ID_DISTANCE_MS = 12 * HOUR_MS
# Paid to an account that was typed in, or by a standing mandate: no key is looked up (pacs.008, Prxy/Id).
WITHOUT_KEY = frozenset({"MANU", "AUTO"})


class PaymentMessage(StrictMessage):
    """A Pix payment to be decided, as its sender writes it. A missing fact is null."""

    end_to_end_id: EndToEndId = Field(description="EndToEndId: with the tenant, the payment's identity.")
    initiated_at: Instant = Field(description="When the payer started the payment.")
    amount_cents: int = Field(gt=0, le=MAX_AMOUNT_CENTS, description="Amount in centavos.")
    payer_account: Account = Field(description="Account that pays: ISPB-branch-number.")
    payee_account: Account = Field(description="Account that is paid; differs from the payer's.")
    tenant: Tenant = Field("default", description="Institution on whose behalf the payment is decided.")

    initiation: Initiation | None = Field(None, description="How it was started (LclInstrm).")
    purpose: Purpose | None = Field(None, description="Purchase or transfer, Pix Troco (GSCB), or Pix Saque (OTHR).")
    priority: Priority | None = Field(None, description="HIGH is paid at once; NORM is scheduled or held.")
    txid: str | None = Field(None, pattern=r"^[A-Za-z0-9]{1,35}$", description="The payee's id of the charge.")
    pix_key: PixKey | None = Field(None, description="Key that was looked up; none with MANU and AUTO.")
    pix_key_type: KeyType | None = Field(None, description="Type of that key; the key must have its shape.")
    payer_tax_id: TaxId | None = Field(None, description="CPF or CNPJ of who pays, without punctuation.")
    payee_tax_id: TaxId | None = Field(None, description="CPF or CNPJ of who is paid, without punctuation.")
    payer_person_type: PersonType | None = Field(None, description="The payer is a person (PF) or a company (PJ).")
    payee_person_type: PersonType | None = Field(None, description="The payee is a person (PF) or a company (PJ).")
    payer_account_type: AccountType | None = Field(None, description="Type of the payer's account.")
    payee_account_type: AccountType | None = Field(None, description="Type of the payee's account.")
    payer_age_years: int | None = Field(None, ge=0, le=130, description="The payer's age in whole years.")
    payer_municipality: Municipality | None = Field(None, description="IBGE code of where the payer lives.")

    key_created_at: Instant | None = Field(None, description="When the key was registered (DICT).")
    key_owned_since: Instant | None = Field(None, description="Since when its holder has had it (DICT).")
    payer_account_opened_at: Instant | None = Field(None, description="When the payer's account was opened.")
    payee_account_opened_at: Instant | None = Field(None, description="When the payee's account was opened (DICT).")
    payee_settlements_d90: Count | None = Field(None, description="Payments the payee got in 90 days (DICT).")
    payee_fraud_markers_d90: Count | None = Field(None, description="Fraud markers on the payee in 90 days (DICT).")
    payee_mule_markers_d90: Count | None = Field(None, description="Of these, for being a mule account (DICT).")
    payee_fraud_reporters_d90: Count | None = Field(None, description="Institutions that set them (DICT).")
    payee_rejected_reports_d90: Count | None = Field(None, description="Reports rejected in 90 days (DICT).")
    payee_open_reports: Count | None = Field(None, description="Reports under way against the payee (DICT).")
    fraud_markers_watermark: Instant | None = Field(None, description="Up to when these counters are complete.")
    payee_is_preregistered: bool | None = Field(None, description="The payer had saved this payee before.")

    device_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The payer's device.")
    device_registered_at: Instant | None = Field(None, description="When the payer registered the device.")
    device_ip: str | None = Field(None, pattern=r"^[0-9A-Fa-f.:]{2,45}$", description="Its IP address.")
    device_municipality: Municipality | None = Field(None, description="IBGE code of where the device is.")
    device_remote_access: bool | None = Field(None, description="A remote-access tool is running on it.")
    device_rooted: bool | None = Field(None, description="The device is rooted or jailbroken.")
    active_call: bool | None = Field(None, description="A telephone call is going on.")
    authentication: Authentication | None = Field(None, description="What the payer approved the payment with.")
    login_age_ms: int | None = Field(None, ge=0, le=365 * DAY_MS, description="Time since login, milliseconds.")
    typing_interval_ms: int | None = Field(
        None, ge=0, le=60_000, description="Median time between keystrokes, milliseconds."
    )
    credentials_changed_at: Instant | None = Field(None, description="Last change of password or contact data.")

    payer_balance_cents: int | None = Field(
        None, ge=-MAX_AMOUNT_CENTS, le=MAX_AMOUNT_CENTS, description="Balance before the payment, centavos."
    )
    payer_limit_cents: int | None = Field(
        None, ge=0, le=MAX_AMOUNT_CENTS, description="What the payer may still pay now, centavos."
    )
    limit_raised_at: Instant | None = Field(None, description="When a limit was last raised.")
    funds_raised_at: Instant | None = Field(None, description="When a loan or an advance last raised the balance.")
    remittance_text: str | None = Field(
        None, max_length=140, pattern=r"^[^\x00-\x1f\x7f]*$", description="The payer's words to the payee."
    )


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
# Fields whose JSON value stands between quotation marks.
TEXT_FIELDS = tuple(
    name
    for name, kind in get_type_hints(PaymentMessage).items()
    if name in PaymentMessage.model_fields and (name in INSTANT_FIELDS or not {int, bool} & {kind, *get_args(kind)})
)
_texts_of = itemgetter(*TEXT_FIELDS)


def parse_payment(raw: bytes) -> PaymentMessage:
    """A payment from the bytes of its message.

    Raises:
        NotJson: The bytes are not one JSON object.
        InvalidFields: Fields break the contract.
    """
    return _faultless(raw) or payment_from(parse_json_object(raw))


def _faultless(raw: bytes) -> PaymentMessage | None:
    r"""The payment, if it is surely valid; read once, by pydantic's own JSON parser.

    That parser keeps the last of two equal keys. But each key and each text has two quotation marks, so a key
    that came twice leaves too many of them (as ``\"`` does), and nothing leaves too few. None is no verdict:
    what is refused, and why, is decided and said by the long way only.
    """
    if len(raw) > MAX_BODY_BYTES:
        return None
    try:
        message = PaymentMessage.model_validate_json(raw)
    except ValidationError:
        return None
    given = message.model_fields_set
    texts = len(TEXT_FIELDS) - _texts_of(message.__dict__).count(None) - ("tenant" not in given)
    if raw.count(b'"') != 2 * (len(given) + texts) or _broken_rules(message):
        return None
    return message


def payment_from(content: dict[str, Any]) -> PaymentMessage:
    """A payment from a JSON object that ``parse_json_object`` let through.

    Raises:
        InvalidFields: Fields break the contract.
    """
    message = validated(PaymentMessage, content)
    errors = _broken_rules(message)
    if errors:
        raise InvalidFields(*errors, end_to_end_id=message.end_to_end_id)
    return message


def _broken_rules(message: PaymentMessage) -> list[FieldError]:
    """Rules between fields."""
    errors = []
    if message.payer_account == message.payee_account:
        errors.append(FieldError("payee_account", "must differ from payer_account"))
    if message.pix_key is not None:
        if message.pix_key_type is not None and not has_key_shape(message.pix_key, message.pix_key_type):
            errors.append(FieldError("pix_key", "is not a key of the type in pix_key_type"))
        if message.initiation in WITHOUT_KEY:
            errors.append(FieldError("pix_key", "must be null where initiation is MANU or AUTO"))
    return errors


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
