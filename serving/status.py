"""What the online store holds and how it is, as ``GET /v1/store`` shows it."""

from pix.engines.layout import STATE_LAYOUT
from pix.logged import DEGRADED_STORE
from pix.store.errors import StoreError
from pix.store.interface import Store
from serving.breakers import Breakers
from serving.outage import Outage


def of_store(store: Store, problem: str | None, outage: Outage, breakers: Breakers) -> dict[str, object]:
    """The store's status; what only it knows is null while it does not answer. Reads every key: not for the loop.

    Args:
        store: The online store.
        problem: Why it cannot be used, as its keeper has it.
        outage: Of this process.
        breakers: Of this process.
    """
    try:
        held = _held(store)
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


def _held(store: Store) -> dict[str, object]:
    active = store.active()
    return {
        "generation": active.number if active else 0,
        "states": store.count(),
        "unpublished": store.waiting().messages,
        "generations": [each.described() for each in store.generations()],
    }
