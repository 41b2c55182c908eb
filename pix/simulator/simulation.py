"""A stretch of Pix traffic with its labels and its truth: the simulator's public face.

``simulate`` is a pure function of its plan: the same plan gives the same bytes. The population depends on
seed and accounts only, so a live slice after a history is paid by the same accounts, with new ids.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pix.simulator.flow import Typology, join, settle
from pix.simulator.fraud import fraud
from pix.simulator.honest import honest
from pix.simulator.labels import draw_labels
from pix.simulator.population import MIN_ACCOUNTS, populate
from pix.simulator.rhythm import DAY_MS
from pix.simulator.writing import write_payments

PER = 100_000
# 2100-01-01, epoch ms.
END_MS = 47_482 * DAY_MS


class InvalidPlan(ValueError):
    """A plan that cannot be simulated; the message says which value and what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlan:
    """What to simulate.

    Attributes:
        seed: Draws the population, and with the rest of the plan everything else.
        start_ms: Begin of the window, epoch ms.
        days: Length of the window in days; a fraction gives a live slice with compressed scenarios.
        accounts: Accounts open at any time.
        payments: Payments in the window, all of them.
        fraud_per_100k: Truly fraudulent payments per 100,000.
        run: Another run of the same plan has other ids and other draws, but the same accounts.

    Raises:
        InvalidPlan: A value is out of its range.
    """

    seed: int
    start_ms: int
    days: float
    accounts: int
    payments: int
    fraud_per_100k: float
    run: str = ""

    def __post_init__(self) -> None:
        """Refuses what cannot be simulated."""
        checks = (
            ("seed", self.seed, "from 0 to 2**31", 0 <= self.seed <= 2**31),
            ("start_ms", self.start_ms, "0 or more", self.start_ms >= 0),
            ("days", self.days, "above 0 and end before 2100", self._window_is_possible()),
            ("accounts", self.accounts, f"at least {MIN_ACCOUNTS}", self.accounts >= MIN_ACCOUNTS),
            ("payments", self.payments, "0 or more", self.payments >= 0),
            (
                "fraud_per_100k",
                self.fraud_per_100k,
                f"from 0 to {PER // 2}",
                0 <= self.fraud_per_100k <= PER // 2,
            ),
        )
        for name, value, wanted, right in checks:
            if not right:
                raise InvalidPlan(f"{name} must be {wanted}, got {value!r}")

    def _window_is_possible(self) -> bool:
        return math.isfinite(self.days) and self.start_ms < self.window[1] < END_MS

    @property
    def window(self) -> tuple[int, int]:
        """Begin (included) and end (excluded), epoch ms."""
        return self.start_ms, self.start_ms + round(self.days * DAY_MS)

    @property
    def frauds(self) -> int:
        """Number of fraudulent payments."""
        return round(self.payments * self.fraud_per_100k / PER)


@dataclass(frozen=True)
class Simulation:
    """JSON-able messages: payments and truth by initiation time, labels by the time they become known."""

    payments: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    truth: list[dict[str, Any]]


def simulate(plan: SimulationPlan) -> Simulation:
    """The traffic of a plan."""
    population = populate(plan.seed, plan.accounts)
    rng = np.random.default_rng(int.from_bytes(sha256(_line(asdict(plan))).digest()))
    flow = join(
        [
            honest(rng, population, plan.window, plan.payments - plan.frauds),
            fraud(rng, population, plan.window, plan.frauds),
        ]
    )
    amounts, balances = settle(rng, population, flow)
    payments = write_payments(rng, population, flow, amounts, balances)
    ids = [payment["end_to_end_id"] for payment in payments]
    names = {typology.value: typology.name.lower() for typology in Typology if typology != Typology.HONEST}
    truth = [
        {"end_to_end_id": id_, "is_fraud": code != Typology.HONEST, "typology": names.get(code)}
        for id_, code in zip(ids, flow.typology.tolist(), strict=True)
    ]
    return Simulation(payments, draw_labels(rng, ids, flow.at_ms, flow.typology), truth)


def write(simulation: Simulation, folder: Path) -> dict[str, int]:
    """Writes payments.jsonl, labels.jsonl and truth.jsonl into a folder, which is made if missing.

    Returns:
        Lines written, by file name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "payments.jsonl": simulation.payments,
        "labels.jsonl": simulation.labels,
        "truth.jsonl": simulation.truth,
    }
    for name, messages in files.items():
        (folder / name).write_bytes(_lines(messages))
    return {name: len(messages) for name, messages in files.items()}


def _lines(messages: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(_line(message) + b"\n" for message in messages)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
