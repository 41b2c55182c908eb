"""Tokens carry their key's version; keys are never shown; two versions live side by side."""

import re

import pytest

from pix.contracts.fields import Token
from pix.tokens import Keyring, MissingKeys, body_sha256, key_version

OLD = Keyring(1, {1: b"a" * 32})
BOTH = Keyring(2, {1: b"a" * 32, 2: b"b" * 32})


def test_the_version_travels_with_every_token() -> None:
    shape = Token.__metadata__[0].metadata[0].pattern
    for keyring, version in ((OLD, 1), (BOTH, 2)):
        for text in (keyring.token("default", "account", "x"), keyring.body_token(body_sha256(b"x"))):
            assert key_version(text) == version
            assert re.fullmatch(shape, text)
        assert key_version(keyring.seal(b"x")) == version


def test_a_new_key_makes_new_tokens_and_still_reads_what_the_old_one_sealed() -> None:
    assert OLD.token("default", "account", "x") != BOTH.token("default", "account", "x")
    assert BOTH.open(OLD.seal(b"clear")) == b"clear"
    assert OLD.body_token(body_sha256(b"x")) in BOTH.body_tokens(body_sha256(b"x"))
    with pytest.raises(MissingKeys, match="version 2"):
        OLD.open(BOTH.seal(b"clear"))


def test_the_same_secret_under_another_version_still_makes_another_text() -> None:
    moved = Keyring(2, {1: b"a" * 32, 2: b"a" * 32})
    assert moved.token("default", "account", "x") != OLD.token("default", "account", "x")


def test_tenant_and_kind_cannot_be_shifted_into_the_value() -> None:
    assert OLD.token("a", "bc", "d") != OLD.token("ab", "c", "d")
    assert OLD.token("a", "b", "cd") != OLD.token("a", "bc", "d")


def test_two_seals_of_one_text_differ() -> None:
    assert OLD.seal(b"clear") != OLD.seal(b"clear")


def test_keys_are_not_shown() -> None:
    assert "aaa" not in repr(OLD)
    assert "6161" not in repr(OLD)


@pytest.mark.parametrize(("current", "keys"), [(2, {1: b"a" * 32}), (1, {1: b"short"}), (0, {0: b"a" * 32})])
def test_a_keyring_without_a_usable_key_is_refused(current: int, keys: dict[int, bytes]) -> None:
    with pytest.raises(MissingKeys, match="version"):
        Keyring(current, keys)


@pytest.mark.parametrize("text", ["", "12345678909", "k:abc", "k01:abc", "K1:abc"])
def test_what_carries_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        key_version(text)
