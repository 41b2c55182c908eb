"""Writing entries of a policy's lists: one line of text is put into the file, every other byte stays as it was.

Clear values come in, tokens go into the file; which is why entries are written by a command and not by hand.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pix.contracts import PaymentMessage
from pix.contracts.tokenised import TOKEN_KINDS
from pix.tokens import Keyring
from serving.policy import Policy, parse_policy
from serving.policy_diff import moment
from serving.policy_lists import FIELDS, Entry, EntryKind, ListName

INDENT = "  "


class Unwritable(Exception):
    """An entry cannot be made or written; says why, and never repeats the clear value."""


def token_of(kind: EntryKind, clear: str, tenant: str, keyring: Keyring) -> str:
    """The token that stands for a clear value in this tenant's payments.

    Args:
        kind: What the value is.
        clear: The value, as a payment carries it.
        tenant: Whose payments.
        keyring: Keys of the home.

    Raises:
        Unwritable: It is no such value.
    """
    field = next(iter(FIELDS[kind].values()))
    for name, value in (("tenant", tenant), (field, clear)):
        known = PaymentMessage.model_fields[name]
        shape: Any = Annotated[known.annotation, *known.metadata] if known.metadata else known.annotation
        try:
            TypeAdapter(shape).validate_python(value)
        except ValidationError as broken:
            reason = broken.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
            raise Unwritable(f"{name} as payments carry it: {reason}") from None
    return keyring.token(tenant, TOKEN_KINDS[field], clear)


def line_of(entry: Entry) -> str:
    """An entry as one line of YAML."""
    parts = {"kind": entry.kind} if len(FIELDS[entry.kind]) == 1 else {"kind": entry.kind, "side": entry.side}
    quoted = {
        "token": entry.token,
        "from": moment(entry.from_ms),
        "until": None if entry.until_ms is None else moment(entry.until_ms),
    }
    quoted |= {"author": entry.author, "reason": entry.reason}
    told = [f"{name}: {value}" for name, value in parts.items()]
    # JSON's texts are YAML's, whatever stands in them.
    told += [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in quoted.items()]
    return f"- {{{', '.join(told)}}}"


def with_entry(text: str, name: ListName, entry: Entry, file: str) -> str:
    """The policy file with one more entry, first on its list.

    Args:
        text: The file as it is.
        name: The list.
        entry: The new entry.
        file: How the file is called in an error.

    Raises:
        serving.policy.InvalidPolicy: The file cannot be used as it is, or the entry is none.
        Unwritable: The entry is there, or the file is written so that no line can be put in.
    """
    before = parse_policy(text, file)
    if any(
        replace(known, author="", reason="") == replace(entry, author="", reason="")
        for known in before.lists[name].entries
    ):
        raise Unwritable(f"this entry is on the {name} list already")
    at, old, new = _place(text, name, line_of(entry))
    changed = text[:at] + new + text[at + len(old) :]
    after = parse_policy(changed, file)
    if not _is_only_more(before, after, name, entry):
        raise Unwritable(
            f"{file} is written in a way that an entry cannot be put into; write `lists:` as docs/policy.md shows"
        )
    return changed


def _place(text: str, name: ListName, line: str) -> tuple[int, str, str]:
    """Where to put a line: position, what stands there, and what shall stand there."""
    root = yaml.compose(text)
    lists = _value(root, "lists")
    entries = _value(lists, name)
    if isinstance(entries, yaml.SequenceNode) and not entries.flow_style:
        start = entries.start_mark
        return start.index, "", f"{line}\n{' ' * start.column}"
    if lists is None:
        end = "" if text.endswith("\n") else "\n"
        return len(text), "", f"{end}lists:\n{INDENT}{name}:\n{INDENT * 2}{line}\n"
    if isinstance(lists, yaml.ScalarNode) and not lists.value:
        return lists.start_mark.index, "", f"\n{INDENT}{name}:\n{INDENT * 2}{line}"
    if entries is None and isinstance(lists, yaml.MappingNode) and not lists.flow_style:
        start = lists.start_mark
        return start.index, "", f"{name}:\n{' ' * start.column}{INDENT}{line}\n{' ' * start.column}"
    if entries is not None and not entries.value:
        first, last = entries.start_mark.index, entries.end_mark.index
        column = next(key.start_mark.column for key, value in lists.value if value is entries)
        # Behind `block:` there may be a space, `[]`, or nothing at all.
        return (
            len(text[:first].rstrip(" ")),
            text[len(text[:first].rstrip(" ")) : last],
            f"\n{' ' * column}{INDENT}{line}",
        )
    raise Unwritable("lists are written on one line; write them as docs/policy.md shows")


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)


def _is_only_more(before: Policy, after: Policy, name: ListName, entry: Entry) -> bool:
    """Whether nothing but the entry came in."""
    told = {**after.described(), "lists": None, "text": None, "version": None}
    if told != {**before.described(), "lists": None, "text": None, "version": None}:
        return False
    added = {each: (entry,) if each == name else () for each in after.lists}
    return all(after.lists[each].entries == (*added[each], *before.lists[each].entries) for each in after.lists)


def write(path: Path, text: str) -> None:
    """Put the file there in one step: the service never sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(path.stat().st_mode)
    fresh.replace(path)
