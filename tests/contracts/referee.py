"""The payment contract a second time, by hand, from DESIGN.md and PIX.md: it shares no code with ``pix``.

Slow and plain on purpose. ``judge`` says which fields a door must name for some bytes, or that it must let
them in.
"""

import json
from calendar import monthrange
from collections.abc import Callable
from typing import Any

DIGITS = set("0123456789")
CAPITALS = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
LOWER = set("abcdefghijklmnopqrstuvwxyz")
ALPHANUMERIC = DIGITS | CAPITALS | LOWER
MOST_BYTES = 16 * 1024
MOST_CENTS = 1_000_000_000_000
WHOLE_MESSAGE = ""


class NotANumber:
    """NaN or an infinity, spelled out."""


def of(alphabet: set[str], least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and least <= len(value) <= most and set(value) <= alphabet


def one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and value in values


def whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def flag(value: Any) -> bool:
    return value is True or value is False


def weighted(text: str, weights: list[int]) -> int:
    total = 0
    for character, weight in zip(text, weights, strict=True):
        total += (ord(character) - ord("0")) * weight
    return 0 if total % 11 in (0, 1) else 11 - total % 11


def is_cpf(value: Any) -> bool:
    if not of(DIGITS, 11, 11)(value) or len(set(value)) == 1:
        return False
    first = weighted(value[:9], [10, 9, 8, 7, 6, 5, 4, 3, 2])
    second = weighted(value[:10], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2])
    return bool(value[9] == str(first) and value[10] == str(second))


