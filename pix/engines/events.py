"""Events of an entity, and the keys of the entities of a payment.

An event is three 64-bit integers (``words``): its time, its amount below its flags, and the hash of its
counterpart (for a label: the time under which it counts).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from pix.contracts import DAY_MS, MAX_AMOUNT_CENTS, Payment
from pix.features import FLOW_OF_ROLE, MISSING
from pix.features.declarations import YOUNG_ACCOUNT_MS

FORGET_AFTER_MS = 120 * DAY_MS
"""An event this much later than the key's clock finds an empty state."""

AMOUNT_BITS = 40
OUT, IN, ALLOWED, YOUNG, MARKED, FLAGGED, IMPORTED, LABEL, CONTEST, MINUS = (1 << bit for bit in range(10))
"""Flags of an event. A label is CONTEST or, without that flag, a fraud; MINUS takes it back."""

FLOW_BITS = {"out": OUT, "in": IN}
RECEIVERS = frozenset(role for role, flow in FLOW_OF_ROLE.items() if flow == "in")

if MAX_AMOUNT_CENTS >= 1 << AMOUNT_BITS:
    raise ValueError(f"amounts up to {MAX_AMOUNT_CENTS} centavos do not fit below the flags at bit {AMOUNT_BITS}")


@dataclass(frozen=True, slots=True)
class Carried:
    """What the states of a payment's accounts said of them when it was decided.

    Each side's fact becomes part of the event of the other side. First order only: it is read from
    labels, which carry nothing themselves.

    Attributes:
        payer_flagged: The payer's account had received a payment that was known as fraud, in the last 90 days.
        payee_flagged: The payee's account had.
    """

    payer_flagged: bool
    payee_flagged: bool


