"""``python -m learning.fetching RUN FOLDER``: brings a run's artefact here by MLflow's client.

For whoever must not have that client in its own process: it takes seconds to load, during which Python does little
else, and 70 MB that stay. ``MLFLOW_TRACKING_URI`` names the server, because an address may hold a password and others
can read a command line.
"""

import os
import subprocess
import sys
from pathlib import Path

from learning.errors import RegistryError
from learning.registry import MLFLOW_ENVIRONMENT, artefact_of, shown

GIVEN_UP_SECONDS = 120.0


def fetch_apart(uri: str, run_id: str, folder: Path) -> Path:
    """What ``registry.artefact_of`` does, in a process of its own.

    Raises:
        RegistryError: MLflow does not give it.
    """
    command = [sys.executable, "-m", "learning.fetching", run_id, str(folder)]
    environment = {**os.environ, **MLFLOW_ENVIRONMENT, "MLFLOW_TRACKING_URI": uri}
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, env=environment, capture_output=True, text=True, timeout=GIVEN_UP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise RegistryError(f"MLflow at {shown(uri)} did not give it within {GIVEN_UP_SECONDS:.0f} s") from late
    if done.returncode:
        raise RegistryError((done.stderr.strip().splitlines() or ["no reason was given"])[-1])
    return Path(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Fetch, and say where it lies."""
    run_id, folder = sys.argv[1:]
    try:
        fetched = artefact_of(os.environ["MLFLOW_TRACKING_URI"], run_id, Path(folder))
    except RegistryError as error:
        sys.exit(" ".join(str(error).split()))
    sys.stdout.write(f"{fetched}\n")


if __name__ == "__main__":
    main()
