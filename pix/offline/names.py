"""Names of histories, and how a tenant tells which history a row belongs to.

Histories are kept apart by their tenant (``pix.contracts.history_tenant``): every key, token and id of an
imported payment carries it, so two histories never share an account. The history ``live`` is the past of the
live traffic and has the plain tenant.

UnusableName        a text that cannot name a history
"""

import re
from typing import TYPE_CHECKING

from pix.contracts import LIVE_HISTORY

if TYPE_CHECKING:
    from pyspark.sql import Column

PATTERN = r"[a-z0-9][a-z0-9_-]{0,31}"


class UnusableName(Exception):
    """A text that cannot name a history."""


def usable(name: str) -> str:
    """The name itself.

    Raises:
        UnusableName: It cannot name a history.
    """
    if not re.fullmatch(PATTERN, name):
        raise UnusableName(
            f"{name!r} cannot name a history: 1 to 32 of a-z, 0-9, - and _, the first a letter or digit, such as "
            f"'bank-2025'; {LIVE_HISTORY!r} is the past of the live traffic"
        )
    return name


def history_of(tenant: str) -> "Column":
    """The history that a row belongs to, by the column of its tenant."""
    from pyspark.sql import functions as f

    return f.when(f.instr(tenant, "@") > 0, f.substring_index(tenant, "@", -1)).otherwise(f.lit(LIVE_HISTORY))


def is_live(tenant: str) -> "Column":
    """Whether a row belongs to the live traffic or its past, by the column of its tenant, or of its state's key."""
    from pyspark.sql import functions as f

    return f.instr(f.substring_index(tenant, "|", 1), "@") == 0
