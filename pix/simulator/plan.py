"""What to simulate: sizes, rates, and the drift that monitoring shall find.

InvalidPlan       a plan that cannot be simulated; says which value and what would do
"""

import json
import math
from dataclasses import asdict, dataclass
from hashlib import sha256

import numpy as np

from pix.contracts import PaymentMessage
from pix.simulator import published
from pix.simulator.population import MIN_ACCOUNTS
from pix.simulator.rhythm import DAY_MS, Window
from pix.simulator.scenarios import SCENARIOS

PER = 100_000
MAX_FRAUD_PER_100K = 40_000
# 2100-01-01, epoch ms.
END_MS = 47_482 * DAY_MS

REQUIRED_FIELDS = frozenset(name for name, field in PaymentMessage.model_fields.items() if field.is_required())
DRIFTS = {
    "typology": tuple(scenario.typology.name.lower() for scenario in SCENARIOS),
    "population": ("older", "amounts"),
    "outage": published.INITIATIONS,
    "null": tuple(name for name in PaymentMessage.model_fields if name not in REQUIRED_FIELDS and name != "tenant"),
}
"""Kind of drift -> what it can be of."""


class InvalidPlan(ValueError):
    """A plan that cannot be simulated; the message says which value and what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One change of the world, from a day on.

    Attributes:
        kind: ``typology`` (it appears only now, and often), ``population`` (``older`` persons pay three times as
            much of all, or ``amounts`` grow by 60 %), ``outage`` (an initiation form is away), ``null`` (a field
            is no longer filled).
        of: Which one.
        from_day: Days since the start of the window.
    """

    kind: str
    of: str
    from_day: float

    def __post_init__(self) -> None:
        """Refuses what cannot drift."""
        if self.kind not in DRIFTS:
            raise InvalidPlan(f"drift {self.kind!r} is none of {', '.join(DRIFTS)}")
        if self.of not in DRIFTS[self.kind]:
            raise InvalidPlan(f"drift {self.kind}:{self.of!r} is none of {', '.join(DRIFTS[self.kind])}")
        if not (math.isfinite(self.from_day) and self.from_day >= 0):
            raise InvalidPlan(f"drift {self.kind}:{self.of} must begin on day 0 or later, got {self.from_day!r}")

    def at_ms(self, window: Window) -> int:
        """When it begins, epoch ms."""
        return window[0] + round(self.from_day * DAY_MS)


def parse_drift(text: str) -> Drift:
    """A drift written as ``KIND:WHAT@DAY``, such as ``null:device_id@20``.

    Raises:
        InvalidPlan: It is not written so, or there is no such drift.
    """
    head, at, day = text.rpartition("@")
    kind, colon, of = head.partition(":")
    try:
        from_day = float(day)
    except ValueError:
        from_day = math.nan
    if not at or not colon or math.isnan(from_day):
        raise InvalidPlan(f"drift {text!r} is not written KIND:WHAT@DAY, such as null:device_id@20")
    return Drift(kind=kind, of=of, from_day=from_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlan:
    """What to simulate.

    Attributes:
        seed: Draws the population, and with the rest of the plan everything else.
        start_ms: Begin of the window, epoch ms.
        days: Length of the window in days; a fraction gives a live slice with compressed scenarios.
        accounts: Accounts open at any time.
        payments: Payments in the window, all of them.
        fraud_per_100k: Payments per 100,000 whose dispute is accepted as fraud, in the end; more are fraud.
        run: Another run of the same plan has other ids and other draws, but the same accounts.
        drifts: Changes of the world on the way.

    Raises:
        InvalidPlan: A value is out of its range.
    """

    seed: int
    start_ms: int
    days: float
    accounts: int
    payments: int
    fraud_per_100k: float = 5.0
    run: str = ""
    drifts: tuple[Drift, ...] = ()

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
                f"from 0 to {MAX_FRAUD_PER_100K}",
                0 <= self.fraud_per_100k <= MAX_FRAUD_PER_100K,
            ),
        )
        for name, value, wanted, right in checks:
            if not right:
                raise InvalidPlan(f"{name} must be {wanted}, got {value!r}")

    def _window_is_possible(self) -> bool:
        return math.isfinite(self.days) and self.start_ms < self.window[1] < END_MS

    @property
    def window(self) -> Window:
        """Begin (included) and end (excluded), epoch ms."""
        return self.start_ms, self.start_ms + round(self.days * DAY_MS)

    @property
    def accepted_frauds(self) -> int:
        """Number of frauds whose dispute will be accepted."""
        return round(self.payments * self.fraud_per_100k / PER)

    @property
    def honest_disputes(self) -> int:
        """Number of disputes about honest payments.

        As many as were published; a raised rate of fraud raises them, too, but less than in proportion, so that
        small runs with much fraud keep sane labels.
        """
        published_ones = published.CONTESTED_PER_100K - published.ACCEPTED_PER_100K
        rate = min(1.0, self.fraud_per_100k / published.ACCEPTED_PER_100K) * published_ones
        more = max(0.0, self.fraud_per_100k - published.ACCEPTED_PER_100K) * 0.25
        return round(self.payments * (rate + more) / PER)

    def chance(self, stage: int, part: int = 0) -> np.random.Generator:
        """The source of chance of one stage of this plan, for one of its parts."""
        plan = json.dumps(asdict(self), sort_keys=True).encode()
        return np.random.default_rng([int.from_bytes(sha256(plan).digest()), stage, part])
