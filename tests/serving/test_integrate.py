"""docs/integrate.md, typed as it stands: every command and every line of Python, against a real server."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from api_by_hand import HandBroker, api
from serving_by_hand import served

from pix.clock import epoch_ms
from pix.store.memory import MemoryStore
from serving.door import KeyWatch
from serving.keys import KeyFile
from serving.trial_accounts import TEST_ACCOUNTS
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "integrate.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
# What sets up and starts the whole instance is the end-to-end test's.
STARTS = "make setup\n.venv/bin/sentinela up\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """A service on this folder's keys, which it looks at as often as it likes."""
    secrets = tmp_path / ".sentinela" / "secrets"
    KeyFile(secrets).ensure_local(datetime.now(UTC))
    app: Any = api(MemoryStore(), HandBroker(), clock=epoch_ms, test_accounts=TEST_ACCOUNTS)  # type: ignore[arg-type]
    watch, is_over = KeyWatch(secrets, epoch_ms), threading.Event()
    app.state.running.door = watch.door

    def looking() -> None:
        while not is_over.wait(0.02):
            watch.look()

    thread = threading.Thread(target=looking)
    thread.start()
    with served(app) as (_, port):
        yield f"http://127.0.0.1:{port}"
    is_over.set()
    thread.join()


def test_the_page_works_as_it_stands(service: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENTINELA_")}
    environment["PYTHONPATH"] = f"{REPOSITORY}:{REPOSITORY / 'clients' / 'python'}"
    command = f"{sys.executable} -c 'from sentinela.cli import main; main()'"
    typed = [(kind, text) for kind, text in BLOCKS if text != STARTS]
    assert len(typed) == len(BLOCKS) - 1 == 5
    for kind, text in typed:
        here = text.replace("http://127.0.0.1:3000", service).replace(".venv/bin/sentinela", command)
        words = ["bash", "-euo", "pipefail", "-c", here] if kind == "bash" else [sys.executable, "-c", here]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        # A service takes a change of the keys over within a second.
        time.sleep(0.1)
    old = KeyFile(tmp_path / ".sentinela" / "secrets").load().keys[1]
    assert old.revoked_at is not None
