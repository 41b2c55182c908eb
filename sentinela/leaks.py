"""`sentinela leaks`: does anything in this home still show whom a payment was about?

Every clear tax id, key, phone, e-mail and account of the given messages is looked for in every file of the
home (Parquet decoded, archives opened) and in every topic but the senders' own. Texts are cut into the words
that could be such identifiers, and the words are looked up: one pass over the bytes, however many
identifiers there are.
"""

import errno
import gzip
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pix import topics
from pix.identifiers import pix_key_type
from pix.settings import Settings
from sentinela.errors import BadUse, NotRunning
from sentinela.progress import Say

if TYPE_CHECKING:
    import pyarrow as pa
    from confluent_kafka import Consumer

CHUNK_BYTES = 1024 * 1024
# Longer than any identifier, so that none is cut in two at the end of a chunk.
OVERLAP_BYTES = 256
CLEAR_FIELDS = ("payer_tax_id", "payee_tax_id", "pix_key", "payer_account", "payee_account")
# Every identifier but a mail lies in such a run; packed numbers have hardly any.
RUNS = re.compile(rb"[0-9A-Za-z%+-]{11,}")
# A run of exactly as many places: an epoch time of thirteen digits must not be taken for a CPF.
WORDS = re.compile(
    rb"(?<![0-9])[0-9]{11}(?![0-9])"
    rb"|(?<![0-9A-Z])[0-9A-Z]{12}[0-9]{2}(?![0-9A-Z])"
    rb"|(?:\+|%2[Bb])55[0-9]{8,13}(?![0-9])"
    rb"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    rb"|[0-9A-Z]{8}-[0-9]{4}-[0-9]{1,13}(?![0-9])"
)
# Looked for around each @ between two letters: from the front, a pattern would try every place of every long word.
AT = re.compile(rb"(?<=[A-Za-z0-9.!#$&'*+/=?^_`{|}~-])@(?=[A-Za-z0-9.-])")
BEFORE_AT = re.compile(rb"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]+\Z")
AFTER_AT = re.compile(rb"[A-Za-z0-9.-]+")
LONGEST_MAIL = 77
# Broker's files: the senders' own topic is theirs, and the others are read through the broker, decompressed.
BROKER_LOGS = re.compile(r"(^|/)kafka/.*\.(log|index|timeindex|snapshot)$")
# Spark's copies of its own connectors, a few hundred megabytes of released code.
CONNECTORS = re.compile(r"^tmp/spark/.*\.jar$")
SECONDS = 15.0


