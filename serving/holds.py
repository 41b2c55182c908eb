"""Until when a decision waits for a person, and what happens then. Pure: action, time and policy in, a hold out.

Payments under suspicion may be held for 30 minutes by day and 60 at night or on days that are none of business
(the rules for Pix); night is from 20 h to 6 h in Brasilia, as it is for the limits at night.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from serving.policy import Policy

BRASILIA = ZoneInfo("America/Sao_Paulo")
DAY_BEGINS_HOUR, NIGHT_BEGINS_HOUR = 6, 20
SATURDAY = 5
# Banks are closed on these, although the law makes them no public holidays.
CLOSED = ("Carnaval", "Corpus Christi")


@dataclass(frozen=True, slots=True)
class Hold:
    """A decision that waits for a person.

    Attributes:
        expires_at_ms: When it ends by itself, epoch milliseconds.
        outcome: What happens to the payment then, ALLOW or BLOCK.
    """

    expires_at_ms: int
    outcome: str

    def described(self) -> dict[str, str]:
        """As it stands on a decision."""
        at = datetime.fromtimestamp(self.expires_at_ms / 1000, UTC)
        return {"expires_at": at.isoformat(timespec="milliseconds"), "outcome": self.outcome}


def hold_of(action: str, decided_at_ms: int, policy: Policy) -> Hold | None:
    """The hold of a decision, None where the policy declares none for its action.

    Args:
        action: What was decided.
        decided_at_ms: When, epoch milliseconds; how long depends on what time that is in Brasilia.
        policy: By which it was decided.
    """
    terms = policy.holds.get(action)
    if terms is None:
        return None
    minutes = terms.minutes_by_day if is_by_day(decided_at_ms) else terms.minutes_otherwise
    return Hold(decided_at_ms + minutes * 60_000, terms.outcome)


def is_by_day(at_ms: int) -> bool:
    """Whether it is day in Brasilia, on a day of business."""
    # Whole numbers, because a float of seconds would lose the last millisecond before six.
    local = (datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)).astimezone(BRASILIA)
    if not DAY_BEGINS_HOUR <= local.hour < NIGHT_BEGINS_HOUR or local.weekday() >= SATURDAY:
        return False
    return local.date() not in bank_holidays(local.year)


@lru_cache(maxsize=8)
def bank_holidays(year: int) -> frozenset[date]:
    """Days of a year on which the banks of all Brazil are closed, weekends aside."""
    public = holidays.country_holidays("BR", years=year)
    # Their names would else come in the language of the process's environment.
    optional = holidays.country_holidays("BR", years=year, categories=(holidays.OPTIONAL,), language="pt_BR")
    return frozenset(public) | {day for day, name in optional.items() if name.startswith(CLOSED)}
