"""API keys as they are kept: who holds each, what it opens and until when; never the key itself.

``secrets/keys.json`` holds an HMAC-SHA-256 of each key under a random key of the file. A slow hash (bcrypt) protects
what people can remember; an API key is 256 random bits, which nobody guesses at any speed, and a slow hash would let
strangers spend milliseconds of the service with every wrong key. Every change replaces the file whole; the services
look at it every second (``serving.door``).

KeyFileError
├── NoKeys       the home has no keys yet
├── BadKeyFile   the file cannot be used
└── UnknownKey   no key has this id, or it cannot be renewed
"""

import os
import secrets as random_source
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hmac import digest
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from pix import locks
from pix.contracts.fields import TENANT_SHAPE, StrictMessage
from serving.callers import ALL_TENANTS, SCOPES

KEY_FILE = "keys.json"
LOCAL_KEY_FILE = "api-key"
LOCAL = "local"
KEY_BYTES = 32
PREFIX = "sentinela_"
"""So that a key is found where it should not be, by people and by scanners."""
DAYS = 365
PER_MINUTE = 30_000
BURST = 25_000
"""A client that was away for a while catches up without being refused."""
PATIENCE_SECONDS = 10.0


class KeyFileError(Exception):
    """The keys cannot be used."""


class NoKeys(KeyFileError):
    """The home has no keys yet."""


class BadKeyFile(KeyFileError):
    """The file cannot be used."""


class UnknownKey(KeyFileError):
    """No key has this id, or it cannot be renewed."""


def _known_scope(scope: str) -> str:
    if scope not in SCOPES:
        raise ValueError(f"must be one of {', '.join(SCOPES)}")
    return scope


Scope = Annotated[str, AfterValidator(_known_scope)]
Tenant = Annotated[str, Field(pattern=rf"^({TENANT_SHAPE}|\{ALL_TENANTS})$")]


class StoredKey(StrictMessage):
    """One key.

    Attributes:
        owner: The client; two keys of one owner are the same client.
        rate_per_minute: Requests that it may make on average; None is any number.
        burst: Requests that it may make at once.
    """

    id: str = Field(pattern=r"^[a-z0-9]{1,16}$")
    owner: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    tenants: tuple[Tenant, ...] = Field(min_length=1)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    key_hash: str = Field(pattern="^[0-9a-f]{64}$")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    rate_per_minute: int | None = Field(ge=1)
    burst: int | None = Field(ge=1)

    def ends_at(self) -> datetime | None:
        """From when on it opens nothing; None is never."""
        return min((at for at in (self.expires_at, self.revoked_at) if at is not None), default=None)

    def state(self, now: datetime) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class StoredKeys(StrictMessage):
    """The whole file."""

    hash_key: str = Field(pattern="^[0-9a-f]{64}$")
    keys: tuple[StoredKey, ...]

    def hash_of(self, key: str) -> str:
        """What is kept of a key."""
        return digest(bytes.fromhex(self.hash_key), key.encode(), "sha256").hex()


