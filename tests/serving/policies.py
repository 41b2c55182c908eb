"""Small policies and cases for them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from traffic import KEYRING, NOW_MS, message

from pix.contracts.tokenised import behind_the_door
from pix.features import FEATURE_NAMES
from serving.policy import Case, Policy, parse_policy

NAMES_OF_LISTS = ("block", "watch", "allow")
PRIORITY = ("block_list", "rules", "watch_list", "allow_list", "thresholds")
EMPTY = """\
priority: [block_list, rules, watch_list, allow_list, thresholds]
thresholds: {REVIEW: 0.1, BLOCK_AND_REVIEW: 0.4, BLOCK: 0.85}
holds: {BLOCK_AND_REVIEW: {minutes_by_day: 30, minutes_otherwise: 60, outcome: BLOCK}}
"""


def policy(
    more: str = "", *, priority: Sequence[str] = PRIORITY, lists: Mapping[str, Sequence[str]] | None = None
) -> Policy:
    """A policy with the usual thresholds and holds, and these further parts."""
    text = EMPTY.replace(", ".join(PRIORITY), ", ".join(priority)) + more
    if lists:
        text += "lists:\n" + "".join(f"  {name}: [{', '.join(entries)}]\n" for name, entries in lists.items())
    return parse_policy(text, "policy.yaml")


def token(value: str) -> str:
    """Of somebody, whatever kind of somebody that is."""
    return KEYRING.token("default", "any", value)


def entry(
    *,
    kind: str = "account",
    side: str | None = "payee",
    value: str = "payee",
    since: int = NOW_MS - 1000,
    until: int | None = None,
    author: str = "ana",
    reason: str = "seen",
    token: str = "",
) -> str:
    """An entry as the file holds it."""
    parts = {
        "kind": kind, "token": f'"{token or globals()["token"](value)}"', "from": f'"{iso(since)}"',
        "until": "null" if until is None else f'"{iso(until)}"', "author": author, "reason": reason,
    } | ({"side": side} if side else {})  # fmt: skip
    return "{" + ", ".join(f"{name}: {value}" for name, value in parts.items()) + "}"


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def case(probability: float | None, **known: Any) -> Case:
    """A case to the listed payee in which only these features and facts of the payment are known."""
    features = [known.get(name) for name in FEATURE_NAMES]
    payment = behind_the_door(message(1), KEYRING)
    facts = {"payee_account": token("payee"), **{n: v for n, v in known.items() if n not in FEATURE_NAMES}}
    return Case(probability, features, replace(payment, **facts), NOW_MS)
