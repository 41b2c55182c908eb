"""Random lives of a few accounts: what is imported of them, and what then happens to them live.

A recipe is a handful of numbers that Hypothesis chooses; a life follows from it, so a failing one shrinks to a
short one. Everything is a message or a label as its sender writes it.
"""

import random
from dataclasses import dataclass

from hypothesis import strategies as st
from traffic import NOW_MS, TAX_IDS, account, label, message, rfc3339

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS, LabelMessage, PaymentMessage

RUSH = (0, 1, 4_000, 20_000, MINUTE_MS)
DAILY = (0, 0, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 5 * HOUR_MS)
SPARSE = (0, HOUR_MS, DAY_MS, 4 * DAY_MS, 40 * DAY_MS, 121 * DAY_MS)
PACES = (RUSH, RUSH, DAILY, SPARSE)
LATE = (1, MINUTE_MS, HOUR_MS, DAY_MS, 40 * DAY_MS, 100 * DAY_MS)
AMOUNTS = (1, 99, 100_00, 50_000_00, 10**12)
KINDS = ("accepted", "accepted", "confirmed", "contested", "reversed", "dismissed")


@dataclass(frozen=True)
class Paying:
    """A payment arrives, for the first time or again."""

    message: PaymentMessage
    received_ms: int
    number: int

    @property
    def at_ms(self) -> int:
        """Its event time."""
        return min(self.message.initiated_at, self.received_ms)


@dataclass(frozen=True)
class Labelling:
    """A label arrives, for the first time or again."""

    label: LabelMessage
    received_ms: int


Step = Paying | Labelling


@dataclass(frozen=True)
class Recipe:
    """What Hypothesis chooses.

    Attributes:
        seed: Draws everything else.
        accounts: How many pay each other; the fewer, the hotter.
        late: Share of payments that are late.
        labels: Labels per payment.
        paces: Which gaps lie between arrivals, one phase of the life after the other.
        imported: Payments of the past.
        payments: Live ones.
        place: Which life of several in one lake it is: it shares neither payments nor accounts with the others.
    """

    seed: int
    accounts: int
    late: float
    labels: float
    paces: tuple[tuple[int, ...], ...]
    imported: int
    payments: int
    place: int = 0

    @property
    def tenant(self) -> str:
        """Whose accounts these are."""
        return f"life-{self.place}"


def recipes(imported: int, payments: int) -> st.SearchStrategy[Recipe]:
    """Recipes of lives up to this length."""
    return st.builds(
        Recipe,
        seed=st.integers(0, 2**16),
        accounts=st.integers(3, 8),
        late=st.sampled_from([0.05, 0.1, 0.3]),
        labels=st.sampled_from([0.1, 0.2, 0.5]),
        paces=st.lists(st.sampled_from(PACES), min_size=2, max_size=4).map(tuple),
        imported=st.just(imported),
        payments=st.just(payments),
    )


def past(recipe: Recipe) -> list[Step]:
    """Imported payments of the last hundred days and their labels, in the order in which history is folded."""
    draw = random.Random(recipe.seed)
    steps: list[Step] = []
    for number in range(recipe.imported):
        at_ms = NOW_MS - draw.randint(HOUR_MS, 100 * DAY_MS)
        paid = _message(draw, 10**9 + number, at_ms, recipe)
        steps.append(Paying(paid, at_ms, 10**9 + number))
        if draw.random() < recipe.labels:
            # Some are known in the very millisecond of the payment.
            known_ms = min(NOW_MS, at_ms + draw.choice([0, draw.randint(0, 9 * DAY_MS)]))
            steps.append(Labelling(_label(recipe, paid, "accepted", known_ms), known_ms))
            if draw.random() < 0.3:
                steps.append(Labelling(_label(recipe, paid, "reversed", known_ms + 1), known_ms + 1))
    return sorted(steps, key=_history_order)


def _history_order(step: Step) -> tuple[int, int, str]:
    if isinstance(step, Paying):
        return step.at_ms, 0, step.message.end_to_end_id
    return step.label.known_at, 1, step.label.label_id


