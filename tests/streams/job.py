"""A scoring or label job as a process of its own, so that tests can kill it."""

import json
import random
import sys
from pathlib import Path

from fraud_streaming import labels, scoring
from fraud_streaming.lifetime import Cadence, Stop
from pix.tokens import load_keyring


def main(name: str, bootstrap: str, url: str, keys: str, wait_seconds: str = "3", member: str = "1") -> None:
    """Run until SIGTERM; what it tells goes to stdout, a JSON document a line."""
    stop = Stop()
    stop.arm()
    common = {
        # The least that a broker allows.
        "kafka": {"bootstrap.servers": bootstrap, "session.timeout.ms": "6000"},
        "service_url": url,
        "api_key": "key",
        "keyring": load_keyring(Path(keys)),
        "randomness": random.Random(3),
        "stop": stop,
        "report": lambda told: print(json.dumps(told), flush=True),  # noqa: T201
        "cadence": Cadence(every_seconds=1, first_seconds=0.5),
    }
    if name == "scoring":
        scoring.run(**common, member=int(member))  # type: ignore[arg-type]
    else:
        labels.run(**common, wait_seconds=float(wait_seconds))  # type: ignore[arg-type]


main(*sys.argv[1:])
