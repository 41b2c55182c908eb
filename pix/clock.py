"""The system's clock: for whatever runs by itself. What computes is told the time."""

import time


def epoch_ms() -> int:
    """Now, epoch milliseconds."""
    return time.time_ns() // 1_000_000
