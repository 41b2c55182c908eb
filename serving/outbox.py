"""What was committed but not published: the sweeper's and the builder's way to Kafka."""

import time

from serving.running import PUBLISH_SECONDS, Running

DRAIN_SECONDS = 8.0
FOR_EVER_MS = 2**62


async def sweep(running: Running, now_ms: int, older_than_ms: int, limit: int = 500) -> int:
    """Publish what was committed a while ago and is still in the outbox.

    Args:
        running: The service's parts.
        now_ms: Epoch milliseconds.
        older_than_ms: How long ago it must have been committed, milliseconds.
        limit: At most so many messages.

    Returns:
        How many were published.
    """
    store = running.pipeline.store
    waiting = store.unpublished(now_ms - older_than_ms, limit)
    sent = await running.publisher.publish(waiting, PUBLISH_SECONDS)
    store.published(sent)
    return len(sent)


async def drain(running: Running) -> bool:
    """Publish everything that waits in the outbox; whether it is empty then."""
    give_up_at = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < give_up_at:
        if not running.pipeline.store.unpublished(FOR_EVER_MS, 1):
            return True
        await sweep(running, FOR_EVER_MS, 0)
    return False
