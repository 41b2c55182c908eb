"""What a worker says about its state now, beside what it counts: readiness, store, outbox, model and policy."""

from pix.store.errors import StoreError
from serving.front import why_not
from serving.metrics import GENERATION, MODEL, OUTAGE, OUTBOX, OUTBOX_AGE, POLICY_VERSION, READY, UNDER_WAY
from serving.running import Running


def take(running: Running, now_ms: int) -> None:
    """Set the gauges; asks the store, so it belongs into a thread, about once a second.

    Args:
        running: The service's parts.
        now_ms: Epoch milliseconds.
    """
    meters, models = running.meters, running.models
    meters.set(READY, float(why_not(running) is None))
    meters.set(OUTAGE, float(running.outage.reason is not None))
    meters.set(UNDER_WAY, running.under_way)
    meters.show(POLICY_VERSION, (running.pipeline.policy().version,))
    if models is not None:
        held = {"champion": models.champion, "challenger": models.challenger}
        meters.show(MODEL, *((alias, model.ref.version) for alias, model in held.items() if model is not None))
    try:
        active, waiting = running.pipeline.store.active(), running.pipeline.store.waiting()
    except StoreError:
        # Breakers and outage tell of it; the last known values would look like news.
        meters.set(GENERATION, 0)
        return
    meters.set(GENERATION, active.number if active else 0)
    meters.set(OUTBOX, waiting.messages)
    meters.set(OUTBOX_AGE, max(0.0, (now_ms - waiting.oldest_ms) / 1000) if waiting.oldest_ms is not None else 0)
