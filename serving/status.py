"""What the online store holds and how it is, as ``GET /v1/store`` shows it."""

from pix.engines.layout import STATE_LAYOUT
from pix.logged import DEGRADED_STORE
from pix.store.errors import StoreError
from pix.store.interface import Store
from serving.breakers import Breakers
from serving.outage import Outage

MAX_WAITING_COUNTED = 10_000


def of_store(store: Store, now_ms: int, problem: str | None, outage: Outage, breakers: Breakers) -> dict[str, object]:
    """The store's status; what only it knows is null while it does not answer. Reads every key: not for the loop.

    Args:
        store: The online store.
        now_ms: Epoch milliseconds.
        problem: Why it cannot be used, as its keeper has it.
        outage: Of this process.
        breakers: Of this process.
    """
    try:
        held = _held(store, now_ms)
    except StoreError as away:
        problem = problem or str(away)
        held = {"generation": None, "states": None, "unpublished": None, "generations": []}
    return {
        **held,
        "layout": STATE_LAYOUT,
        "problem": problem,
        "mode": DEGRADED_STORE if outage.reason else "normal",
        "outage": outage.reason,
        "warnings": store.warnings(),
        "breakers": breakers.described(),
    }


def _held(store: Store, now_ms: int) -> dict[str, object]:
    active = store.active()
    return {
        "generation": active.number if active else 0,
        "states": store.count(),
        "unpublished": len(store.unpublished(now_ms + 1, MAX_WAITING_COUNTED)),
        "generations": [each.described() for each in store.generations()],
    }
