import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_by_hand import HandBroker, api, opened
from documented import ApiClient

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