NOTHING_CARRIED = Carried(payer_flagged=False, payee_flagged=False)


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment as one entity sees it.

    Attributes:
        time_ms: Event time, epoch milliseconds.
        flows: ``OUT`` if the entity paid, ``IN`` if it received, both for a person's own transfer.
        amount_cents: Centavos.
        counterpart: Signed 64-bit hash of the other side (of the payer's account for a device).
        is_allowed: False for an attempt that was held or blocked.
        is_young: The counterpart's account was young by the payment's own facts.
        is_marked: The counterpart had a fraud marker in DICT by the payment's own facts.
        is_imported: From imported history, where attempts are not known.
        is_flagged: The counterpart was flagged by its own state (``Carried``).
    """

    time_ms: int
    flows: int
    amount_cents: int
    counterpart: int
    is_allowed: bool
    is_young: bool = False
    is_marked: bool = False
    is_imported: bool = False
    is_flagged: bool = False

    def words(self) -> tuple[int, int, int]:
        """The event as the kernel takes it."""
        flags = (
            self.flows
            | (ALLOWED if self.is_allowed else 0)
            | (YOUNG if self.is_young else 0)
            | (MARKED if self.is_marked else 0)
            | (IMPORTED if self.is_imported else 0)
            | (FLAGGED if self.is_flagged else 0)
        )
        return self.time_ms, self.amount_cents | flags << AMOUNT_BITS, self.counterpart


@dataclass(frozen=True, slots=True)
class Labelled:
    """A payment's label changed what is known of it.

    Attributes:
        time_ms: When the label became known, epoch milliseconds; the event time of this fold.
        flows: Sides of the payment that the entity was on.
        measure: ``frauds`` or ``contests``.
        change: +1 when the payment became that, -1 when that was taken back.
        counted_at_ms: Time under which the payment was (or is now) counted; not after ``time_ms``.
    """

    time_ms: int
    flows: int
    measure: str
    change: int
    counted_at_ms: int

    def words(self) -> tuple[int, int, int]:
        """The event as the kernel takes it."""
        flags = self.flows | LABEL | (CONTEST if self.measure == "contests" else 0) | (MINUS if self.change < 0 else 0)
        return self.time_ms, flags << AMOUNT_BITS, self.counted_at_ms


Event = Paid | Labelled


def event_of(words: tuple[int, int, int]) -> Event:
    """The event behind its words."""
    time_ms, word, other = words
    flags = word >> AMOUNT_BITS
    flows = flags & (OUT | IN)
    if flags & LABEL:
        measure = "contests" if flags & CONTEST else "frauds"
        return Labelled(time_ms, flows, measure, -1 if flags & MINUS else 1, other)
    return paid_of(time_ms, word, other)


def paid_of(time_ms: int, word: int, counterpart: int) -> Paid:
    """The payment's event behind its words."""
    flags, amount = word >> AMOUNT_BITS, word & ((1 << AMOUNT_BITS) - 1)
    properties = [flags & bit != 0 for bit in (ALLOWED, YOUNG, MARKED, IMPORTED, FLAGGED)]
    return Paid(time_ms, flags & (OUT | IN), amount, counterpart, *properties)


def kind_of(key: str) -> str:
    """Kind of entity that a state's key belongs to."""
    return key.split("|", 2)[1]


def entity_keys(payment: Payment) -> dict[str, str]:
    """Role -> key of the entity's state, for the entities that the payment has."""
    tenant = payment.tenant
    keys = {
        "payer_account": account_key(tenant, payment.payer_account),
        "payee_account": account_key(tenant, payment.payee_account),
        "pair": f"{tenant}|pair|{payment.payer_account}>{payment.payee_account}",
    }
    if payment.device_id is not None:
        keys["device"] = f"{tenant}|device|{payment.device_id}"
    if payment.payer_tax_id is not None:
        keys["payer_person"] = f"{tenant}|person|{payment.payer_tax_id}"
    if payment.payee_tax_id is not None:
        keys["payee_person"] = f"{tenant}|person|{payment.payee_tax_id}"
    return keys


def account_key(tenant: str, account: str) -> str:
    """Key of an account's state."""
    return f"{tenant}|account|{account}"


def flows_by_key(keys: Mapping[str, str]) -> dict[str, int]:
    """Key -> the sides on which its entity stands; two roles of one key become one event."""
    flows: dict[str, int] = {}
    for role, key in keys.items():
        flows[key] = flows.get(key, 0) | FLOW_BITS[FLOW_OF_ROLE[role]]
    return flows


class Outline(NamedTuple):
    """What is certain of an entity's event before the payment is decided.

    Its fields are those of a slot of ``pix.engines.layout``, after the kind.

    Attributes:
        word: The amount below the flags that are certain (the event's second word).
        counterpart: Hash of the other side.
        opened_at_ms: When the counterpart's account was opened, ``MISSING`` if unknown.
        is_receiving: Whether the counterpart is the payer, so that its ``Carried`` fact counts.
    """

    word: int
    counterpart: int
    opened_at_ms: int
    is_receiving: bool


def outlines(payment: Payment, keys: Mapping[str, str]) -> dict[str, Outline]:
    """Key -> outline of the payment as its entity will see it."""
    payer, payee = counterpart_hash(payment.payer_account), counterpart_hash(payment.payee_account)
    marked = MARKED if (payment.payee_fraud_markers_d90 or 0) > 0 else 0
    payee_opened, payer_opened = payment.payee_account_opened_at_ms, payment.payer_account_opened_at_ms
    payee_since = MISSING if payee_opened is None else payee_opened
    payer_since = MISSING if payer_opened is None else payer_opened
    amount = payment.amount_cents
    paid = Outline(amount | (OUT | marked) << AMOUNT_BITS, payee, payee_since, False)
    received = Outline(amount | IN << AMOUNT_BITS, payer, payer_since, True)
    found = {key: received if role in RECEIVERS else paid for role, key in keys.items()}
    if len(found) < len(keys):
        for key, flows in flows_by_key(keys).items():
            if flows == OUT | IN:
                found[key] = Outline(paid.word | IN << AMOUNT_BITS, payee, payee_since, False)
    if "device" in keys:
        found[keys["device"]] = Outline(paid.word, payer, payee_since, False)
    return found


def decided_word(word: int, opened_at_ms: int, time_ms: int, outcome: int, flagged: int) -> int:
    """An event's second word, once its payment is decided; the kernel compiles this very function.

    Args:
        word: See ``Outline``.
        opened_at_ms: See ``Outline``.
        time_ms: The payment's event time, epoch milliseconds.
        outcome: ``ALLOWED`` or 0, with ``IMPORTED``.
        flagged: ``FLAGGED`` if the counterpart was, else 0.
    """
    young = YOUNG if opened_at_ms != MISSING and time_ms - opened_at_ms < YOUNG_ACCOUNT_MS else 0
    return word | (outcome | flagged | young) << AMOUNT_BITS


def payment_events(
    payment: Payment, keys: Mapping[str, str], time_ms: int, carried: Carried, *, is_allowed: bool, is_imported: bool
) -> dict[str, Paid]:
    """Key -> the payment as its entity sees it.

    Args:
        payment: The payment behind the door.
        keys: What ``entity_keys`` says of it.
        time_ms: Its event time, epoch milliseconds.
        carried: What its accounts' states said when it was decided.
        is_allowed: Whether it went on.
        is_imported: Whether it comes from imported history.
    """
    outcome = (ALLOWED if is_allowed else 0) | (IMPORTED if is_imported else 0)
    events: dict[str, Paid] = {}
    made: dict[int, Paid] = {}
    for key, outline in outlines(payment, keys).items():
        # Most entities of a payment see the same event.
        paid = made.get(id(outline))
        if paid is None:
            is_flagged = carried.payer_flagged if outline.is_receiving else carried.payee_flagged
            flagged = FLAGGED if is_flagged else 0
            word = decided_word(outline.word, outline.opened_at_ms, time_ms, outcome, flagged)
            paid = made[id(outline)] = paid_of(time_ms, word, outline.counterpart)
        events[key] = paid
    return events


def label_events(
    keys: Mapping[str, str], time_ms: int, measure: str, change: int, counted_at_ms: int
) -> dict[str, Labelled]:
    """Key -> what a label changes there; see ``Labelled``."""
    return {key: Labelled(time_ms, flows, measure, change, counted_at_ms) for key, flows in flows_by_key(keys).items()}


def counterpart_hash(account: str) -> int:
    """Signed 64-bit hash of an account token."""
    return int.from_bytes(blake2b(account.encode(), digest_size=8).digest(), "little", signed=True)
