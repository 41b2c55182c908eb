"""Payments bent in every way we could think of, from a seed; some bends leave them valid."""

import json
import random
from collections.abc import Callable
from typing import Any

Content = dict[str, Any]

CPFS = ("12345678909", "52998224725", "11144477735")
CNPJS = ("12ABC34501DE35", "00000000000191", "11222333000181")
KEYS = {
    "CPF": CPFS[0],
    "CNPJ": CNPJS[0],
    "PHONE": "+5511987654321",
    "EMAIL": "maria.silva@example.com",
    "EVP": "123e4567-e89b-42d3-a456-426614174000",
}
TAX_IDS = ("payer_tax_id", "payee_tax_id", "pix_key")
INSTANTS = (
    "initiated_at", "key_created_at", "key_owned_since", "payer_account_opened_at", "payee_account_opened_at",
    "fraud_markers_watermark", "device_registered_at", "credentials_changed_at", "limit_raised_at", "funds_raised_at",
)  # fmt: skip
WHOLE = {
    "amount_cents": (1, 10**12), "payer_age_years": (0, 130), "payee_settlements_d90": (0, 10**9),
    "payee_open_reports": (0, 10**9), "login_age_ms": (0, 31_536_000_000), "typing_interval_ms": (0, 60_000),
    "payer_balance_cents": (-(10**12), 10**12), "payer_limit_cents": (0, 10**12),
}  # fmt: skip
BAD_INSTANTS = (
    "2026-11-22T08:30:15", "2026-11-22 08:30:15Z", "2026-13-21T09:30:15Z", "2026-02-30T09:30:15Z",
    "2025-02-29T00:00:00Z",
    "2026-11-21T24:00:00Z", "2026-11-21T09:60:15Z", "2026-11-22T08:30:60Z", "2026-11-22T08:30:15+24:00",
    "2026-11-22T08:30:15-03:60", "2026-11-22T08:30:15.Z", "2026-11-22T08:30:15.1234567890Z", "2026-11-22T08:30Z",
    "20261121T093015Z", "2026-W47-6T09:30:15Z", "2026-11-22T08:30:15,120Z", "0000-11-21T09:30:15Z", "1795264215120",
    "2026-11-22T08:30:15Z\n", " 2026-11-22T08:30:15Z", "2026-11-22T08:30:15−03:00", "2026-11-22T08:30:15UTC", "now",
)  # fmt: skip
GOOD_INSTANTS = (
    "2024-02-29T23:59:59.999999999Z", "2026-11-21t09:30:15z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "2026-11-22T08:30:15.1-00:00",
)  # fmt: skip
STRANGE = ("\u200b", "\u200d", "\ufeff", "\u202e", "\x00", "\n", "\t", " ", "\x7f", "\ud800", "\U0001f600", "é", "٣")
ODD_VALUES = (
    None, True, False, 0, 1, -1, 10**30, 1.0, 0.5, 1e300, "", "x", "1", "true", "null", [], {}, [1], {"a": 1},
    "A" * 200,
)  # fmt: skip


def valid_payment(draw: random.Random) -> Content:
    """A payment that every door lets in, with a random choice of its facts."""
    kind = draw.choice(list(KEYS))
    optional: Content = {
        "tenant": draw.choice(["default", "bank-2"]),
        "initiation": draw.choice(["DICT", "QRDN", "QRES", "INIC", "APES", "APDN"]),
        "purpose": draw.choice(["IPAY", "GSCB", "OTHR"]),
        "priority": draw.choice(["HIGH", "NORM"]),
        "txid": "Charge7",
        "pix_key": KEYS[kind],
        "pix_key_type": kind,
        "payer_tax_id": draw.choice(CPFS),
        "payee_tax_id": draw.choice(CNPJS),
        "payer_person_type": "PF",
        "payee_account_type": "TRAN",
        "payer_municipality": "3550308",
        "device_id": "phone-7.a_b",
        "device_ip": draw.choice(["100.64.1.2", "2001:db8::1"]),
        "device_rooted": draw.random() < 0.5,
        "active_call": False,
        "authentication": "BIOMETRY",
        "remittance_text": draw.choice(["almoço", 'a "quoted" word', "a\\b", "{[,:]}", ""]),
    }
    optional |= {name: draw.randint(*bounds) for name, bounds in WHOLE.items() if name != "amount_cents"}
    optional |= dict.fromkeys(INSTANTS[1:], "2025-03-04T05:06:07.089-03:00")
    content: Content = {
        "end_to_end_id": f"E12345678202611211230{draw.randrange(10**11):011d}",
        "initiated_at": "2026-11-21T09:31:15.120-03:00",
        "amount_cents": draw.randint(1, 10**6),
        "payer_account": "12345678-0001-1234567",
        "payee_account": "1AB45678-0001-7654321",
    } | {name: value for name, value in optional.items() if draw.random() < 0.8}
    names = list(content)
    draw.shuffle(names)
    return {name: content[name] for name in names}


