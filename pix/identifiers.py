r"""Brazilian and Pix identifiers: tax ids, ISPB, EndToEndId, Pix keys, account references.

Pure functions over text. ASCII only, because ``str.isdigit`` and ``\d`` accept digits of other scripts, and
nothing is stripped or folded: a text either is the identifier or is not. What reads an identifier never
repeats it in an error. How identifiers are shown to people is ``pix.masking``.
"""

import re
from datetime import UTC, datetime, timedelta
from operator import mul
from typing import Literal, NamedTuple

PixKeyType = Literal["CPF", "CNPJ", "PHONE", "EMAIL", "EVP"]

# Without anchors: ``fullmatch`` needs none, and JSON Schema gets them from ``anchored``.
ISPB_SHAPE = "[0-9A-Z]{8}"
CPF_SHAPE = "[0-9]{11}"
# Letters since July 2026; the two check digits stay digits.
CNPJ_SHAPE = "[0-9A-Z]{12}[0-9]{2}"
ACCOUNT_SHAPE = f"{ISPB_SHAPE}-[0-9]{{4}}-[0-9]{{1,13}}"
END_TO_END_SHAPE = f"E{ISPB_SHAPE}[0-9]{{12}}[A-Za-z0-9]{{11}}"
MAX_KEY_CHARACTERS = 77
_HOST = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# As the directory (DICT) has them; no text has the shape of two.
PIX_KEY_SHAPES: dict[PixKeyType, str] = {
    "CPF": CPF_SHAPE,
    "CNPJ": CNPJ_SHAPE,
    "PHONE": r"\+[1-9][0-9]{2,15}",
    "EMAIL": rf"[a-z0-9.!#$&'*+/=?^_`{{|}}~-]+@{_HOST}(?:\.{_HOST})*",
    "EVP": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}

