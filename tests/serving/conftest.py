import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_by_hand import HandBroker, api, opened
from documented import ApiClient
from past_decisions import PastDecisions, live_through

from pix.store.memory import MemoryStore


@pytest.fixture
def kafka() -> HandBroker:
    return HandBroker()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(kafka: HandBroker, store: MemoryStore) -> Iterator[ApiClient]:
    with opened(api(store, kafka)) as client:
        yield client


@pytest.fixture(scope="session")
def stopped(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> PastDecisions:
    """A home where 150 payments and more were decided, and nothing runs any more."""
    return live_through(tmp_path_factory.mktemp("past"), tracking, "pix_fraud_past", 150)
