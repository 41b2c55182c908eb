"""The scoring job as a process of its own, until SIGTERM: ``python -m benchmarks.scoring_job``; settings as ever."""

import random

from fraud_streaming import scoring
from fraud_streaming.lifetime import Stop
from pix.settings import Settings
from pix.tokens import load_keyring

if __name__ == "__main__":
    settings, stop = Settings(), Stop()
    stop.arm()
    scoring.run(
        kafka=settings.kafka,
        service_url=settings.service,
        api_key=(settings.secrets / "api-key").read_text().strip(),
        keyring=load_keyring(settings.secrets),
        randomness=random.SystemRandom(),
        stop=stop,
        report=lambda _: None,
    )
