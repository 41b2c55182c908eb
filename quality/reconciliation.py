"""Is everything that was sent decided once, or quarantined? Pure: a sender's log and two tables in.

The unit is an *item*: an id and the body sent under it. A sender logs a line before each attempt, and one
more line for the same item when the attempt ended without a claim: ``refused`` (a definitive 4xx) or
``unanswered``. An item is claimed while it has more attempts than such withdrawals; one without a claim
counts only if it is found anyway.

Bodies are compared by token, because the lake holds no digest that could be guessed from a clear payment.

A quarantined message that was sent again (redriven) rests there no longer: it has to be decided, or quarantined anew at
its new place. So its row makes no duplicate of a decision, and does not save what is nowhere else from being lost.
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from quality.errors import SentLogUnreadable

MAX_EXAMPLES = 10
ORIGIN = ["topic", "partition", "offset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentLine:
    """One line of a sender's log.

    Attributes:
        end_to_end_id: The payment's id; None if the body has none that can be read.
        amount_cents: Its amount; None likewise.
        body_sha256: SHA-256 of the body as sent, in hex.
        sent_at: RFC 3339 instant.
        refused: HTTP status of a definitive refusal.
        unanswered: The attempt ended without an answer.
    """

    end_to_end_id: str | None
    amount_cents: int | None
    body_sha256: str
    sent_at: str
    refused: int | None = None
    unanswered: bool = False

    @property
    def withdraws(self) -> bool:
        """Whether the line takes back the claim of an attempt."""
        return self.refused is not None or self.unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The count of I1: nothing acknowledged is lost.

    Attributes:
        sent: Items claimed, or found without a claim.
        decided: Items whose id and body are in gold.
        quarantined: Items whose body is in quarantine, not sent again from there, and not in gold.
        lost: Items in neither.
        duplicated: Ids with several rows in gold, bodies in both tables (but for redriven ones), origins quarantined
            twice.
        mismatched: Items whose id is in gold with another body or amount, their own body being nowhere.
        examples: ``lost``, ``duplicated``, ``mismatched`` → some ids, or digests where there is no id.
    """

    sent: int
    decided: int
    quarantined: int
    lost: int
    duplicated: int
    mismatched: int
    examples: Mapping[str, list[str]]

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, duplicated or mismatched."""
        return self.lost == self.duplicated == self.mismatched == 0

    def line(self) -> str:
        """The last line of ``sentinela verify``."""
        return (
            f"sent={self.sent} decided={self.decided} quarantined={self.quarantined} "
            f"lost={self.lost} duplicated={self.duplicated} mismatched={self.mismatched}"
        )


def read_sent_log(text: str) -> list[SentLine]:
    """Parse a sender's log. A last line without its newline is left out: the sender died before it sent that.

    Raises:
        SentLogUnreadable: A complete line cannot be read.
    """
    complete = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    lines = []
    for number, line in enumerate(complete, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            lines.append(SentLine(**{k: v for k, v in fields.items() if k in SentLine.__dataclass_fields__}))
        except (ValueError, TypeError, AttributeError) as error:
            raise SentLogUnreadable(f"line {number} of the sent log, {line[:80]!r}, cannot be read: {error}") from None
    return lines


def reconcile(
    sent: Iterable[SentLine],
    gold: pd.DataFrame,
    quarantine: pd.DataFrame,
    token_of: Callable[[str], set[str]],
) -> Reconciliation:
    """Compare what was sent with where it ended.

    Args:
        sent: Lines of all senders' logs, in any order.
        gold: end_to_end_id, amount_cents, body_token of gold decisions.
        quarantine: end_to_end_id (may be null), body_token, reason of quarantined *messages to be decided*,
            and topic, partition, offset, redriven_at_ms if known. Superseded copies of a decision do not belong
            here: their payment is in gold by design.
        token_of: Body digest → its tokens under every token key still in use.
    """
    tables = _Tables(gold, quarantine)
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {
        "lost": [],
        "duplicated": tables.duplicated[:MAX_EXAMPLES],
        "mismatched": [],
    }
    for item in _items(sent):
        tokens = token_of(item.body_sha256)
        if not (item.claimed or tables.hold(tokens)):
            continue
        end = tables.end_of(item, tokens)
        counts[end] += 1
        if end in examples and len(examples[end]) < MAX_EXAMPLES:
            examples[end].append(item.end_to_end_id or item.body_sha256)
    return Reconciliation(
        sent=counts.total(),
        decided=counts["decided"],
        quarantined=counts["quarantined"],
        lost=counts["lost"],
        duplicated=len(tables.duplicated),
        mismatched=counts["mismatched"],
        examples=examples,
    )


@dataclass(slots=True)
class _Item:
    end_to_end_id: str | None
    body_sha256: str
    amounts: set[int] = field(default_factory=set)
    attempts: int = 0
    withdrawals: int = 0

    @property
    def claimed(self) -> bool:
        return self.attempts > self.withdrawals


def _items(sent: Iterable[SentLine]) -> list[_Item]:
    items: dict[tuple[str | None, str], _Item] = {}
    for line in sent:
        key = (line.end_to_end_id, line.body_sha256)
        item = items.setdefault(key, _Item(*key))
        if line.withdraws:
            item.withdrawals += 1
        else:
            item.attempts += 1
        if line.amount_cents is not None:
            item.amounts.add(line.amount_cents)
    return list(items.values())


class _Tables:
    """Gold and quarantine indexed by id and by body token, with what is in them too often."""

    def __init__(self, gold: pd.DataFrame, quarantine: pd.DataFrame) -> None:
        self._rows_of: dict[str, list[tuple[str | None, int | None]]] = {}
        for row in zip(gold["end_to_end_id"], gold["body_token"], gold["amount_cents"], strict=True):
            identity, token, amount = (_known(value) for value in row)
            self._rows_of.setdefault(str(identity), []).append((token, None if amount is None else int(amount)))
        self._decided = _tokens(gold)
        self._ever_quarantined = _tokens(quarantine)
        self._quarantined = _tokens(_at_rest(quarantine))
        self.duplicated = [
            *(identity for identity, rows in self._rows_of.items() if len(rows) > 1),
            *sorted(self._decided & self._quarantined),
            *_repeated_origins(quarantine),
        ]

    def hold(self, tokens: set[str]) -> bool:
        return bool(tokens & self._decided or tokens & self._ever_quarantined)

    def end_of(self, item: _Item, tokens: set[str]) -> str:
        rows = self._rows_of.get(item.end_to_end_id, []) if item.end_to_end_id is not None else []
        own = [amount for token, amount in rows if token in tokens]
        if own:
            return "decided" if not item.amounts or item.amounts <= set(own) else "mismatched"
        if item.end_to_end_id is None and tokens & self._decided:
            return "decided"
        if tokens & self._quarantined:
            return "quarantined"
        return "mismatched" if rows else "lost"


def _at_rest(quarantine: pd.DataFrame) -> pd.DataFrame:
    """Rows of messages that nobody sent again."""
    if "redriven_at_ms" not in quarantine.columns:
        return quarantine
    return quarantine[quarantine["redriven_at_ms"].isna()]


def _tokens(table: pd.DataFrame) -> set[str]:
    return {str(token) for token in table["body_token"].dropna()}


def _repeated_origins(quarantine: pd.DataFrame) -> list[str]:
    """Origins that several rows claim; rows that came over REST have none."""
    if not set(ORIGIN) <= set(quarantine.columns):
        return []
    sizes = quarantine[ORIGIN].dropna().value_counts()
    return ["-".join(str(part) for part in _parts(origin)) for origin in sizes[sizes > 1].index]


def _parts(origin: Hashable) -> list[Any]:
    # A column that held a null is float: 3.0 is partition 3.
    values = origin if isinstance(origin, tuple) else (origin,)
    return [int(value) if isinstance(value, float) else value for value in values]


def _known(value: Any) -> Any:
    return None if pd.isna(value) else value