def _any(draw: random.Random, content: Content) -> str:
    return draw.choice(list(content))


def _any_text(draw: random.Random, content: Content) -> str:
    return draw.choice([name for name, value in content.items() if isinstance(value, str) and value])


def other_type(draw: random.Random, content: Content) -> None:
    content[_any(draw, content)] = draw.choice(ODD_VALUES)


def number_as_other(draw: random.Random, content: Content) -> None:
    name = draw.choice(list(WHOLE))
    value = found if type(found := content.get(name)) is int else 5
    content[name] = draw.choice([str(value), float(value), bool(value % 2), [value], f"{value}.00"])


def bounds(draw: random.Random, content: Content) -> None:
    name = draw.choice(list(WHOLE))
    least, most = WHOLE[name]
    content[name] = draw.choice([least - 1, least, most, most + 1, 0, -least, 10**20, -(10**20)])


def other_script(draw: random.Random, content: Content) -> None:
    name = _any_text(draw, content)
    zero = draw.choice([0x0660, 0x06F0, 0x0966, 0xFF10, 0x1D7CE])
    whole = draw.random() < 0.5
    content[name] = "".join(
        chr(zero + int(c)) if c in "0123456789" and (whole or draw.random() < 0.2) else c for c in content[name]
    )


def strange_character(draw: random.Random, content: Content) -> None:
    name = _any_text(draw, content)
    place = draw.randint(0, len(content[name]))
    content[name] = content[name][:place] + draw.choice(STRANGE) + content[name][place:]


def one_character(draw: random.Random, content: Content) -> None:
    name = _any_text(draw, content)
    place = draw.randrange(len(content[name]))
    new = draw.choice(["", "0", "9", "A", "z", "-", ".", "@"])
    content[name] = content[name][:place] + new + content[name][place + 1 :]


def other_case(draw: random.Random, content: Content) -> None:
    name = _any_text(draw, content)
    content[name] = draw.choice([str.lower, str.upper, str.title])(content[name])


def check_digits(draw: random.Random, content: Content) -> None:
    name = draw.choice(TAX_IDS)
    tax_id = draw.choice(CPFS + CNPJS)
    place = draw.randrange(len(tax_id))
    new = draw.choice("0123456789")
    content[name] = draw.choice(
        [tax_id[:place] + new + tax_id[place + 1 :], tax_id[0] * len(tax_id), tax_id[:-1],
         tax_id + "0", tax_id, tax_id.lower()]
    )  # fmt: skip
    if name == "pix_key":
        content["pix_key_type"] = draw.choice(["CPF", "CNPJ", None])


def punctuation(draw: random.Random, content: Content) -> None:
    content[draw.choice(TAX_IDS)] = draw.choice(
        ["123.456.789-09", "12.ABC.345/01DE-35", "12345678909 ", "+55 11 98765-4321"]
    )


def key_of_other_type(draw: random.Random, content: Content) -> None:
    content["pix_key"] = KEYS[draw.choice(list(KEYS))]
    content["pix_key_type"] = draw.choice([*KEYS, None, "RANDOM"])
    content["initiation"] = draw.choice(["DICT", "MANU", "AUTO", None])


def instant(draw: random.Random, content: Content) -> None:
    content[draw.choice(INSTANTS)] = draw.choice(BAD_INSTANTS + GOOD_INSTANTS)


def minute_of_id(draw: random.Random, content: Content) -> None:
    minute = draw.choice(
        ["202613211230", "202602301230", "202611212430", "202611211260", "000011211230", "202402291230"]
    )
    content["end_to_end_id"] = f"E12345678{minute}abcdefghijk"


def without_field(draw: random.Random, content: Content) -> None:
    del content[_any(draw, content)]


def unknown_field(draw: random.Random, content: Content) -> None:
    name = draw.choice(
        [
            "extra",
            "Amount_cents",
            "amount_cents ",
            "52998224725",
            "maria@example.com",
            "__class__",
            "a" * 65,
            "",
            "é",
            "x.y",
        ]
    )
    content[name] = draw.choice(ODD_VALUES)


