"""One item of a batch: what it is told when it alone is refused."""

from pix.contracts import InvalidMessage
from pix.store.errors import StoreError
from serving.callers import NotAllowed
from serving.outcomes import TooManyRaces
from serving.problems import FORBIDDEN, INVALID_FIELDS, STORE_UNAVAILABLE, TOO_MANY_RACES, problem

REFUSALS = (InvalidMessage, NotAllowed, StoreError, TooManyRaces)
"""What refuses an item and lets the others go on."""


def refused(error: Exception) -> dict[str, object]:
    """The result of an item that one of ``REFUSALS`` ended: its status and the problem."""
    if isinstance(error, InvalidMessage):
        return {"status": INVALID_FIELDS.status, "problem": problem(INVALID_FIELDS, str(error), error.errors)}
    if isinstance(error, NotAllowed):
        return {"status": FORBIDDEN.status, "problem": problem(FORBIDDEN, str(error))}
    kind = TOO_MANY_RACES if isinstance(error, TooManyRaces) else STORE_UNAVAILABLE
    return {"status": kind.status, "problem": problem(kind, str(error))}
