"""The system's clock. Only roots ask it; everything else is told the time."""

import time


def epoch_ms() -> int:
    """Now, epoch milliseconds."""
    return time.time_ns() // 1_000_000
