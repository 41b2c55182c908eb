"""`sentinela replay`: what may be replayed where, from when to when, and what came of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fraud_streaming.ranges import Edge, NoSuchPart, Part, Place, Topics
from fraud_streaming.redrive import is_too_old, read_mailbox
from fraud_streaming.replay import Leave, copy, create_like, repeats, settings_of
from pix import topics
from pix.settings import Settings
from sentinela.errors import BadUse, SentinelaError
from sentinela.policies import moment_of
from sentinela.progress import Say

if TYPE_CHECKING:
    from confluent_kafka import Message

OFFSETS = re.compile(r"[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18})*")
WHY_NOT = {
    topics.DECISIONS: "it is the log of what was decided, from which states, lake and reviews are made; only the "
    "service may add to it",
    topics.LABELS: "Kafka's arrival time there is when a label became known, and a copy would become known today",
    topics.FOLDS: "it is the log of what changed states outside a decision, and only the service may add to it",
    topics.DLQ: "a copy of a letter says nothing new; `sentinela dlq redrive` sends the letters' messages again",
    topics.SHADOW: "a copy of a score says nothing new",
}
TO_REDRIVE, OUT_OF_TIME = "left_to_redrive", "too_old"
STAMPED_BY_BROKER = "LogAppendTime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call of the command.

    Attributes:
        topic: Topic that is read.
        begin, end: Places as they were typed.
        into: Topic that is written; the same one if empty.
        create: Make that topic if it is not there.
        dry_run: Only look.
    """

    topic: str
    begin: str
    end: str
    into: str = ""
    create: bool = False
    dry_run: bool = False

    @property
    def target(self) -> str:
        """Topic that is written."""
        return self.into or self.topic


def place_in(text: str, option: str, now_ms: int) -> Place:
    """A place in a topic: ``earliest``, ``latest``, a time, or ``PARTITION:OFFSET,…``.

    Raises:
        BadUse: It is none.
    """
    if text in tuple(Edge):
        return Edge(text)
    if OFFSETS.fullmatch(text):
        pairs = [pair.split(":") for pair in text.split(",")]
        places = {int(partition): int(offset) for partition, offset in pairs}
        if len(places) < len(pairs):
            raise BadUse(f"{option} {text} names a partition twice")
        return places
    try:
        return moment_of(text, option, now_ms)
    except BadUse as broken:
        raise BadUse(f"{broken}; or earliest, latest, or PARTITION:OFFSET[,PARTITION:OFFSET...]") from None


def require_safe(asked: Asked) -> None:
    """See that the target takes messages twice, or is nobody's.

    Raises:
        BadUse: It does not.
    """
    target = asked.target
    if target in WHY_NOT:
        raise BadUse(f"nothing is replayed into {target}: {WHY_NOT[target]}; name another topic with --into")
    if target == topics.TRANSACTIONS:
        if asked.topic in topics.ALL and asked.topic != target:
            raise BadUse(f"{asked.topic} holds no payments to be decided; name another topic than {target} with --into")
    elif target == asked.topic:
        raise BadUse(
            f"only {topics.TRANSACTIONS} is replayed into itself, because a payment is decided once, however often it "
            "comes; name another topic with --into"
        )


def replay(asked: Asked, settings: Settings, now_ms: int, say: Say) -> dict[str, Any]:
    """Look at the range, and replay it unless this is a dry run; a document of what was there and what was written.

    Raises:
        BadUse: The call is wrong.
        SentinelaError: A part of the range has expired.
        fraud_streaming.kafka.StreamError: Kafka cannot be read or written.
    """
    begin, end = place_in(asked.begin, "--from", now_ms), place_in(asked.end, "--to", now_ms)
    if isinstance(begin, int) and isinstance(end, int) and begin > end:
        raise BadUse("--from is later than --to")
    with Topics(settings.kafka) as source:
        parts = _parts(asked, source, begin, end)
        document: dict[str, Any] = {
            "topic": asked.topic,
            "into": asked.target,
            "dry_run": asked.dry_run,
            "messages": sum(part.messages for part in parts),
            "partitions": [_looked_at(part, source, begin) for part in parts],
        }
        gone = any(each["expired"] for each in document["partitions"])
        if asked.topic == topics.TRANSACTIONS and asked.target not in topics.ALL:
            say(f"{asked.target} gets clear identifiers, as {asked.topic} holds them; delete it when it has served")
        if asked.dry_run:
            return document
        if gone:
            raise SentinelaError(
                f"a part of this range of {asked.topic} has expired, so nothing was written; see it with --dry-run, "
                "replay what is left with --from earliest, and let the senders send what is gone"
            )
        return document | _written(asked, settings, source, parts, now_ms, say)


