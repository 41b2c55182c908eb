"""`sentinela policy`: what the commands say of a policy, its changes and its effects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pix.contracts.fields import parse_instant
from pix.settings import Settings
from pix.tokens import MissingKeys, load_keyring
from sentinela.configuration import REPOSITORY
from sentinela.errors import BadUse, SentinelaError
from serving import policy_entries
from serving.policy import InvalidPolicy, Policy, load_policy, parse_policy
from serving.policy_archive import NotKept, find
from serving.policy_file import LIST_NAMES
from serving.policy_lists import FIELDS, Entry, EntryKind, Side

AGO = re.compile(r"^(\d{1,6})([mhd])$")
UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
VERSION = re.compile(r"^[0-9a-f]{16}$")


def file_in_use(settings: Settings) -> Path:
    """The policy file of the service, which runs in the repository."""
    return REPOSITORY / settings.policy_file


def named(what: str, settings: Settings) -> Policy:
    """A policy by its file, or by a version that was used once.

    Raises:
        BadUse: There is no such file or version, or it cannot be used.
    """
    path = Path(what)
    try:
        if path.exists() or not VERSION.match(what):
            return load_policy(path)
        text = find(settings.lake, what)
    except InvalidPolicy as invalid:
        raise BadUse(str(invalid)) from invalid
    except NotKept as away:
        raise SentinelaError(str(away)) from away
    if text is None:
        raise BadUse(f"{what} is no file, and the lake at {settings.lake} has no policy of this version")
    return parse_policy(text, what)


def token_key_version(settings: Settings) -> int | None:
    """Key version of the tokens in this home's payments; None in a home without keys."""
    try:
        return load_keyring(settings.secrets).current
    except MissingKeys:
        return None


def moment_of(text: str, option: str, now_ms: int) -> int:
    """Epoch milliseconds of ``7d``, ``12h`` or ``30m`` ago, or of an RFC 3339 time.

    Raises:
        BadUse: It is neither.
    """
    ago = AGO.match(text)
    if ago:
        return now_ms - int(ago[1]) * UNIT_MS[ago[2]]
    try:
        return parse_instant(text)
    except ValueError as broken:
        raise BadUse(f"{option} {text}: {broken}; write 7d, 12h or 30m, or a time with its offset") from broken


def reais(cents: int) -> str:
    """An amount as a person reads it."""
    return f"R$ {cents / 100:,.2f}"


def of_dry_run(told: Mapping[str, Any]) -> list[str]:
    """The lines of a dry run."""
    every, changed = told["decisions"], told["changed"]
    lines = [
        f"{every['payments']:,} decisions ({reais(every['amount_cents'])}) judged again, {changed['payments']:,} would "
        f"differ ({reais(changed['amount_cents'])})"
    ]
    left = {"of test accounts": told["of_test_accounts"], "over other features": told["of_other_features"]}
    lines += [f"left out: {count:,} {why}" for why, count in left.items() if count]
    for each in told["changes"]:
        examples = ", ".join(each["examples"])
        arrow = f"{each['from']} -> {each['to']}"
        lines.append(f"  {arrow:36} {each['payments']:>9,}  {reais(each['amount_cents']):>20}  such as {examples}")
    lines.append("known frauds and honest payments, stopped (any action but ALLOW) then and now:")
    for name in ("known_frauds", "known_honest"):
        known = told[name]
        then, now = known["stopped_when_decided"], known["stopped"]
        lines.append(
            f"  {name.removeprefix('known_'):7} {then['payments']:,} -> {now['payments']:,} of {known['payments']:,}, "
            f"{reais(then['amount_cents'])} -> {reais(now['amount_cents'])} of {reais(known['amount_cents'])}"
        )
    lines += _of_hits(told)
    lines += [f"no value for {name} in {count:,} payments" for name, count in told["without_value"].items()]
    return lines


def _of_hits(told: Mapping[str, Any]) -> list[str]:
    if not told["hits"]:
        return ["no rule or list hits"]
    lines = [f"  {'rule or list':40} {'then':>9} {'now':>9} {'frauds':>9} {'honest':>9}  value"]
    for name, hits in told["hits"].items():
        known = f"{hits['known_frauds']['payments']:>9,} {hits['known_honest']['payments']:>9,}"
        counts = f"{hits['hits_when_decided']:>9,} {hits['payments']:>9,} {known}"
        lines.append(f"  {name:40} {counts}  {reais(hits['amount_cents'])}")
    return lines


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry as it is asked for, in words.

    Attributes:
        name: The list.
        kind: What the value is.
        side: On which side of a payment it counts; empty where the kind has but one.
        clear: The clear value; it is written nowhere.
        tenant: Whose payments.
        since: From when on; empty is now.
        until: Before when; ``never`` has no end.
        author: Who puts it there.
        reason: Why.
    """

    name: str
    kind: str
    side: str
    clear: str
    tenant: str
    since: str
    until: str
    author: str
    reason: str


def add(asked: NewEntry, path: Path, settings: Settings, now_ms: int) -> str:
    """Put an entry into a policy file.

    Returns:
        The file's version then.

    Raises:
        BadUse: The file or some part of the entry is wrong; nothing was written.
    """
    if asked.name not in LIST_NAMES or asked.kind not in FIELDS:
        raise BadUse(f"the lists are {', '.join(LIST_NAMES)}, and the kinds of entries {', '.join(FIELDS)}")
    kind = cast(EntryKind, asked.kind)
    sides = FIELDS[kind]
    if asked.side not in ({"payer", "payee", "both"} if len(sides) > 1 else {"", *sides}):
        raise BadUse("--side: give payer, payee or both for account and person, and none for device and key")
    try:
        token = policy_entries.token_of(kind, asked.clear, asked.tenant, load_keyring(settings.secrets))
        entry = Entry(
            kind=kind,
            side=cast(Side, asked.side or next(iter(sides))),
            token=token,
            from_ms=moment_of(asked.since, "--from", now_ms) if asked.since else now_ms,
            until_ms=None if asked.until == "never" else moment_of(asked.until, "--until", now_ms),
            author=asked.author,
            reason=asked.reason,
        )
        text = policy_entries.with_entry(path.read_bytes().decode(), asked.name, entry, str(path))
        policy_entries.write(path, text)
    except (policy_entries.Unwritable, InvalidPolicy, MissingKeys, OSError, UnicodeDecodeError) as refused:
        raise BadUse(str(refused)) from refused
    return parse_policy(text, str(path)).version