class KeyFile:
    """The keys of one home; every change is made under a lock, by one process at a time."""

    def __init__(self, folder: Path, random_text: Callable[[int], str] = random_source.token_urlsafe) -> None:
        """Name the file; nothing is read yet.

        Args:
            folder: The home's secrets.
            random_text: Makes text of that many random bytes.
        """
        self.path = folder / KEY_FILE
        self._local = folder / LOCAL_KEY_FILE
        self._lock = folder / f"{KEY_FILE}.lock"
        self._random_text = random_text

    def load(self) -> StoredKeys:
        """The keys as they are kept.

        Raises:
            NoKeys: There is no file.
            BadKeyFile: It cannot be used; the message names the field.
        """
        try:
            return StoredKeys.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            raise NoKeys(f"{self.path} does not exist; `sentinela key create` or `sentinela up` makes it") from None
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BadKeyFile(f"{self.path}: {field or 'the file'}: {first['msg']}; restore it from a copy") from None
        except OSError as error:
            raise BadKeyFile(f"{self.path} cannot be read: {error}") from error

    def create(
        self,
        owner: str,
        scopes: Iterable[str],
        now: datetime,
        *,
        tenants: Iterable[str] = ("default",),
        days: float | None = DAYS,
        rate_per_minute: int | None = PER_MINUTE,
        burst: int | None = BURST,
    ) -> tuple[StoredKey, str]:
        """Make a key; what is kept of it, and the key itself, which is told this once.

        Raises:
            BadKeyFile: The file, or what the key shall be, breaks a rule.
        """
        key = PREFIX + self._random_text(KEY_BYTES)
        with self._changing(may_begin=True) as file:
            made = _stored(
                file,
                key,
                id=random_source.token_hex(4),
                owner=owner,
                tenants=tuple(tenants),
                scopes=tuple(scopes),
                created_at=now,
                expires_at=now + timedelta(days=days) if days is not None else None,
                rate_per_minute=rate_per_minute,
                burst=burst,
            )
            self._write(file, [*file.keys, made])
        return made, key

    def rotate(self, key_id: str, now: datetime, grace: timedelta) -> tuple[StoredKey, str]:
        """Make a key like another one, which works for a while longer.

        Raises:
            UnknownKey: There is none, or it was revoked.
            BadKeyFile: The file cannot be used.
        """
        key = PREFIX + self._random_text(KEY_BYTES)
        with self._changing() as file:
            old = _found(file, key_id)
            if old.revoked_at is not None:
                raise UnknownKey(f"key {key_id} was revoked; `sentinela key create` makes a new one")
            lifetime = old.expires_at - old.created_at if old.expires_at is not None else None
            fresh = {"id": random_source.token_hex(4), "created_at": now}
            fresh |= {"expires_at": now + lifetime if lifetime is not None else None}
            made = _stored(file, key, **{**old.model_dump(exclude={"key_hash", "revoked_at"}), **fresh})
            ends_at = min(filter(None, (old.expires_at, now + grace)))
            retired = old.model_copy(update={"expires_at": ends_at})
            self._write(file, [*(retired if each.id == key_id else each for each in file.keys), made])
            if self._local.exists() and file.hash_of(self._local.read_text().strip()) == old.key_hash:
                _write_whole(self._local, key)
        return made, key

    def revoke(self, key_id: str, now: datetime) -> StoredKey:
        """Take a key's rights away for good.

        Raises:
            UnknownKey: There is none.
            BadKeyFile: The file cannot be used.
        """
        with self._changing() as file:
            old = _found(file, key_id)
            gone = old.model_copy(update={"revoked_at": old.revoked_at or now})
            self._write(file, [gone if each.id == key_id else each for each in file.keys])
        return gone

    def ensure_local(self, now: datetime) -> None:
        """The key that this home's own processes send; made once, it may everything, for every tenant, without limit.

        A key that is there already, revoked or not, is never touched.

        Raises:
            BadKeyFile: The file cannot be used.
        """
        with self._changing(may_begin=True) as file:
            if not self._local.exists():
                _write_whole(self._local, PREFIX + self._random_text(KEY_BYTES))
            key = self._local.read_text().strip()
            if file.hash_of(key) in {each.key_hash for each in file.keys}:
                return
            taken = {each.id for each in file.keys}
            made = _stored(
                file,
                key,
                id=LOCAL if LOCAL not in taken else random_source.token_hex(4),
                owner=LOCAL,
                tenants=(ALL_TENANTS,),
                scopes=tuple(SCOPES),
                created_at=now,
                expires_at=None,
                rate_per_minute=None,
                burst=None,
            )
            self._write(file, [*file.keys, made])

    @contextmanager
    def _changing(self, *, may_begin: bool = False) -> Iterator[StoredKeys]:
        """The file's content while nobody else may change it."""
        if may_begin:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not self.path.exists():
            self.load()
        with locks.held(self._lock, patience_seconds=PATIENCE_SECONDS):
            if self.path.exists():
                yield self.load()
            else:
                yield StoredKeys(hash_key=random_source.token_hex(KEY_BYTES), keys=())

    def _write(self, file: StoredKeys, keys: Iterable[StoredKey]) -> None:
        changed = file.model_copy(update={"keys": tuple(keys)})
        _write_whole(self.path, changed.model_dump_json(indent=2) + "\n")


def _stored(file: StoredKeys, key: str, **fields: object) -> StoredKey:
    try:
        return StoredKey.model_validate({**fields, "key_hash": file.hash_of(key), "revoked_at": None})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise BadKeyFile(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _found(file: StoredKeys, key_id: str) -> StoredKey:
    for each in file.keys:
        if each.id == key_id:
            return each
    raise UnknownKey(f"no key has the id {key_id!r}; `sentinela key list` shows those that there are")


def _write_whole(path: Path, content: str) -> None:
    """Replace a file so that no reader ever sees half of it, also after a power loss; only the owner may read it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