def same_accounts(_: random.Random, content: Content) -> None:
    content["payee_account"] = content["payer_account"]


def null(draw: random.Random, content: Content) -> None:
    content[_any(draw, content)] = None


CONTENT: list[Callable[[random.Random, Content], None]] = [
    other_type, number_as_other, bounds, other_script, strange_character, one_character, other_case, check_digits,
    punctuation, key_of_other_type, instant, minute_of_id, without_field, unknown_field, same_accounts, null,
]  # fmt: skip


def written(draw: random.Random, content: Content) -> bytes:
    """As JSON, in one of the ways that JSON may be written."""
    separators = draw.choice([(",", ":"), (", ", ": "), (" ,\t", " :\n")])
    is_ascii, indent = draw.random() < 0.3, draw.choice([None, None, 1])
    try:
        return json.dumps(content, ensure_ascii=is_ascii, separators=separators, indent=indent).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair can only be written as an escape.
        return json.dumps(content, separators=separators, indent=indent).encode()


def duplicate_key(draw: random.Random, raw: bytes, content: Content) -> bytes:
    name = _any(draw, content)
    key = (
        json.dumps(name)
        if draw.random() < 0.5
        else '"' + "".join(f"\\u{ord(c):04x}" for c in name if ord(c) < 65536) + '"'
    )
    space = draw.choice(["", " ", "\n"])
    pair = f"{key}{space}:{json.dumps(draw.choice([content[name], None, 1, 'x', ['x', 'y']]))}"
    text = raw.decode()
    return draw.choice([f"{{{pair},{text[1:]}", f"{text[:-1]},{pair}}}"]).encode()


def odd_number(draw: random.Random, _: bytes, content: Content) -> bytes:
    name = _any(draw, content)
    literal = draw.choice(
        ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "1.", ".5", "+1", "0x10", "1_000",
         "9" * 5000, "-0", "1E2", "[NaN]"]
    )  # fmt: skip
    rest = {other: value for other, value in content.items() if other != name}
    return (json.dumps(rest)[:-1] + ("," if rest else "") + f'"{name}":{literal}}}').encode()


def nested(draw: random.Random, raw: bytes, _: Content) -> bytes:
    depth = draw.choice([1, 2, 50, 500, 3_000, 8_000])
    start, end = draw.choice([("[", "]"), ('{"a":', "}")])
    value = start * depth + "1" + end * depth
    return raw[:-1] + f',"device_id{draw.choice(["", "x"])}":{value}}}'.encode()


def truncated(draw: random.Random, raw: bytes, _: Content) -> bytes:
    return raw[: draw.randrange(len(raw))]


def flipped(draw: random.Random, raw: bytes, _: Content) -> bytes:
    place = draw.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ (1 << draw.randrange(8))]) + raw[place + 1 :]


def inserted(draw: random.Random, raw: bytes, _: Content) -> bytes:
    place = draw.randrange(len(raw) + 1)
    new = draw.choice(
        [b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\\", b'"', b",", b"{", b"]", b" ", b"\\u0000", b"\x1f"]
    )
    return raw[:place] + new + raw[place:]


def encoded(draw: random.Random, raw: bytes, _: Content) -> bytes:
    return raw.decode().encode(draw.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"]))


def wrapped(draw: random.Random, raw: bytes, _: Content) -> bytes:
    before, after = draw.choice(
        [(b"[", b"]"), (b"", b"{}"), (b" \n", b"\t"), (b"// x\n", b""), (b"", b" " * 16_384), (b'"', b'"')]
    )
    return before + raw + after


def loosened(draw: random.Random, raw: bytes, _: Content) -> bytes:
    old, new = draw.choice(
        [(b'"', b"'"), (b"}", b",}"), (b",", b",,"), (b":", b"="), (b"false", b"False"), (b"null", b"None")]
    )
    return raw.replace(old, new, 1)


BYTES: list[Callable[[random.Random, bytes, Content], bytes]] = [
    duplicate_key, duplicate_key, odd_number, nested, truncated, flipped, flipped, inserted, encoded, wrapped, loosened,
]  # fmt: skip


def mutant(seed: int) -> bytes:
    """The seed's message: none to two bends of its content, and sometimes one of its bytes."""
    draw = random.Random(seed)
    content = valid_payment(draw)
    for _ in range(draw.choice([0, 1, 1, 1, 1, 2])):
        draw.choice(CONTENT)(draw, content)
    raw = written(draw, content)
    return draw.choice(BYTES)(draw, raw, content) if draw.random() < 0.3 and content else raw
