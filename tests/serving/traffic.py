"""Random payments and a pipeline around them, with a clock that a test moves."""

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pix.contracts import LabelMessage, PaymentMessage, label_id, parse_payment
from pix.contracts import canonical_json as canonical
from pix.identifiers import cpf
from pix.store.interface import Store
from pix.store.memory import MemoryStore
from pix.tokens import Keyring
from serving.outcomes import Arrival, Vector
from serving.pipeline import DecisionPipeline
from serving.policy import load_policy

NOW_MS = 1_795_000_000_000
TAX_IDS = tuple(cpf(f"{number:09d}") for number in range(101, 107))
KEYRING = Keyring(1, {1: b"k" * 32})
POLICY = load_policy(Path(__file__).parents[2] / "config" / "policy.yaml")


@dataclass
class Clock:
    """Epoch milliseconds that only a test moves."""

    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class StubbornModel:
    """A model by hand: the raw score is the log of the amount, shifted."""

    shift: float = -20.0
    identity: dict[str, str] = field(default_factory=lambda: {"name": "hand", "version": "1", "sha256": "0" * 64})

    def raw_score(self, vector: Vector) -> float:
        return math.log1p(vector[0]) * 2 + self.shift

    def probability(self, raw_score: float) -> float:
        return 1 / (1 + math.exp(-raw_score))

    def contributions(self, vector: Vector) -> list[float]:
        return [self.raw_score(vector), *[0.0] * (len(vector) - 1)]


def pipeline(store: Store | None = None, clock: Clock | None = None, model: object | None = None) -> DecisionPipeline:
    return DecisionPipeline(
        store=store or MemoryStore(),
        keyring=KEYRING,
        champion=lambda: model,  # type: ignore[return-value,arg-type]
        policy=lambda: POLICY,
        now_ms=clock or Clock(),
        build="test",
    )


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def account(number: int) -> str:
    return f"12345678-0001-{number}"


def body(number: int, at_ms: int = NOW_MS, **fields: object) -> dict[str, object]:
    minute = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%d%H%M")
    return {
        "end_to_end_id": f"E12345678{minute}{number:011d}",
        "initiated_at": rfc3339(at_ms),
        "amount_cents": 12_345,
        "payer_account": account(1),
        "payee_account": account(2),
        **fields,
    }


def message(number: int, at_ms: int = NOW_MS, **fields: object) -> PaymentMessage:
    return parse_payment(canonical(body(number, at_ms, **fields)))


def random_message(draw: random.Random, number: int, at_ms: int, accounts: int) -> PaymentMessage:
    payer, payee = draw.sample(range(1, accounts + 1), 2)
    facts: dict[str, object] = {"payer_account": account(payer), "payee_account": account(payee)}
    facts["amount_cents"] = draw.choice([1, 10_000, draw.randint(1, 10**7), 10**12])
    if draw.random() < 0.7:
        facts["device_id"] = f"device-{draw.randint(1, accounts)}"
        facts["device_registered_at"] = rfc3339(at_ms - draw.randint(0, 10**10))
    if draw.random() < 0.5:
        facts["payer_balance_cents"] = draw.randint(-100, 10**7)
        facts["active_call"] = draw.random() < 0.2
    if draw.random() < 0.6:
        facts["payer_tax_id"] = draw.choice(TAX_IDS)
    if draw.random() < 0.6:
        facts["payee_tax_id"] = draw.choice(TAX_IDS)
        facts["payee_account_opened_at"] = rfc3339(at_ms - draw.randint(0, 10**10))
        facts["payee_fraud_markers_d90"] = draw.choice([0, 0, 2])
    return message(number, at_ms, **facts)


def arrival(at_ms: int, number: int = 0) -> Arrival:
    origin = {"kind": "kafka", "topic": "pix.transactions", "partition": 0, "offset": number}
    return Arrival(at_ms, f"{number:064x}", origin, f"{number:032x}")


def label(end_to_end_id: str, kind: str, known_at_ms: int, tenant: str = "default") -> LabelMessage:
    content = {
        "end_to_end_id": end_to_end_id,
        "kind": kind,
        "effective_at": rfc3339(known_at_ms),
        "known_at": rfc3339(known_at_ms),
        "source": "med",
    } | ({"tenant": tenant} if tenant != "default" else {})
    return LabelMessage.model_validate({**content, "label_id": label_id(content)})