def is_cnpj(value: Any) -> bool:
    if not of(DIGITS | CAPITALS, 14, 14)(value) or not set(value[12:]) <= DIGITS or len(set(value)) == 1:
        return False
    first = weighted(value[:12], [5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
    second = weighted(value[:13], [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
    return bool(value[12] == str(first) and value[13] == str(second))


def is_tax_id(value: Any) -> bool:
    return is_cpf(value) or is_cnpj(value)


def is_email(value: str) -> bool:
    local, at, host = value.partition("@")
    if not at or not local or not set(local) <= LOWER | DIGITS | set(".!#$&'*+/=?^_`{|}~-"):
        return False
    for part in host.split("."):
        if not 1 <= len(part) <= 63 or not set(part) <= LOWER | DIGITS | {"-"} or "-" in (part[0], part[-1]):
            return False
    return True


def is_evp(value: str) -> bool:
    parts = value.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and set("".join(parts)) <= DIGITS | set("abcdef")


def is_phone(value: str) -> bool:
    number = value[1:]
    return value[:1] == "+" and of(DIGITS, 3, 17)(number) and number[0] != "0"


KEYS: dict[str, Callable[[str], bool]] = {
    "CPF": is_cpf, "CNPJ": is_cnpj, "PHONE": is_phone, "EMAIL": is_email, "EVP": is_evp,
}  # fmt: skip


def is_key(value: Any) -> bool:
    return type(value) is str and len(value) <= 77 and any(rule(value) for rule in KEYS.values())


def is_clock(text: str) -> bool:
    hours, colon, minutes = text[:2], text[2:3], text[3:]
    return of(DIGITS, 2, 2)(hours) and colon == ":" and of(DIGITS, 2, 2)(minutes) and hours < "24" and minutes < "60"


def is_instant(value: Any) -> bool:
    if type(value) is not str or len(value) < 20:
        return False
    year, month, day, clock, seconds, rest = value[:4], value[5:7], value[8:10], value[11:16], value[17:19], value[19:]
    if value[4] + value[7] + value[16] != "--:" or value[10] not in "Tt" or not is_clock(clock):
        return False
    if not all(set(part) <= DIGITS for part in (year, month, day, seconds)) or seconds >= "60":
        return False
    if not int(year) >= 1 or not 1 <= int(month) <= 12 or not 1 <= int(day) <= monthrange(int(year), int(month))[1]:
        return False
    if rest[0] == ".":
        fraction = rest[1:].rstrip("Zz") if rest[-1] in "Zz" else rest[1:-6]
        if not of(DIGITS, 1, 9)(fraction):
            return False
        rest = rest[1 + len(fraction) :]
    return rest in ("Z", "z") or (len(rest) == 6 and rest[0] in "+-" and is_clock(rest[1:]))


def is_end_to_end_id(value: Any) -> bool:
    if type(value) is not str or len(value) != 32 or value[0] != "E":
        return False
    minute = value[9:21]
    if not set(value[1:9]) <= DIGITS | CAPITALS or not set(minute) <= DIGITS or not set(value[21:]) <= ALPHANUMERIC:
        return False
    return is_instant(f"{minute[:4]}-{minute[4:6]}-{minute[6:8]}T{minute[8:10]}:{minute[10:12]}:00Z")


def is_account(value: Any) -> bool:
    if type(value) is not str or value.count("-") != 2:
        return False
    ispb, branch, number = value.split("-")
    return of(DIGITS | CAPITALS, 8, 8)(ispb) and of(DIGITS, 4, 4)(branch) and of(DIGITS, 1, 13)(number)


def is_municipality(value: Any) -> bool:
    return of(DIGITS, 7, 7)(value) and value[0] in "12345"


def is_remittance(value: Any) -> bool:
    return type(value) is str and len(value) <= 140 and all(
        ord(character) >= 32 and ord(character) != 127 and not 0xD800 <= ord(character) <= 0xDFFF for character in value
    )  # fmt: skip


REQUIRED: dict[str, Callable[[Any], bool]] = {
    "end_to_end_id": is_end_to_end_id,
    "initiated_at": is_instant,
    "amount_cents": whole(1, MOST_CENTS),
    "payer_account": is_account,
    "payee_account": is_account,
}
OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "initiation": one_of("MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APES", "APDN"),
    "purpose": one_of("IPAY", "GSCB", "OTHR"),
    "priority": one_of("HIGH", "NORM"),
    "txid": of(ALPHANUMERIC, 1, 35),
    "pix_key": is_key,
    "pix_key_type": one_of(*KEYS),
    "payer_tax_id": is_tax_id,
    "payee_tax_id": is_tax_id,
    "payer_person_type": one_of("PF", "PJ"),
    "payee_person_type": one_of("PF", "PJ"),
    "payer_account_type": one_of("CACC", "SVGS", "TRAN", "SLRY", "OTHR"),
    "payee_account_type": one_of("CACC", "SVGS", "TRAN", "SLRY", "OTHR"),
    "payer_age_years": whole(0, 130),
    "payer_municipality": is_municipality,
    "device_municipality": is_municipality,
    "device_id": of(ALPHANUMERIC | set("._-"), 1, 64),
    "device_ip": of(DIGITS | set("abcdefABCDEF.:"), 2, 45),
    "authentication": one_of("PASSWORD", "BIOMETRY", "TOKEN"),
    "login_age_ms": whole(0, 365 * 24 * 3_600_000),
    "typing_interval_ms": whole(0, 60_000),
    "payer_balance_cents": whole(-MOST_CENTS, MOST_CENTS),
    "payer_limit_cents": whole(0, MOST_CENTS),
    "remittance_text": is_remittance,
    **dict.fromkeys(
        ("key_created_at", "key_owned_since", "payer_account_opened_at", "payee_account_opened_at",
         "fraud_markers_watermark", "device_registered_at", "credentials_changed_at", "limit_raised_at",
         "funds_raised_at"),
        is_instant,
    ),
    **dict.fromkeys(
        ("payee_settlements_d90", "payee_fraud_markers_d90", "payee_mule_markers_d90", "payee_fraud_reporters_d90",
         "payee_rejected_reports_d90", "payee_open_reports"),
        whole(0, 1_000_000_000),
    ),
    **dict.fromkeys(
        ("payee_is_preregistered", "device_remote_access", "device_rooted", "active_call"), flag,
    ),
}  # fmt: skip


def judge(raw: bytes) -> set[str] | None:
    """Fields that a door must name, or None for a payment that it must let in."""
    if len(raw) > MOST_BYTES:
        return {WHOLE_MESSAGE}
    try:
        pairs = json.loads(raw.decode("utf-8"), object_pairs_hook=Pairs, parse_constant=lambda _: NotANumber())
    except (ValueError, RecursionError):
        return {WHOLE_MESSAGE}
    doubtful = doubts(pairs)
    if doubtful is not None or not isinstance(pairs, Pairs):
        return {WHOLE_MESSAGE if doubtful is None else doubtful}
    content = dict(pairs)
    return broken_fields(content) or broken_rules(content) or None


class Pairs(list[tuple[str, Any]]):
    """A JSON object with all that was written in it."""


def doubts(node: Any) -> str | None:
    """Name of the first key that came twice or has no number, inner objects first; None if there is none."""
    if isinstance(node, NotANumber):
        return WHOLE_MESSAGE
    if not isinstance(node, list):
        return None
    inner = [value for _, value in node] if isinstance(node, Pairs) else node
    for value in inner:
        found = None if isinstance(value, NotANumber) else doubts(value)
        if found is not None:
            return found
    if isinstance(node, Pairs):
        names = [name for name, _ in node]
        return next((shown(name) for name in names if names.count(name) > 1), None) or next(
            (shown(name) for name, value in node if isinstance(value, NotANumber)), None
        )
    return next((WHOLE_MESSAGE for value in node if isinstance(value, NotANumber)), None)


def broken_fields(content: dict[str, Any]) -> set[str]:
    broken = {name for name, rule in REQUIRED.items() if name not in content or not rule(content[name])}
    for name, value in content.items():
        if name in OPTIONAL:
            broken |= set() if value is None or OPTIONAL[name](value) else {name}
        elif name == "tenant":
            broken |= set() if of(LOWER | DIGITS | {"-"}, 1, 32)(value) else {name}
        elif name not in REQUIRED:
            broken.add(shown(name))
    return broken


def broken_rules(content: dict[str, Any]) -> set[str]:
    broken = set()
    if content["payer_account"] == content["payee_account"]:
        broken.add("payee_account")
    key, kind = content.get("pix_key"), content.get("pix_key_type")
    if key is not None and (
        (kind is not None and not KEYS[kind](key)) or content.get("initiation") in ("MANU", "AUTO")
    ):
        broken.add("pix_key")
    return broken


def shown(name: str) -> str:
    """A name as an answer may repeat it: not if it could be a value."""
    run = longest = 0
    for character in name:
        run = run + 1 if character in DIGITS else 0
        longest = max(longest, run)
    is_plain = len(name) <= 64 and set(name) <= ALPHANUMERIC | set("_.")
    return name if is_plain and longest < 6 else "(unreadable)"