_ISPB = re.compile(ISPB_SHAPE)
_CPF = re.compile(CPF_SHAPE)
_CNPJ = re.compile(CNPJ_SHAPE)
_ACCOUNT = re.compile(ACCOUNT_SHAPE)
_END_TO_END = re.compile(END_TO_END_SHAPE)
_SUFFIX = re.compile("[A-Za-z0-9]{11}")
_PIX_KEYS = {kind: re.compile(shape) for kind, shape in PIX_KEY_SHAPES.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
# What a character counts for in a check digit: its ASCII code less 48, for letters, too.
_VALUES = bytes(max(0, code - 48) for code in range(256))
_CPF_WEIGHTS = ((10, 9, 8, 7, 6, 5, 4, 3, 2), (11, 10, 9, 8, 7, 6, 5, 4, 3))
_CNPJ_WEIGHTS = ((5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3))


class EndToEnd(NamedTuple):
    """The parts of an EndToEndId.

    Attributes:
        ispb: Participant that made the id, or the CNPJ root of who initiated.
        minute_ms: Start of its UTC minute, epoch milliseconds.
        suffix: Eleven characters, unique in that minute.
    """

    ispb: str
    minute_ms: int
    suffix: str


class AccountReference(NamedTuple):
    """An account as messages name it: ``ISPB-branch-number``."""

    ispb: str
    branch: str
    number: str


def anchored(shape: str) -> str:
    """A shape as a JSON Schema pattern, which would otherwise match anywhere in the text."""
    return f"^(?:{shape})$" if "|" in shape else f"^{shape}$"


def valid_cpf(text: str) -> bool:
    """Whether ``text`` is eleven digits, not all the same, that end in the right check digits."""
    return bool(_CPF.fullmatch(text)) and text != text[0] * 11 and _has_check_digits(text, *_CPF_WEIGHTS)


def valid_cnpj(text: str) -> bool:
    """Whether ``text`` is a numeric or alphanumeric CNPJ of 14 characters with the right check digits."""
    return bool(_CNPJ.fullmatch(text)) and text != text[0] * 14 and _has_check_digits(text, *_CNPJ_WEIGHTS)


def valid_tax_id(text: str) -> bool:
    """Whether ``text`` is a CPF or a CNPJ; their lengths tell them apart."""
    return valid_cpf(text) if len(text) == 11 else valid_cnpj(text)


def valid_ispb(text: str) -> bool:
    """Whether ``text`` has the shape of an ISPB; capital letters come with alphanumeric CNPJ roots."""
    return _ISPB.fullmatch(text) is not None


def cpf(base: str) -> str:
    """The CPF that begins with the nine digits of ``base``.

    Raises:
        ValueError: ``base`` is not nine ASCII digits, or the CPF would repeat one digit.
    """
    if not re.fullmatch(r"[0-9]{9}", base):
        raise ValueError(f"a CPF is made from nine digits 0-9, got {base!r}")
    return _with_check_digits(base, *_CPF_WEIGHTS)


def cnpj(base: str) -> str:
    """The CNPJ that begins with the twelve characters of ``base`` (digits or capital letters).

    Raises:
        ValueError: ``base`` is not twelve characters 0-9 or A-Z, or the CNPJ would repeat one digit.
    """
    if not re.fullmatch(r"[0-9A-Z]{12}", base):
        raise ValueError(f"a CNPJ is made from twelve characters 0-9 or A-Z, got {base!r}")
    return _with_check_digits(base, *_CNPJ_WEIGHTS)


def has_key_shape(text: str, kind: PixKeyType) -> bool:
    """Whether ``text`` is written as Pix keys of this type are; check digits are not looked at."""
    return len(text) <= MAX_KEY_CHARACTERS and _PIX_KEYS[kind].fullmatch(text) is not None


def pix_key_type(text: str) -> PixKeyType | None:
    """Type of a Pix key by its shape and check digits; None if it is no key of any type."""
    if len(text) > MAX_KEY_CHARACTERS:
        return None
    for kind, shape in _PIX_KEYS.items():
        if shape.fullmatch(text):
            return kind if kind not in ("CPF", "CNPJ") or valid_tax_id(text) else None
    return None


def parse_account(text: str) -> AccountReference:
    """The parts of an account reference.

    Raises:
        ValueError: ``text`` is not ISPB, branch of four digits and number of at most thirteen, with hyphens.
    """
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("an account is written ISPB-branch-number, such as 12345678-0001-1234567")
    return AccountReference(*text.split("-"))


def make_end_to_end_id(ispb: str, at_ms: int, suffix: str) -> str:
    """EndToEndId of a payment generated by ``ispb`` in the UTC minute of ``at_ms`` (epoch ms).

    Raises:
        ValueError: ``ispb`` is not 8 characters 0-9 or A-Z, or ``suffix`` not 11 ASCII alphanumerics.
    """
    if not valid_ispb(ispb):
        raise ValueError(f"an ISPB is eight characters 0-9 or A-Z, got {ispb!r}")
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"an EndToEndId ends in eleven ASCII alphanumerics, got {suffix!r}")
    minute = _EPOCH + timedelta(minutes=at_ms // 60_000)
    return f"E{ispb}{minute.year:04}{minute:%m%d%H%M}{suffix}"


def parse_end_to_end_id(text: str) -> EndToEnd:
    """The parts of an EndToEndId.

    Raises:
        ValueError: the text has not the shape of an EndToEndId, or names a minute that does not exist.
    """
    return EndToEnd(text[1:9], end_to_end_minute_ms(text), text[21:])


def end_to_end_minute_ms(end_to_end_id: str) -> int:
    """Start of the UTC minute inside an EndToEndId, in epoch ms.

    Raises:
        ValueError: the text has not the shape of an EndToEndId, or names a minute that does not exist.
    """
    if not _END_TO_END.fullmatch(end_to_end_id):
        raise ValueError("an EndToEndId is E, eight characters, a UTC minute yyyyMMddHHmm and eleven alphanumerics")
    try:
        minute = datetime.fromisoformat(f"{end_to_end_id[9:17]}T{end_to_end_id[17:21]}")
    except ValueError:
        raise ValueError("the EndToEndId holds no such UTC minute") from None
    # Some versions of Python take 24:00 for the next midnight.
    if end_to_end_id[17:19] > "23":
        raise ValueError("the EndToEndId holds no such UTC minute")
    return (((minute.toordinal() - _EPOCH_DAY) * 24 + minute.hour) * 60 + minute.minute) * 60_000


def _has_check_digits(text: str, first_weights: tuple[int, ...], second_weights: tuple[int, ...]) -> bool:
    values = text.encode().translate(_VALUES)
    return _check_digits(values, first_weights, second_weights) == (values[-2], values[-1])


def _with_check_digits(base: str, first_weights: tuple[int, ...], second_weights: tuple[int, ...]) -> str:
    first, second = _check_digits(base.encode().translate(_VALUES), first_weights, second_weights)
    tax_id = f"{base}{first}{second}"
    if tax_id == tax_id[0] * len(tax_id):
        raise ValueError(f"a tax id that repeats one digit is refused everywhere, got {tax_id!r}")
    return tax_id


def _check_digits(values: bytes, first_weights: tuple[int, ...], second_weights: tuple[int, ...]) -> tuple[int, int]:
    """Two check digits, modulo 11; ``map`` ends with the weights, and the second counts the first twice."""
    first = sum(map(mul, first_weights, values)) % 11
    first = 0 if first < 2 else 11 - first
    second = (sum(map(mul, second_weights, values)) + 2 * first) % 11
    return first, 0 if second < 2 else 11 - second
