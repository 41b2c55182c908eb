"""What changes from one policy to another, in words that a fraud manager uses. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from serving.policy import DEFAULT, Policy
from serving.policy_file import LIST_NAMES
from serving.policy_lists import Entry


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        what: The part that differs, such as ``rules.large_amount.when``.
        before: What it was; None if it is new.
        after: What it is; None if it is gone.
    """

    what: str
    before: object
    after: object

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.what}: {_text(self.after)}"
        if self.after is None:
            return f"- {self.what}: {_text(self.before)}"
        return f"~ {self.what}: {_text(self.before)} -> {_text(self.after)}"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def differences(old: Policy, new: Policy) -> list[Change]:
    """Everything that makes a decision or its deadline differ; comments, and the order of rules, do not."""
    before, after = old.described(), new.described()
    return [
        *_of_value("priority", before["priority"], after["priority"]),
        *_of_parts("segments", _segments(before), _segments(after)),
        *_of_order(old, new),
        *_of_parts("rules", _by_name(before["rules"]), _by_name(after["rules"])),
        *_of_lists(old, new),
        *_of_parts("holds", before["holds"], after["holds"]),
        *_of_value("control_group", before["control_group"], after["control_group"]),
    ]


def _of_value(what: str, before: object, after: object) -> list[Change]:
    return [] if before == after else [Change(what, before, after)]


def _of_parts(kind: str, before: Any, after: Any) -> Iterable[Change]:
    for name in [*before, *(name for name in after if name not in before)]:
        here = f"{kind}.{name}"
        if name not in before or name not in after:
            yield Change(here, before.get(name), after.get(name))
        else:
            for part in before[name]:
                yield from _of_value(f"{here}.{part}", before[name][part], after[name][part])


def _by_name(parts: Any) -> dict[str, dict[str, Any]]:
    return {part["name"]: {name: value for name, value in part.items() if name != "name"} for part in parts}


def _segments(described: Any) -> dict[str, dict[str, Any]]:
    """Every segment's condition and thresholds, that of all other payments last."""
    found = {
        name: {"when": part["when"], **part["thresholds"]} for name, part in _by_name(described["segments"]).items()
    }
    return {**found, DEFAULT: described["thresholds"]}


def _of_order(old: Policy, new: Policy) -> Iterable[Change]:
    """Segments that both have, asked in another order."""
    names = [[segment.name for segment in policy.segments] for policy in (old, new)]
    before, after = ([name for name in each if name in names[0] and name in names[1]] for each in names)
    yield from _of_value("order of segments", before, after)


def _of_lists(old: Policy, new: Policy) -> Iterable[Change]:
    for name in LIST_NAMES:
        before, after = old.lists[name].entries, new.lists[name].entries
        kept, here = set(before) & set(after), f"lists.{name}"
        yield from (Change(here, entry_told(entry), None) for entry in before if entry not in kept)
        yield from (Change(here, None, entry_told(entry)) for entry in after if entry not in kept)


def entry_told(entry: Entry) -> dict[str, object]:
    """An entry as a person reads it."""
    told = asdict(entry)
    until = None if entry.until_ms is None else moment(told["until_ms"])
    about: dict[str, object] = {
        "kind": entry.kind,
        "side": entry.side,
        "token": entry.token,
        "from": moment(told["from_ms"]),
    }
    return {**about, "until": until or "no end", "author": entry.author, "reason": entry.reason}


def moment(at_ms: int) -> str:
    """RFC 3339, in UTC, to the second where it is a whole one."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds")
