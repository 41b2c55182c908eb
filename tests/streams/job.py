"""A scoring or label job as a process of its own, so that tests can kill it."""

import random
import sys
from pathlib import Path

from fraud_streaming import labels, scoring
from fraud_streaming.lifetime import Cadence, Stop
from pix.tokens import load_keyring


def main(name: str, bootstrap: str, url: str, keys: str, wait_seconds: str = "3") -> None:
    """Run until SIGTERM."""
    stop = Stop()
    stop.arm()
    common = {
        "kafka": {"bootstrap.servers": bootstrap},
        "service_url": url,
        "api_key": "key",
        "keyring": load_keyring(Path(keys)),
        "randomness": random.Random(3),
        "stop": stop,
        "report": lambda told: sys.stdout.write(f"{told}\n"),
        "cadence": Cadence(every_seconds=1, first_seconds=0.5),
    }
    if name == "scoring":
        scoring.run(**common)  # type: ignore[arg-type]
    else:
        labels.run(**common, wait_seconds=float(wait_seconds))  # type: ignore[arg-type]


main(*sys.argv[1:])
