"""Signatures: what model-signing signs passes here, and nothing else does."""

import base64
import json
import pickle
import random

import pytest
from model_signing import verifying

from learning.errors import ArtefactRefused
from learning.signing import (
    PRIVATE_KEY_FILE,
    PUBLIC_KEY_FILE,
    SIGNATURE_FILE,
    artefact_sha256,
    ensure_signing_keys,
    sign,
    verify,
)


@pytest.fixture
def keys(tmp_path):
    ensure_signing_keys(tmp_path / "secrets")
    return tmp_path / "secrets"


@pytest.fixture
def artefact(tmp_path, keys):
    folder = tmp_path / "7"
    folder.mkdir()
    draw = random.Random(4)
    for name in ("manifest.json", "catboost.json", "evaluation.cbm"):
        (folder / name).write_bytes(draw.randbytes(300))
    sign(folder, keys / PRIVATE_KEY_FILE)
    return folder


def refusal(folder, keys, sha256=None):
    with pytest.raises(ArtefactRefused) as refused:
        verify(folder, sha256 or artefact_sha256(folder), keys / PUBLIC_KEY_FILE)
    return refused.value.reason


def theirs(folder, keys):
    """model-signing's own verifier."""
    verifying.Config().use_elliptic_key_verifier(public_key=keys / PUBLIC_KEY_FILE).verify(
        folder, folder / SIGNATURE_FILE
    )


def test_a_signed_artefact_passes_both_verifiers(artefact, keys):
    verify(artefact, artefact_sha256(artefact), keys / PUBLIC_KEY_FILE)
    theirs(artefact, keys)
    assert refusal(artefact, keys, sha256="0" * 64) == "sha256"


def test_one_changed_bit_anywhere_is_found_by_both(artefact, keys):
    draw, sha256 = random.Random(9), artefact_sha256(artefact)
    for path in sorted(artefact.iterdir()):
        if path.name == SIGNATURE_FILE:
            continue
        whole = path.read_bytes()
        for _ in range(8):
            at = draw.randrange(len(whole))
            changed = bytearray(whole)
            changed[at] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            assert refusal(artefact, keys, sha256) == "tampered"
            with pytest.raises(ValueError, match="mismatch"):
                theirs(artefact, keys)
        path.write_bytes(whole)
    verify(artefact, sha256, keys / PUBLIC_KEY_FILE)


@pytest.mark.parametrize("part", ["sig", "payload"])
def test_a_changed_bit_of_the_signature_or_its_statement_is_found(artefact, keys, part):
    draw, path = random.Random(10), artefact / SIGNATURE_FILE
    for _ in range(8):
        bundle = json.loads(path.read_bytes())
        envelope = bundle["dsseEnvelope"]
        holder = envelope["signatures"][0] if part == "sig" else envelope
        raw = bytearray(base64.b64decode(holder[part]))
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        whole = path.read_bytes()
        holder[part] = base64.b64encode(raw).decode()
        path.write_text(json.dumps(bundle))
        assert refusal(artefact, keys) == "wrong_key"
        path.write_bytes(whole)


def test_another_key_is_not_trusted(artefact, keys, tmp_path):
    ensure_signing_keys(tmp_path / "others")
    assert refusal(artefact, tmp_path / "others") == "wrong_key"
    (artefact / SIGNATURE_FILE).unlink()
    sign(artefact, tmp_path / "others" / PRIVATE_KEY_FILE)
    assert refusal(artefact, keys) == "wrong_key"


def test_without_signature_or_key_nothing_passes(artefact, keys, tmp_path):
    assert refusal(artefact, tmp_path) == "no_key"
    (artefact / SIGNATURE_FILE).write_text("{}")
    assert refusal(artefact, keys) == "unsigned"
    (artefact / SIGNATURE_FILE).unlink()
    assert refusal(artefact, keys) == "unsigned"


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_under_a_models_name_is_not_opened(artefact, keys):
    (artefact / "evaluation.cbm").write_bytes(pickle.dumps(Bomb()))
    assert refusal(artefact, keys) == "tampered"


def test_a_file_more_a_file_less_or_a_link_is_found(artefact, keys):
    (artefact / "more.py").write_text("")
    assert refusal(artefact, keys) == "tampered"
    (artefact / "more.py").unlink()
    content = (artefact / "evaluation.cbm").read_bytes()
    (artefact / "evaluation.cbm").unlink()
    assert refusal(artefact, keys) == "tampered"
    elsewhere = artefact.parent / "elsewhere"
    elsewhere.write_bytes(content)
    (artefact / "evaluation.cbm").symlink_to(elsewhere)
    with pytest.raises(ArtefactRefused, match="no plain file"):
        verify(artefact, "0" * 64, keys / PUBLIC_KEY_FILE)


def test_a_home_keeps_its_first_pair_and_its_owner_alone_reads_the_private_key(keys):
    before = (keys / PRIVATE_KEY_FILE).read_bytes(), (keys / PUBLIC_KEY_FILE).read_bytes()
    ensure_signing_keys(keys)
    assert before == ((keys / PRIVATE_KEY_FILE).read_bytes(), (keys / PUBLIC_KEY_FILE).read_bytes())
    assert (keys / PRIVATE_KEY_FILE).stat().st_mode & 0o777 == 0o600
    (keys / PRIVATE_KEY_FILE).unlink()
    ensure_signing_keys(keys)
    assert not (keys / PRIVATE_KEY_FILE).exists(), "a home that only serves must not begin to sign"
