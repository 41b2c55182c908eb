"""Signatures of model artefacts, in the format of OpenSSF Model Signing.

Training signs with the library ``model-signing``. Verifying is done here with ``cryptography`` alone: that library
brings 640 modules, 51 MB and 0.7 s into a service which needs one ECDSA verification and a hash per file. A test
holds both verifiers against each other.

The signature is a Sigstore bundle around a DSSE envelope around an in-toto statement that names every file of the
artefact with its SHA-256. Nothing in the artefact is parsed before it was verified; the bundle itself is read first,
as strict JSON.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from learning.errors import ArtefactRefused
from pix.contracts import InvalidMessage, parse_json_object

SIGNATURE_FILE = "model.sig"
PRIVATE_KEY_FILE = "model-signing-key.pem"
PUBLIC_KEY_FILE = "model-signing-key.pub.pem"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MAX_BUNDLE_BYTES = 2**20


def ensure_signing_keys(folder: Path) -> None:
    """Make the key pair of a home, readable by its owner only; an existing one is never touched.

    A home that only has the public key serves what is trained elsewhere, and stays so.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / PUBLIC_KEY_FILE).exists():
        return
    if not (folder / PRIVATE_KEY_FILE).exists():
        _write_private_key(folder)
    private = serialization.load_pem_private_key((folder / PRIVATE_KEY_FILE).read_bytes(), None)
    beside = folder / f".{PUBLIC_KEY_FILE}.{os.getpid()}"
    beside.write_bytes(_public_pem(private.public_key()))
    beside.replace(folder / PUBLIC_KEY_FILE)


def _write_private_key(folder: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    beside = folder / f".{PRIVATE_KEY_FILE}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    try:
        # A link appears whole or not at all, and only for the first of several processes.
        os.link(beside, folder / PRIVATE_KEY_FILE)
    except FileExistsError:
        pass
    finally:
        beside.unlink()


def _public_pem(key: Any) -> bytes:
    pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


def sign(folder: Path, private_key: Path) -> None:
    """Write ``model.sig`` over every file of an artefact."""
    from model_signing import hashing, signing

    rules = (
        hashing.Config()  # type: ignore[no-untyped-call]
        .use_file_serialization(hashing_algorithm="sha256")
        .set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)
    )
    signer = signing.Config().use_elliptic_key_signer(private_key=private_key)  # type: ignore[no-untyped-call]
    signer.set_hashing_config(rules).sign(folder, folder / SIGNATURE_FILE)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def artefact_sha256(folder: Path) -> str:
    """SHA-256 of an artefact: of the lines ``<sha256>  <file>`` of all its files but the signature, by name."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(_digests(folder).items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verify(folder: Path, sha256: str, public_key: Path) -> None:
    """Let an artefact pass whose bytes are the registered and the signed ones.

    Args:
        folder: Its files, the signature among them.
        sha256: What ``artefact_sha256`` gave when it was registered.
        public_key: PEM file of the key that it must be signed with.

    Raises:
        ArtefactRefused: Why it must not be read.
    """
    found = _digests(folder)
    signed = _signed_digests(folder, _public_key(public_key))
    if found != signed:
        wrong = sorted(name for name in found.keys() | signed.keys() if found.get(name) != signed.get(name))
        raise ArtefactRefused(
            "tampered",
            f"{folder.name}: {', '.join(wrong[:5])} {'are' if len(wrong) > 1 else 'is'} not what was signed; the "
            "artefact was changed after training, train and register again",
        )
    if (actual := artefact_sha256(folder)) != sha256:
        raise ArtefactRefused(
            "sha256",
            f"{folder.name} is registered with SHA-256 {sha256}, but has {actual}: it is another signed artefact; "
            "train and register again",
        )


def _digests(folder: Path) -> dict[str, str]:
    """File -> its SHA-256; an artefact is a flat folder of plain files."""
    found = {}
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            raise ArtefactRefused("tampered", f"{folder.name}: {path.name} is no plain file; register again")
        if path.name != SIGNATURE_FILE:
            found[path.name] = file_sha256(path)
    return found


def _public_key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as missing:
        raise ArtefactRefused(
            "no_key",
            f"the public key of training cannot be read: {missing}; `sentinela up` makes a pair, or copy "
            f"{PUBLIC_KEY_FILE} from where models are trained",
        ) from missing
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ArtefactRefused("no_key", f"{path} is no public key on the curve P-256")
    return key


def _signed_digests(folder: Path, key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """What the signature says of the files, once it is found to be by this key."""
    path = folder / SIGNATURE_FILE
    try:
        bundle = parse_json_object(path.read_bytes(), MAX_BUNDLE_BYTES)
        envelope = bundle["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        raw, payload = (base64.b64decode(part, validate=True) for part in (signature["sig"], envelope["payload"]))
        kinds = (bundle["mediaType"], envelope["payloadType"])
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    except FileNotFoundError as missing:
        raise ArtefactRefused(
            "unsigned",
            f"{folder.name} has no {SIGNATURE_FILE}: it was not signed by training; train and register again",
        ) from missing
    except (OSError, InvalidMessage, KeyError, TypeError, ValueError, binascii.Error) as broken:
        raise ArtefactRefused(
            "unsigned", f"{folder.name}: {SIGNATURE_FILE} is no signature bundle ({broken}); train and register again"
        ) from broken
    if kinds != (BUNDLE_TYPE, PAYLOAD_TYPE):
        raise ArtefactRefused("unsigned", f"{folder.name}: {SIGNATURE_FILE} is of another kind, {kinds}")
    if hint != hashlib.sha256(_public_pem(key)).hexdigest():
        raise ArtefactRefused(
            "wrong_key", f"{folder.name} is signed with another key (hint {hint}) than this service trusts; see "
            f"{PUBLIC_KEY_FILE} in the secrets"
        )  # fmt: skip
    try:
        key.verify(raw, _to_be_signed(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as forged:
        raise ArtefactRefused(
            "wrong_key", f"{folder.name}: {SIGNATURE_FILE} was not made by the trusted key, or was changed since"
        ) from forged
    return _files_of(folder.name, payload)


def _to_be_signed(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b" ".join([b"DSSEv1 %d %s %d" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload)), payload])


def _files_of(name: str, payload: bytes) -> dict[str, str]:
    """File -> SHA-256 in a statement whose signature was verified."""
    try:
        statement = parse_json_object(payload, MAX_BUNDLE_BYTES)
        kinds = (statement["_type"], statement["predicateType"])
        files = {one["name"]: one["digest"] for one in statement["predicate"]["resources"]}
        algorithms = {one["algorithm"] for one in statement["predicate"]["resources"]}
        (subject,) = statement["subject"]
        root = hashlib.sha256(b"".join(map(bytes.fromhex, files.values()))).hexdigest()
        is_consistent = subject["digest"]["sha256"] == root
    except (InvalidMessage, KeyError, TypeError, ValueError) as broken:
        raise ArtefactRefused("unsigned", f"{name}: the signed statement cannot be read: {broken}") from broken
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE) or algorithms != {"sha256"} or not is_consistent:
        raise ArtefactRefused("unsigned", f"{name}: the signed statement is no list of SHA-256 of a model's files")
    return files
