"""Clear identifiers stop here: tokens for equality, sealing for what nobody may read.

A token is ``k<version>:`` and 192 bits of HMAC-SHA-256 over tenant, kind and value; equal values of
one kind and tenant get equal tokens under one key. Sealed payloads are AES-256-GCM.
"""

import base64
import json
import os
import re
import secrets as random_source
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_FILE = "token-keys.json"
KEY_BYTES = 32
NONCE_BYTES = 12
TOKEN_BYTES = 24
_VERSION = re.compile("k([1-9][0-9]{0,8}):")


class MissingKeys(Exception):
    """The home has no token keys, or not the one that is asked for."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Versioned secret keys.

    A new version becomes current only together with a new generation of the online store: its keys are tokens.

    Attributes:
        current: Version under which new tokens are made.
        keys: 32 secret bytes per version; never shown.
    """

    current: int
    keys: dict[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if self.current not in self.keys:
            raise MissingKeys(f"the current key version is {self.current}, the keyring holds {sorted(self.keys)}")
        if any(version < 1 or len(key) != KEY_BYTES for version, key in self.keys.items()):
            raise MissingKeys(f"every key must be {KEY_BYTES} bytes under a version from 1 on")

    def token(self, tenant: str, kind: str, value: str) -> str:
        """Token of one clear value under the current key."""
        return self._token(self.current, tenant, kind, value)

    def body_token(self, body_sha256: str) -> str:
        """Token of a message body, from the SHA-256 that its sender can compute, too.

        The bare hash would let anyone who knows the other fields try all tax ids.
        """
        return self._token(self.current, "", "body", body_sha256)

    def body_tokens(self, body_sha256: str) -> set[str]:
        """The body's tokens under every known key version."""
        return {self._token(version, "", "body", body_sha256) for version in self.keys}

    def _token(self, version: int, tenant: str, kind: str, value: str) -> str:
        mac = digest(self.keys[version], f"{tenant}\x1f{kind}\x1f{value}".encode(), "sha256")
        return f"k{version}:{base64.urlsafe_b64encode(mac[:TOKEN_BYTES]).decode()}"

    def seal(self, clear: bytes, nonce: Callable[[int], bytes] = os.urandom) -> str:
        """Encrypt a payload; ``open`` reverses it."""
        fresh = nonce(NONCE_BYTES)
        sealed = fresh + AESGCM(self._sealing_key(self.current)).encrypt(fresh, clear, None)
        return f"k{self.current}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str) -> bytes:
        """Decrypt what ``seal`` made.

        Raises:
            cryptography.exceptions.InvalidTag: The text was altered.
            MissingKeys: Its key version is not in this keyring.
        """
        version = key_version(sealed)
        if version not in self.keys:
            raise MissingKeys(f"sealed under key version {version}; this keyring holds {sorted(self.keys)}")
        raw = base64.b64decode(sealed.partition(":")[2])
        return AESGCM(self._sealing_key(version)).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None)

    def _sealing_key(self, version: int) -> bytes:
        # Tokens and sealed payloads must not share a key.
        return digest(self.keys[version], b"sealing", "sha256")


def key_version(text: str) -> int:
    """Key version that travels with a token or a sealed payload.

    Raises:
        ValueError: The text is neither.
    """
    found = _VERSION.match(text)
    if found is None:
        raise ValueError("neither a token nor a sealed payload: those begin with k<version>:")
    return int(found[1])


def ensure_keys(folder: Path) -> None:
    """Make the first token key of a home; an existing one is never touched."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / KEY_FILE
    content = json.dumps({"current": 1, "keys": {"1": random_source.token_hex(KEY_BYTES)}})
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(content)


def load_keyring(folder: Path) -> Keyring:
    """Read the keys of a home.

    Raises:
        MissingKeys: The file is not there yet.
    """
    path = folder / KEY_FILE
    if not path.exists():
        raise MissingKeys(f"{path} does not exist; `sentinela up` makes the keys of a home")
    stored = json.loads(path.read_text())
    return Keyring(stored["current"], {int(version): bytes.fromhex(key) for version, key in stored["keys"].items()})


def body_sha256(body: bytes) -> str:
    """SHA-256 of a message as it was sent, in hex."""
    return sha256(body).hexdigest()