def _parts(asked: Asked, source: Topics, begin: Place, end: Place) -> list[Part]:
    there = source.partitions()
    if asked.topic not in there:
        raise BadUse(f"there is no topic {asked.topic}; the topics are {', '.join(there) or 'none'}")
    require_safe(asked)
    if asked.target not in there and not asked.create:
        raise BadUse(f"there is no topic {asked.target}; make it with --create, or take one of {', '.join(there)}")
    try:
        return source.parts(asked.topic, begin, end)
    except NoSuchPart as wrong:
        raise BadUse(str(wrong)) from wrong


def _looked_at(part: Part, source: Topics, begin: Place) -> dict[str, Any]:
    """A partition's share of the range. By time, what Kafka deleted is not known to have been in it: it may have."""
    first_ms, last_ms = source.times(part)
    begins_late = isinstance(begin, int) and part.low > 0 and part.begin == part.low
    return {
        "partition": part.partition,
        "messages": part.messages,
        "first_offset": part.begin if part.messages else None,
        "last_offset": part.end - 1 if part.messages else None,
        "first_at": _instant(first_ms),
        "last_at": _instant(last_ms),
        "expired": part.asked < part.low or begins_late,
    }


def _written(
    asked: Asked, settings: Settings, source: Topics, parts: Sequence[Part], now_ms: int, say: Say
) -> dict[str, Any]:
    if asked.target not in source.partitions():
        create_like(settings.kafka, source, asked.topic, asked.target)
        say(f"made the topic {asked.target}, as {asked.topic} is")
    stamped = settings_of(settings.kafka, asked.target, "message.timestamp.type")["message.timestamp.type"]
    if stamped == STAMPED_BY_BROKER:
        say(f"{asked.target} stamps arrivals itself: the messages arrive now")
    copied = copy(source, settings.kafka, parts, asked.target, leave=_left_out(asked, source, now_ms))
    for failure in copied.failures:
        say(f"not written: {failure}")
    return {
        "read": copied.read.total(),
        **{name: copied.left[name] for name in (TO_REDRIVE, OUT_OF_TIME)},
        "written": copied.written.total(),
        "timestamps": "anew" if stamped == STAMPED_BY_BROKER else "kept",
        "ok": copied.ok and copied.read.total() == sum(part.messages for part in parts),
    }


def _left_out(asked: Asked, source: Topics, now_ms: int) -> Leave:
    """What must not come to the payments' door a second time.

    A message with a dead letter may be decided now, and its letter would not say so; one that has become too old since
    it was decided would be refused, and stand in gold and in the quarantine.
    """
    if asked.target != topics.TRANSACTIONS:
        return lambda _: ""
    letters = read_mailbox(source).letters

    def leave(message: "Message") -> str:
        if any(origin in letters for origin in repeats(message)):
            return TO_REDRIVE
        value = message.value()
        body = value.encode() if isinstance(value, str) else value
        return OUT_OF_TIME if is_too_old(topics.TRANSACTIONS, body, now_ms) else ""

    return leave


def summary(document: dict[str, Any]) -> list[str]:
    """The lines of a replay, as a person reads them."""
    lines = []
    for part in document["partitions"]:
        where = f"offsets {part['first_offset']} to {part['last_offset']}, {part['first_at']} to {part['last_at']}"
        gone = "; a part of it has expired, or may have" if part["expired"] else ""
        lines.append(
            f"partition {part['partition']}: {part['messages']} messages"
            + (f", {where}" if part["messages"] else "")
            + gone
        )
    if document["dry_run"]:
        return [*lines, f"{document['messages']} messages of {document['topic']} would go into {document['into']}"]
    counts = " ".join(f"{name}={document[name]}" for name in ("read", TO_REDRIVE, OUT_OF_TIME, "written"))
    return [*lines, f"{document['topic']} into {document['into']}: {counts}, timestamps {document['timestamps']}"]


def _instant(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