def live(recipe: Recipe, before: list[Step]) -> list[Step]:
    """What arrives after the past: payments (some late, some tied, some again), and labels of any of them."""
    draw = random.Random(recipe.seed + 1)
    steps: list[Step] = []
    paid = [step for step in before if isinstance(step, Paying)]
    now_ms = NOW_MS
    for number in range(recipe.payments):
        now_ms += draw.choice(recipe.paces[number * len(recipe.paces) // recipe.payments])
        late_ms = draw.choice(LATE) if draw.random() < recipe.late else 0
        step = Paying(_message(draw, number, now_ms - late_ms, recipe), now_ms, number)
        steps.append(step)
        paid.append(step)
        if draw.random() < recipe.labels:
            of = draw.choice(paid[-30:]).message
            known_ms = now_ms - draw.choice([0, 0, HOUR_MS, 30 * DAY_MS])
            steps.append(Labelling(_label(recipe, of, draw.choice(KINDS), known_ms), now_ms))
        if draw.random() < 0.03:
            steps.append(draw.choice(steps))
    return steps


def _label(recipe: Recipe, of: PaymentMessage, kind: str, known_ms: int) -> LabelMessage:
    return label(of.end_to_end_id, kind, known_ms, tenant=recipe.tenant)


def _message(draw: random.Random, number: int, at_ms: int, recipe: Recipe) -> PaymentMessage:
    """A payment with all facts, or with hardly any."""
    payer, payee = draw.sample(range(1, recipe.accounts + 1), 2)
    facts: dict[str, object] = {"payer_account": account(payer), "payee_account": account(payee)}
    facts["tenant"] = recipe.tenant
    facts["amount_cents"] = draw.choice([*AMOUNTS, *[draw.randint(1, 10**7) for _ in range(15)]])
    if draw.random() < 0.9:
        facts |= _facts(draw, payer, at_ms)
    return message(recipe.place * 10**5 + number, at_ms, **facts)


def _facts(draw: random.Random, payer: int, at_ms: int) -> dict[str, object]:
    def before() -> str:
        return rfc3339(at_ms - draw.randint(0, 10**10))

    return {
        "payer_tax_id": draw.choice(TAX_IDS[:4]),
        "payee_tax_id": draw.choice(TAX_IDS[:4]),
        "device_id": f"device-{draw.choice([payer, 1])}",
        "initiation": draw.choice(["DICT", "DICT", "QRES", "QRDN", "INIC"]),
        "purpose": draw.choice(["IPAY", "GSCB"]),
        "priority": draw.choice(["HIGH", "NORM"]),
        "pix_key_type": draw.choice(["CPF", "PHONE", "EMAIL", "EVP"]),
        "payer_person_type": draw.choice(["PF", "PJ"]),
        "payee_person_type": draw.choice(["PF", "PJ"]),
        "payee_account_type": draw.choice(["CACC", "SVGS", "TRAN"]),
        "payer_age_years": draw.randint(18, 90),
        "payer_municipality": draw.choice(["3550308", "3304557"]),
        "device_municipality": draw.choice(["3550308", "2927408"]),
        "key_created_at": before(),
        "key_owned_since": before(),
        "payer_account_opened_at": before(),
        "payee_account_opened_at": before(),
        "device_registered_at": before(),
        "credentials_changed_at": before(),
        "limit_raised_at": before(),
        "funds_raised_at": before(),
        "fraud_markers_watermark": before(),
        "payee_settlements_d90": draw.randint(0, 50),
        "payee_fraud_markers_d90": draw.randint(0, 3),
        "payee_mule_markers_d90": draw.randint(0, 2),
        "payee_fraud_reporters_d90": draw.randint(0, 2),
        "payee_rejected_reports_d90": draw.randint(0, 2),
        "payee_open_reports": draw.randint(0, 2),
        "payee_is_preregistered": draw.random() < 0.5,
        "device_remote_access": draw.random() < 0.5,
        "device_rooted": draw.random() < 0.5,
        "active_call": draw.random() < 0.5,
        "authentication": draw.choice(["PASSWORD", "BIOMETRY", "TOKEN"]),
        "login_age_ms": draw.randint(0, 10**7),
        "typing_interval_ms": draw.randint(0, 60_000),
        "payer_balance_cents": draw.randint(-100, 10**7),
        "payer_limit_cents": draw.randint(0, 10**7),
        "remittance_text": draw.choice(["rent", None]),
    }
