"""`sentinela verify`: is everything that was sent decided exactly once, or quarantined with a reason?

It compares the senders' own logs with gold decisions and the quarantine, after it has waited until the
streams have taken in everything that was in Kafka when it started. What is sent after that is not counted.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fraud_assets import notes
from pix import topics
from pix.offline.care import EXPIRED
from pix.settings import Settings
from pix.streams import SCORING_GROUP
from pix.tokens import Keyring, load_keyring
from quality.reconciliation import Reconciliation, SentLine, read_sent_log, reconcile
from sentinela.asking import never_started
from sentinela.dagster_runs import launch
from sentinela.errors import BadUse, NotRunning
from sentinela.progress import Say
from sentinela.runtime.home import Home

POLL_SECONDS = 0.5
REFRESH_JOB = "refresh_lake_job"
SENT_FOLDER = "sent"

Offsets = dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Verified:
    """Outcome of a verification.

    Attributes:
        counts: What was found.
        behind: What the streams had not taken in when the time was up, by name.
    """

    counts: Reconciliation
    behind: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether everything was looked at, and nothing is lost, duplicated or mismatched."""
        return self.counts.ok and not self.behind


def verify(
    settings: Settings, sent_logs: Sequence[Path], wait_seconds: float, say: Say, refresh_job: str = REFRESH_JOB
) -> Verified:
    """Wait, bring gold up to date, count.

    Args:
        settings: Where everything is.
        sent_logs: Senders' logs; none means every log of the home and whatever bronze holds.
        wait_seconds: How long the streams may take.
        say: Told what is waited for.
        refresh_job: The Dagster job that brings gold up to date.

    Raises:
        NotRunning: Kafka, the service or Dagster does not answer, or nothing was ever started.
        BadUse: A log cannot be read.
    """
    if not (settings.secrets / "api-key").exists():
        # Another home's broker may answer on this one's port.
        raise NotRunning(never_started(Home(settings.root)))
    deadline = time.monotonic() + wait_seconds
    logs = sent_logs or sorted((settings.root / SENT_FOLDER).glob("*.jsonl"))
    sent = {line.body_sha256 for line in _logged(logs)}
    # A payment is in its sender's log a moment before it is in Kafka.
    time.sleep(POLL_SECONDS)
    behind = _wait_for_scoring(settings, deadline, say)
    behind |= _wait_for_bronze(settings, end_offsets(settings), deadline, say)
    # With logs named, only those are asked about. Bronze goes on while gold is made, so it is read before.
    taken = [] if sent_logs else _in_bronze(settings.lake)
    if gold_is_behind(settings.lake):
        launch(settings.dagster, refresh_job, say)
    # Read again: an attempt may have been refused meanwhile.
    lines = [line for line in _logged(logs) if line.body_sha256 in sent]
    if not sent_logs:
        lines += _without_log([*taken, *_decided(settings.lake)], lines, load_keyring(settings.secrets))
    return Verified(_count(settings, lines), behind)