@dataclass(slots=True)
class Searched:
    """What was searched, and what was found.

    Attributes:
        identifiers: Clear values looked for.
        files, messages, bytes: How much was read.
        found: Place -> kinds of identifiers found there (never the values).
        unread: Files that could not be read, with the reason.
    """

    identifiers: int
    files: int = 0
    messages: int = 0
    bytes: int = 0
    found: dict[str, set[str]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything was read and nothing found."""
        return not self.found and not self.unread


def search(settings: Settings, sent: Sequence[Path], say: Say) -> Searched:
    """Look for the clear identifiers of messages in everything that the home keeps.

    Args:
        settings: The home; its broker must run.
        sent: Files of payments as they were sent, one JSON object a line.
        say: Told what is searched.

    Raises:
        BadUse: The files hold no clear identifier.
    """
    needles = clear_identifiers(sent)
    if not needles:
        raise BadUse(
            f"no clear tax id, key or account in {', '.join(map(str, sent))}; give the payments as they were sent"
        )
    result = Searched(len(needles))
    given = {path.resolve() for path in sent}
    files = [path for path in sorted(settings.root.rglob("*")) if path.is_file() and not path.is_symlink()]
    say(f"searching {len(files):,} files for {len(needles):,} clear identifiers")
    for path in files:
        name = path.relative_to(settings.root).as_posix()
        if path.resolve() not in given and not BROKER_LOGS.search(name) and not CONNECTORS.search(name):
            _search_file(path, name, needles, result)
    say("searching the topics")
    for topic, content in _messages(settings):
        result.messages += 1
        _search_bytes(content, f"topic {topic}", needles, result)
    return result


def clear_identifiers(sent: Sequence[Path]) -> dict[bytes, str]:
    """The clear values of messages -> what they are (CPF, CNPJ, PHONE, EMAIL, EVP or ACCOUNT)."""
    found: dict[bytes, str] = {}
    for path in sent:
        with path.open("rb") as lines:
            for line in lines:
                found |= _of_message(line)
    return found


def _of_message(line: bytes) -> dict[bytes, str]:
    try:
        content: Any = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    values = [content.get(name) for name in CLEAR_FIELDS]
    return {value.encode(): pix_key_type(value) or "ACCOUNT" for value in values if isinstance(value, str)}


def _search_file(path: Path, name: str, needles: dict[bytes, str], result: Searched) -> None:
    result.files += 1
    try:
        for content in _contents(path):
            _search_bytes(content, name, needles, result)
    except FileNotFoundError:
        # Running services rotate their files; what is gone shows nothing.
        return
    except (OSError, ValueError, zipfile.BadZipFile) as problem:
        result.unread[name] = f"{type(problem).__name__}: {problem}"


def _search_bytes(content: bytes, place: str, needles: dict[bytes, str], result: Searched) -> None:
    result.bytes += len(content)
    for word in chain(WORDS.findall(b"\n".join(RUNS.findall(content))), _mails(content)):
        kind = needles.get(word) or needles.get(re.sub(rb"^%2[Bb]", b"+", word))
        if kind:
            result.found.setdefault(place, set()).add(kind)


def _mails(content: bytes) -> Iterator[bytes]:
    for found in AT.finditer(content):
        at = found.start()
        name = BEFORE_AT.search(content[max(0, at - LONGEST_MAIL) : at])
        host = AFTER_AT.match(content, at + 1, at + 1 + LONGEST_MAIL)
        if name and host:
            yield name.group() + b"@" + host.group().rstrip(b".")


def _contents(path: Path) -> Iterator[bytes]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".gz":
        with gzip.open(path) as file:
            yield from _chunks(iter(lambda: file.read(CHUNK_BYTES), b""))
    elif path.suffix in (".zip", ".whl", ".jar"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                yield archive.read(member)
    else:
        with path.open("rb") as file:
            yield from _chunks(_data(file))


def _data(file: BinaryIO) -> Iterator[bytes]:
    """What a file really holds: a store's file is mostly a hole, as large as the store may grow."""
    at, end = 0, file.seek(0, os.SEEK_END)
    while at < end:
        try:
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                # Nothing but a hole is left.
                return
            raise
        at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        while start < at:
            piece = os.pread(file.fileno(), min(CHUNK_BYTES, at - start), start)
            if not piece:
                return
            yield piece
            start += len(piece)


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    tail = b""
    for piece in pieces:
        yield tail + piece
        tail = piece[-OVERLAP_BYTES:]


def _parquet(path: Path) -> Iterator[bytes]:
    """Texts and bytes of a Parquet file, a row group at a time; numbers cannot hold a clear identifier."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    wanted = [
        column.name
        for column in file.schema_arrow
        if any(word in str(column.type) for word in ("string", "binary", "dictionary"))
    ]
    for number in range(file.num_row_groups):
        for column in file.read_row_group(number, columns=wanted).columns:
            for chunk in column.chunks:
                yield _joined(chunk)


def _joined(column: "pa.Array") -> bytes:
    """The values of a column, a line each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return "\n".join(map(str, column.to_pylist())).encode()
    filled = pc.fill_null(column.cast(pa.large_binary()), b"")
    lines = pa.ListArray.from_arrays(pa.array([0, len(filled)], pa.int32()), filled)
    joined: bytes = pc.binary_join(lines, pa.scalar(b"\n", filled.type))[0].as_py()
    return joined


def _messages(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Keys and values of every topic that is not the senders' own."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

    options = {"group.id": "sentinela-leaks", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({**settings.kafka, **options})
    try:
        known = consumer.list_topics(timeout=SECONDS).topics
        for name in sorted(known):
            if name != topics.TRANSACTIONS and not name.startswith("__"):
                for partition in known[name].partitions:
                    consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING)])
                    yield from ((name, content) for content in _partition(consumer))
    except KafkaException as problem:
        raise NotRunning(
            f"the broker at {settings.bootstrap} cannot be searched: {problem}; `sentinela up`"
        ) from problem
    finally:
        consumer.close()


def _partition(consumer: "Consumer") -> Iterator[bytes]:
    """Keys and values from the assigned place to the partition's end."""
    from confluent_kafka import KafkaError, KafkaException

    while True:
        message = consumer.poll(SECONDS)
        if message is None:
            raise KafkaException(f"no answer within {SECONDS} s")
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
            return
        if error is not None:
            raise KafkaException(error)
        yield (message.key() or b"") + b"\n" + (message.value() or b"")
