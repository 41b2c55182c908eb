"""What must hold in a mapping beyond the types of its options; each mistake says where, and what is allowed.

MappingProblem      the mapping is wrong, or does not fit the file
"""

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pix.contracts import INSTANT_FIELDS, PaymentMessage

if TYPE_CHECKING:
    from pix.offline.mapping import FieldSource, Mapping

Kind = Literal["id", "text", "choice", "flag", "count", "money", "duration", "instant"]
Verdict = Literal["fraud", "legitimate", "unknown", "dismissed"]
STEPS_MS = {"seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}
UNITS: Dict[str, tuple[str, ...]] = {
    "money": ("reais", "centavos"),
    "duration": ("milliseconds", "seconds"),
    "instant": ("iso", "epoch_seconds", "epoch_milliseconds", *STEPS_MS),
}
END_TO_END_ID = "end_to_end_id"
REQUIRED = tuple(name for name, field in PaymentMessage.model_fields.items() if field.is_required())


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where in the YAML, and why."""

    path: str
    reason: str


class MappingProblem(Exception):
    """The mapping is wrong, or does not fit the file.

    Attributes:
        mistakes: Everything that is wrong.
    """

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("; ".join(f"{each.path}: {each.reason}" for each in mistakes))
        self.mistakes = mistakes


def kinds() -> dict[str, Kind]:
    """What each field of a payment is, by the contract."""
    found: dict[str, Kind] = {}
    for name, schema in PaymentMessage.model_json_schema()["properties"].items():
        plain = next((each for each in schema.get("anyOf", []) if each.get("type") != "null"), schema)
        found[name] = _kind(name, plain)
    return found


def _kind(name: str, schema: dict[str, Any]) -> Kind:
    if name == END_TO_END_ID:
        return "id"
    if name in INSTANT_FIELDS:
        return "instant"
    if schema["type"] == "boolean":
        return "flag"
    if schema["type"] == "integer":
        return "money" if name.endswith("_cents") else "duration" if name.endswith("_ms") else "count"
    return "choice" if "enum" in schema else "text"


def _choices(name: str) -> tuple[str, ...]:
    schema = PaymentMessage.model_json_schema()["properties"][name]
    plain = next((each for each in schema.get("anyOf", []) if each.get("type") != "null"), schema)
    return tuple(plain.get("enum", ()))


def field_mistakes(sources: "Dict[str, FieldSource]") -> list[Mistake]:
    """What is wrong with where the fields come from."""
    known = kinds()
    mistakes = [
        Mistake(f"payments.fields.{name}", f"is no field of a payment; there are {', '.join(known)}")
        for name in sources
        if name not in known
    ]
    mistakes += [Mistake(f"payments.fields.{name}", "is required") for name in REQUIRED if name not in sources]
    for name, source in sources.items():
        if name in known:
            reasons = _source_mistakes(name, source, known[name])
            mistakes += [Mistake(f"payments.fields.{name}{place}", reason) for place, reason in reasons]
    return mistakes


def _source_mistakes(name: str, source: "FieldSource", kind: Kind) -> list[tuple[str, str]]:
    given = [source.column is not None, source.constant is not None, source.derived]
    found = []
    if sum(given) != 1:
        found.append(("", "needs one of column and constant" + (" and derived" if kind == "id" else "")))
    if source.derived and (kind != "id" or source.ispb is None):
        found.append((".derived", f"is for {END_TO_END_ID}, with an ispb, such as {{derived: true, ispb: '12345678'}}"))
    if source.hashed and not name.endswith("_account"):
        found.append((".hashed", "is for payer_account and payee_account"))
    if source.template is not None and (kind not in ("text", "id") or source.template.count("{}") != 1):
        found.append((".template", "is for texts, with one {} in it, such as '12345678-0001-{}'"))
    if source.hashed and (source.template is None or not source.template.endswith("-{}")):
        found.append((".template", "of a hashed account ends in -{} after the ISPB, such as '12345678-{}'"))
    allowed = _choices(name) if kind == "choice" else ("true", "false") if kind == "flag" else ()
    for value, target in (source.values or {}).items():
        if allowed and target not in allowed:
            found.append((f".values.{value}", f"{target!r} is not one of {', '.join(allowed)}"))
    return found + _unit_mistakes(source, kind)


def _unit_mistakes(source: "FieldSource", kind: Kind) -> list[tuple[str, str]]:
    allowed = UNITS.get(kind, ())
    if source.unit not in allowed and (source.unit is not None or kind in ("money", "instant")):
        if not allowed:
            return [(".unit", f"{source.unit!r} has no meaning here: the field is no money, time or duration")]
        return [(".unit", f"{source.unit!r} is not one of {', '.join(allowed)}" if source.unit else
                 f"is required, one of {', '.join(allowed)}")]  # fmt: skip
    found = []
    if (source.unit in STEPS_MS and kind == "instant") != (source.start is not None):
        found.append((".start", f"goes with the units {', '.join(STEPS_MS)} of a time, and they need it"))
    elif source.start is not None and start_ms(source) is None:
        found.append((".start", f"{source.start!r} is no RFC 3339 time or date with an offset or a zone"))
    if source.zone is not None and (kind != "instant" or source.zone not in available_timezones()):
        found.append((".zone", f"{source.zone!r} is no IANA time zone of a time, such as America/Sao_Paulo"))
    return found


def start_ms(source: "FieldSource") -> int | None:
    """Where a source's steps begin, epoch milliseconds; None if that cannot be read."""
    try:
        moment = datetime.fromisoformat(str(source.start))
        if moment.tzinfo is None and source.zone is not None:
            moment = moment.replace(tzinfo=ZoneInfo(source.zone))
    except (ValueError, KeyError):
        return None
    return None if moment.tzinfo is None else round(moment.timestamp() * 1000)


def label_mistakes(mapping: "Mapping") -> list[Mistake]:
    """What is wrong with the labels, or with how they meet the fields."""
    labels, fields = mapping.labels, mapping.payments.fields
    if labels is None:
        return []
    found = []
    wanted = {"key": labels.is_apart, "matches": labels.is_apart and labels.per == "payment"}
    wanted["accounts"] = labels.per == "account"
    for name, is_wanted in wanted.items():
        if is_wanted != (getattr(labels, name) is not None):
            need = "is required" if is_wanted else "has no meaning"
            apart = "with" if labels.is_apart else "without"
            found.append(Mistake(f"labels.{name}", f"{need} per {labels.per} {apart} a second table"))
    if labels.per == "account" and not labels.is_apart:
        found.append(Mistake("labels.file", "or labels.member is required: accounts are labelled in a table of theirs"))
    if labels.file is not None and labels.member is not None:
        found.append(Mistake("labels.file", "and labels.member exclude each other"))
    if not labels.values:
        found.append(Mistake("labels.values", f"must say what values mean: {', '.join(get_args(Verdict))}"))
    if labels.accounts is not None:
        whose = ("payer", "payee") if labels.accounts in ("either", "both") else (labels.accounts,)
        for each in whose:
            if f"{each}_account" in fields and fields[f"{each}_account"].column is None:
                found.append(Mistake(f"payments.fields.{each}_account.column", "is required, labels look for it"))
    for name, source in fields.items():
        if not labels.is_apart and source.column == labels.column:
            found.append(
                Mistake(
                    f"payments.fields.{name}.column", f"{labels.column!r} is the label, which must never be an input"
                )
            )
    return found
