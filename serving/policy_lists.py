"""Lists of a policy: whom to block, to watch and to let pass, by token, each for a time, by somebody for a reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pix.contracts import Payment

ListName = Literal["block", "watch", "allow"]
EntryKind = Literal["account", "person", "device", "key"]
Side = Literal["payer", "payee", "both"]

FIELDS: Mapping[EntryKind, Mapping[Literal["payer", "payee"], str]] = {
    "account": {"payer": "payer_account", "payee": "payee_account"},
    "person": {"payer": "payer_tax_id", "payee": "payee_tax_id"},
    "device": {"payer": "device_id"},
    "key": {"payee": "pix_key"},
}
"""Kind of an entry -> side -> field of the payment that its token is looked for in."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One account, person, device or key on a list.

    Attributes:
        kind: What the token stands for.
        side: On which side of a payment it counts.
        token: Token of the clear value, under the tenant that it belongs to.
        from_ms: Counts for decisions made from then on, epoch milliseconds.
        until_ms: And before then; None without an end.
        author: Who put it there.
        reason: Why.
    """

    kind: EntryKind
    side: Side
    token: str
    from_ms: int
    until_ms: int | None
    author: str
    reason: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of a payment that it is looked for in."""
        return tuple(field for side, field in FIELDS[self.kind].items() if self.side in (side, "both"))

    def counts_at(self, at_ms: int) -> bool:
        """Whether it is valid for a decision made then."""
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class Listed:
    """One list, ready to be asked.

    Attributes:
        entries: In the file's order.
        by_field: Field of the payment -> token -> the entries with it; only fields that some entry looks at.
    """

    entries: tuple[Entry, ...]
    by_field: tuple[tuple[str, Mapping[str, tuple[Entry, ...]]], ...]

    def names(self, payment: Payment, decided_at_ms: int) -> bool:
        """Whether somebody of this payment is on the list when it is decided."""
        for field, entries in self.by_field:
            found = entries.get(getattr(payment, field))
            if found is not None and any(entry.counts_at(decided_at_ms) for entry in found):
                return True
        return False


def listed(entries: Iterable[Entry]) -> Listed:
    """A list of these entries."""
    entries = tuple(entries)
    found: dict[str, dict[str, tuple[Entry, ...]]] = {}
    for entry in entries:
        for field in entry.fields:
            tokens = found.setdefault(field, {})
            tokens[entry.token] = (*tokens.get(entry.token, ()), entry)
    return Listed(entries, tuple(found.items()))
