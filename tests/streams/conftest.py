"""Fixtures of the streams' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pix.tokens import Keyring, ensure_keys, load_keyring
from tests.streams.support import create_topics, delete_topics


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Fresh keys."""
    folder: Path = tmp_path_factory.mktemp("keys")
    ensure_keys(folder)
    return load_keyring(folder)


@pytest.fixture
def topics(broker: str) -> Iterator[str]:
    """The broker with the five topics, empty."""
    create_topics(broker)
    yield broker
    delete_topics(broker)
