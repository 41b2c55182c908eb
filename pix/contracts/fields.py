"""Kinds of fields that messages share, and how a message is validated against its model.

The rules of one field stand in its type; pydantic applies them and reports every broken field at once.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from pix.contracts.errors import FieldError, InvalidFields, safe_name
from pix.identifiers import (
    ACCOUNT_SHAPE,
    CNPJ_SHAPE,
    CPF_SHAPE,
    END_TO_END_SHAPE,
    MAX_KEY_CHARACTERS,
    PIX_KEY_SHAPES,
    PixKeyType,
    anchored,
    end_to_end_minute_ms,
    pix_key_type,
    valid_tax_id,
)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# R$ 10 billion: nine million such payments in one window still fit a signed 64-bit sum.
MAX_AMOUNT_CENTS = 10**12
SHA256_SHAPE = "[0-9a-f]{64}"
TENANT_SHAPE = "[a-z0-9-]{1,32}"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
# All but the day of the month; Python 3.13 would take 24:00, and no version takes a leap second.
INSTANT_SHAPE = (
    rf"[0-9]{{4}}-(?:0[1-9]|1[0-2])-[0-3][0-9][Tt]{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:[Zz]|[+-]{_CLOCK})"
)
_INSTANT = re.compile(INSTANT_SHAPE)
_END_TO_END = re.compile(END_TO_END_SHAPE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_INSTANT = "must be an RFC 3339 time with an offset, such as 2026-11-21T09:30:15.120-03:00"


def parse_instant(value: object) -> int:
    """RFC 3339 text with an offset to epoch milliseconds (finer parts are cut).

    Raises:
        ValueError: Not such a text; the reason does not repeat it.
    """
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError(_NO_INSTANT)
    try:
        since = datetime.fromisoformat(value.upper()) - _EPOCH
    except ValueError:
        raise ValueError(_NO_INSTANT) from None
    # Whole numbers all the way: a float of seconds would round.
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _real_id(value: str) -> str:
    end_to_end_minute_ms(value)
    return value


def _checked_tax_id(value: str) -> str:
    if not valid_tax_id(value):
        raise ValueError("must be a CPF or CNPJ without punctuation and with the right check digits")
    return value


def _checked_key(value: str) -> str:
    if pix_key_type(value) is None:
        raise ValueError("is no Pix key: a CPF or CNPJ with its check digits, +phone, lower-case e-mail or EVP")
    return value


def _shaped(shape: str, **more: object) -> WithJsonSchema:
    """What the schema says of a text whose shape its validator looks at itself."""
    return WithJsonSchema({"type": "string", "pattern": anchored(shape), **more})


Instant = Annotated[int, PlainValidator(parse_instant), _shaped(INSTANT_SHAPE, format="date-time")]
InstantMs = Annotated[int, Field(ge=-(10**14), le=10**15)]
EndToEndId = Annotated[str, AfterValidator(_real_id), _shaped(END_TO_END_SHAPE)]
Account = Annotated[str, Field(pattern=anchored(ACCOUNT_SHAPE))]
Tenant = Annotated[str, Field(pattern=anchored(TENANT_SHAPE))]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
# The first digit is the region: 1 North, 2 Northeast, 3 Southeast, 4 South, 5 Centre-West.
Municipality = Annotated[str, Field(pattern=r"^[1-5][0-9]{6}$")]
TaxId = Annotated[str, AfterValidator(_checked_tax_id), _shaped(f"{CPF_SHAPE}|{CNPJ_SHAPE}")]
PixKey = Annotated[
    str, AfterValidator(_checked_key), _shaped("|".join(PIX_KEY_SHAPES.values()), maxLength=MAX_KEY_CHARACTERS)
]
Sha256 = Annotated[str, Field(pattern=anchored(SHA256_SHAPE))]
Token = Annotated[str, Field(pattern=r"^k[1-9][0-9]{0,8}:[A-Za-z0-9_-]{32}$")]

Initiation = Literal["MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APES", "APDN"]
Purpose = Literal["IPAY", "GSCB", "OTHR"]
Priority = Literal["HIGH", "NORM"]
AccountType = Literal["CACC", "SVGS", "TRAN", "SLRY", "OTHR"]
KeyType = PixKeyType
PersonType = Literal["PF", "PJ"]
Authentication = Literal["PASSWORD", "BIOMETRY", "TOKEN"]


class StrictMessage(BaseModel):
    """Unknown fields, coerced types and infinite numbers are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Message = TypeVar("Message", bound=StrictMessage)


def validated(model: type[Message], content: dict[str, Any]) -> Message:
    """The message, once every field keeps its own rule.

    Raises:
        InvalidFields: With every field that does not.
    """
    try:
        return model.model_validate(content)
    except ValidationError as broken:
        errors = tuple(
            FieldError(safe_name(".".join(str(part) for part in error["loc"])), _reason(error["type"], error["msg"]))
            for error in broken.errors(include_input=False, include_url=False, include_context=False)
        )
        raise InvalidFields(*errors, end_to_end_id=readable_id(content)) from None


def _reason(kind: str, message: str) -> str:
    known = {"extra_forbidden": "is not a known field", "missing": "is required"}
    return known.get(kind, message.removeprefix("Value error, "))


def readable_id(content: dict[str, Any]) -> str | None:
    """The EndToEndId of a possibly broken message, if it has one of the right shape."""
    value = content.get("end_to_end_id")
    return value if isinstance(value, str) and _END_TO_END.fullmatch(value) else None
