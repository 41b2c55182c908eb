"""Which key opens: the keys as of the last look at their file, each with its caller and its allowance.

A key is looked up by its hash, which nobody can compute without the file, so the time that this takes says nothing
about any key. A file that cannot be used never replaces what is known.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import digest
from pathlib import Path

from throttled.store import MemoryStore

from serving.callers import ALL_TENANTS, SCOPES, Caller
from serving.keys import KEY_BYTES, LOCAL, KeyFile, KeyFileError, StoredKey, StoredKeys
from serving.limits import CLIENTS, Allowance, Attempts

log = logging.getLogger(__name__)

BEARER = b"Bearer "
LONGEST = 512


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a key.

    Attributes:
        caller: The client and what this key lets it do.
        ends_at_ms: From when on the key opens nothing, epoch milliseconds; None is never.
        allowance: What the client may still ask; None is anything.
    """

    caller: Caller
    ends_at_ms: float | None
    allowance: Allowance | None


class Door:
    """Knows every key's holder."""

    def __init__(self, keys: StoredKeys, now_ms: Callable[[], int]) -> None:
        """Begin with these keys.

        Args:
            keys: As they are kept.
            now_ms: The clock, epoch milliseconds.
        """
        self.attempts = Attempts()
        self._now_ms = now_ms
        self._clients = MemoryStore(options={"MAX_SIZE": CLIENTS})
        self.take(keys)

    def take(self, keys: StoredKeys) -> None:
        """Use these keys from now on; what clients have used up stays so."""
        self._hash_key = bytes.fromhex(keys.hash_key)
        self._holders = {bytes.fromhex(each.key_hash): self._holder(each) for each in keys.keys}

    def _holder(self, key: StoredKey) -> Holder:
        ends_at = key.ends_at()
        is_limited = key.rate_per_minute is not None and key.burst is not None
        return Holder(
            Caller(key.owner, frozenset(key.scopes), frozenset(key.tenants)),
            ends_at.timestamp() * 1000 if ends_at is not None else None,
            Allowance(key.owner, key.rate_per_minute or 1, key.burst or 1, self._clients) if is_limited else None,
        )

    def holder(self, headers: Iterable[tuple[bytes, bytes]]) -> Holder | None:
        """Who sent a request with these headers; None without exactly one key that opens now."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1 or len(given[0]) > LONGEST or not given[0].startswith(BEARER):
            return None
        found = self._holders.get(digest(self._hash_key, given[0][len(BEARER) :], "sha256"))
        if found is None or (found.ends_at_ms is not None and found.ends_at_ms <= self._now_ms()):
            return None
        return found


class KeyWatch:
    """Brings changes of the key file to a door."""

    def __init__(self, folder: Path, now_ms: Callable[[], int]) -> None:
        """Read the keys.

        Args:
            folder: The home's secrets.
            now_ms: The clock, epoch milliseconds.

        Raises:
            KeyFileError: There are none, or they cannot be used.
        """
        self._file = KeyFile(folder)
        self._seen = self._signature()
        self.door = Door(self._file.load(), now_ms)

    def look(self) -> None:
        """Take the file over if it is another one than before."""
        signature = self._signature()
        if signature == self._seen:
            return
        try:
            self.door.take(self._file.load())
        except KeyFileError as error:
            log.error("the keys stay as they were: %s", error)
        self._seen = signature

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            told = self._file.path.stat()
        except OSError:
            return None
        return told.st_ino, told.st_mtime_ns, told.st_size


def door_by_hand(keys: Mapping[str, Mapping[str, object]], now_ms: Callable[[], int]) -> Door:
    """A door with keys that are written nowhere, for a service without a home.

    Args:
        keys: Key -> fields of ``StoredKey`` that are other than those of a local key.
        now_ms: The clock, epoch milliseconds.
    """
    made = StoredKeys(hash_key="00" * KEY_BYTES, keys=())
    local: dict[str, object] = {
        **{"owner": LOCAL, "tenants": (ALL_TENANTS,), "scopes": tuple(SCOPES)},
        **dict.fromkeys(("expires_at", "revoked_at", "rate_per_minute", "burst")),
        "created_at": datetime.fromtimestamp(now_ms() / 1000, UTC),
    }
    stored = [
        StoredKey.model_validate({**local, "id": f"key{number}", **fields, "key_hash": made.hash_of(key)})
        for number, (key, fields) in enumerate(keys.items())
    ]
    return Door(made.model_copy(update={"keys": tuple(stored)}), now_ms)
