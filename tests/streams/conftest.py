"""Fixtures of the streams' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pix.tokens import Keyring, ensure_keys, load_keyring
from tests.streams.support import create_topics, delete_topics
from tests.streams.workers import Workers


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Fresh keys."""
    folder: Path = tmp_path_factory.mktemp("keys")
    ensure_keys(folder)
    return load_keyring(folder)


@pytest.fixture
def topics(broker: str) -> Iterator[str]:
    """The broker with every topic, empty."""
    create_topics(broker)
    yield broker
    delete_topics(broker)


@pytest.fixture(scope="module")
def two_workers(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Two workers that a file's tests share, over topics of their own."""
    create_topics(broker)
    made = Workers(broker, tmp_path_factory.mktemp("workers"))
    yield made
    made.end()
    delete_topics(broker)


@pytest.fixture
def workers(two_workers: Workers) -> Workers:
    """Both workers alive, whoever used them before."""
    for place in range(2):
        two_workers.bury(place)
        two_workers.bear(place)
    return two_workers