def end_offsets(settings: Settings) -> Offsets:
    """Where each partition of each topic ends now.

    Raises:
        NotRunning: The broker does not answer.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer({**settings.kafka, "group.id": "sentinela-verify", "enable.auto.commit": False})
    try:
        found = consumer.list_topics(timeout=10).topics
        return {
            (topic, partition): consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
            for topic in topics.ALL
            if topic in found
            for partition in found[topic].partitions
        }
    except KafkaException as error:
        raise NotRunning(f"Kafka at {settings.bootstrap} does not answer ({error}); run `sentinela up`") from error
    finally:
        consumer.close()


def _wait_for_scoring(settings: Settings, deadline: float, say: Say) -> dict[str, int]:
    """Until every payment that is in Kafka now has been answered and nothing waits in the outbox."""
    ends = {place: end for place, end in end_offsets(settings).items() if place[0] == topics.TRANSACTIONS}
    told: dict[str, int] = {}
    while True:
        unscored = _unscored(settings, ends)
        unpublished = _unpublished(settings)
        behind = {name: n for name, n in (("unscored", unscored), ("unpublished", unpublished)) if n}
        if not behind or time.monotonic() > deadline:
            return behind
        if behind != told:
            told = behind
            say(f"  waiting: {unscored} payments to be scored, {unpublished} records to be published")
        time.sleep(POLL_SECONDS)


def _unscored(settings: Settings, ends: Offsets) -> int:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**settings.kafka, "group.id": SCORING_GROUP, "enable.auto.commit": False})
    try:
        places = [TopicPartition(*place) for place in ends]
        committed = consumer.committed(places, timeout=10) if places else []
        return sum(max(0, ends[found.topic, found.partition] - max(found.offset, 0)) for found in committed)
    finally:
        consumer.close()


def _unpublished(settings: Settings) -> int:
    api_key = (settings.secrets / "api-key").read_text().strip()
    try:
        answer = httpx.get(f"{settings.service}/v1/store", headers={"Authorization": f"Bearer {api_key}"}, timeout=10)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise NotRunning(f"the service at {settings.service} does not answer ({error}); run `sentinela up`") from error
    found = answer.json()
    if found["unpublished"] is None:
        raise NotRunning(f"the online store does not answer ({found['problem']}); see `sentinela store status`")
    return int(found["unpublished"])


def _wait_for_bronze(settings: Settings, ends: Offsets, deadline: float, say: Say) -> dict[str, int]:
    told = 0
    while True:
        missing = {topic: n for topic, n in _not_in_bronze(settings.lake, ends).items() if n}
        if not missing or time.monotonic() > deadline:
            return {f"bronze of {topic}": n for topic, n in missing.items()}
        if sum(missing.values()) != told:
            told = sum(missing.values())
            say("  waiting for bronze: " + ", ".join(f"{n} of {topic}" for topic, n in missing.items()))
        time.sleep(POLL_SECONDS)


def _not_in_bronze(lake: str, ends: Offsets) -> dict[str, int]:
    missing: dict[str, int] = {}
    for topic in topics.ALL:
        reached = _bronze_offsets(lake, topic)
        missing[topic] = sum(
            max(0, end - reached.get(partition, 0)) for (name, partition), end in ends.items() if name == topic
        )
    return missing


def _bronze_offsets(lake: str, topic: str) -> dict[int, int]:
    return {partition: last + 1 for partition, last in _max_offsets(lake, topics.bronze_table(topic)).items()}


def gold_is_behind(lake: str) -> bool:
    """Whether gold or the quarantine was written from older inputs than there are now.

    Each of these tables notes with its rows what it was made from. What was changed behind the platform's back
    carries no note: such a table is counted as it is and never silently written anew.
    """
    return any(_is_behind(lake, table) for table in ("gold/decisions", "silver/quarantine"))


def _is_behind(lake: str, name: str) -> bool:
    table = _open(lake, name)
    note = notes.newest(table) if table is not None else None
    if note is None:
        return True
    if any(_max_offsets(lake, source) != notes.ends_of(note, source) for source in note.get("read", {})):
        return True
    return any(_has_changed(lake, source, version) for source, version in note.get("made_from", {}).items())


def _has_changed(lake: str, source: str, version: int) -> bool:
    table = _open(lake, source)
    return table is None or notes.changes(table, version).days != frozenset() or _is_behind(lake, source)


def _max_offsets(lake: str, name: str) -> dict[int, int]:
    table = read_table(lake, name, ["partition", "offset"])
    if table is None or not len(table):
        return {}
    return {int(partition): int(last) for partition, last in table.groupby("partition")["offset"].max().items()}


def _open(lake: str, name: str) -> Any:
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        return DeltaTable(f"{lake}/{name}")
    except TableNotFoundError:
        return None


def read_table(lake: str, name: str, columns: Sequence[str]) -> Any:
    """Columns of a lake table as a DataFrame, as far as it has them; None where the table does not exist yet."""
    import pyarrow as pa

    table = _open(lake, name)
    if table is None:
        return None
    # A table that an older build wrote lacks what was declared since.
    there = {field.name for field in table.schema().fields}
    return pa.table(table.scan(columns=[column for column in columns if column in there]).read_all()).to_pandas()


def _count(settings: Settings, lines: Sequence[SentLine]) -> Reconciliation:
    import pandas as pd

    keyring = load_keyring(settings.secrets)
    gold = read_table(settings.lake, "gold/decisions", ["end_to_end_id", "amount_cents", "body_token"])
    columns = ["kind", "end_to_end_id", "body_token", "reason", "topic", "partition", "offset", "redriven_at_ms"]
    quarantine = read_table(settings.lake, "silver/quarantine", columns)
    if gold is None:
        gold = pd.DataFrame(columns=["end_to_end_id", "amount_cents", "body_token"])
    if quarantine is None:
        quarantine = pd.DataFrame(columns=columns)
    messages = quarantine[(quarantine["kind"] == "dead_letter") & (quarantine["topic"] == topics.TRANSACTIONS)]
    taken = {line.body_sha256: {line.body_sha256} for line in lines if not line.sent_at}
    return reconcile(lines, gold, messages, lambda body: taken.get(body) or keyring.body_tokens(body))


def _without_log(taken: Sequence[SentLine], logged: Sequence[SentLine], keyring: Keyring) -> list[SentLine]:
    """One line for each payment that the platform took and no log has."""
    known = {token for line in logged for token in keyring.body_tokens(line.body_sha256)}
    held = {line.body_sha256: line for line in taken}
    return [line for token, line in held.items() if token not in known]


def _logged(paths: Sequence[Path]) -> list[SentLine]:
    lines: list[SentLine] = []
    for path in paths:
        try:
            lines += read_sent_log(path.read_text())
        except OSError as error:
            raise BadUse(f"cannot read the sent log {path}: {error.strerror}") from error
    return lines


def _in_bronze(lake: str) -> list[SentLine]:
    """What was taken from Kafka, whoever sent it: the token stands where a log has the body's hash."""
    taken = read_table(lake, topics.bronze_table(topics.TRANSACTIONS), ["value", "body_token", "reason"])
    if taken is None:
        return []
    # Of a message whose time is over only the place is left, which nobody sent.
    taken = taken[taken["reason"] != EXPIRED]
    lines = []
    for value, token in zip(taken["value"], taken["body_token"], strict=True):
        content = json.loads(value) if value else {}
        lines.append(
            SentLine(
                end_to_end_id=content.get("end_to_end_id"),
                amount_cents=content.get("amount_cents"),
                body_sha256=token,
                sent_at="",
            )
        )
    return lines


def _decided(lake: str) -> list[SentLine]:
    """What was decided, also for those who asked over HTTP and left no log; by token likewise."""
    decided = read_table(lake, "silver/decisions", ["end_to_end_id", "amount_cents", "body_token"])
    if decided is None:
        return []
    rows = decided.itertuples(index=False, name=None)
    return [
        SentLine(end_to_end_id=identity, amount_cents=amount, body_sha256=token, sent_at="")
        for identity, amount, token in rows
    ]
