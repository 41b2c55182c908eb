"""`sentinela dlq`: which letters, what a person may see of them, and who opened them.

A payload is shown masked unless it is revealed. Whatever is opened, also to be sent again, is written down first, in
``logs/dlq-opened.jsonl``: who, when, which letter and what for; nothing of what it holds.
"""

import getpass
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fraud_streaming.ranges import Topics
from fraud_streaming.redrive import OUTCOMES, Letter, Mailbox, Outcome, read_mailbox, redrive, told
from pix.clock import epoch_ms
from pix.contracts import InvalidMessage, PaymentMessage, parse_instant, parse_json_object, readable_id
from pix.deadletter import Origin, origin_of
from pix.locks import LockHeld, held
from pix.masking import HIDDEN, mask_account, mask_pix_key, mask_tax_id
from pix.settings import Settings
from pix.tokens import load_keyring
from sentinela.errors import BadUse, SentinelaError
from sentinela.progress import Say
from sentinela.runtime.home import Home

OPENED = "dlq-opened.jsonl"
LOCK = "dlq-redrive.lock"
MASKS: Mapping[str, Callable[[str], str]] = {
    "payer_account": mask_account,
    "payee_account": mask_account,
    "payer_tax_id": mask_tax_id,
    "payee_tax_id": mask_tax_id,
    "pix_key": mask_pix_key,
}
MOST_SHOWN_CENTS = 10**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which letters; empty parts choose all.

    Attributes:
        origins: Places as they were typed.
        reason: One reason.
        since_ms: Messages that Kafka got since then.
        every: All of them, which has to be said.
    """

    origins: tuple[str, ...] = ()
    reason: str = ""
    since_ms: int = 0
    every: bool = False

    def require_one(self) -> None:
        """See that it says in one way which letters.

        Raises:
            BadUse: It says nothing, or two things.
        """
        if [bool(self.origins), bool(self.reason), self.every].count(True) != 1:
            raise BadUse("say which letters: their ORIGINs, or --reason R, or --all")
        if self.since_ms and self.origins:
            raise BadUse("--since goes with --reason or --all; ORIGINs say already which letters")

    def of(self, mailbox: Mailbox) -> list[Letter]:
        """The chosen letters, in the order in which their messages came.

        Raises:
            BadUse: An origin is none or has no letter, or no letter has the reason.
        """
        if self.origins:
            return [letter_at(text, mailbox) for text in dict.fromkeys(self.origins)]
        reasons = sorted({letter.reason for letter in mailbox.letters.values()})
        if self.reason and self.reason not in reasons:
            raise BadUse(f"no letter has the reason {self.reason}; there are {', '.join(reasons) or 'no letters'}")
        found = [
            letter
            for letter in mailbox.letters.values()
            if self.reason in ("", letter.reason) and letter.received_at_ms >= self.since_ms
        ]
        return sorted(found, key=lambda letter: (letter.received_at_ms, str(letter.origin)))


def letter_at(text: str, mailbox: Mailbox) -> Letter:
    """The letter of an origin.

    Raises:
        BadUse: The text names none, or it has no letter.
    """
    try:
        origin = origin_of(text)
    except ValueError as wrong:
        raise BadUse(f"{wrong}; `sentinela dlq list` has them") from wrong
    if origin not in mailbox.letters:
        raise BadUse(f"{text} has no dead letter, or Kafka has deleted it; `sentinela dlq list` has those there are")
    return mailbox.letters[origin]


def to_send(chosen: Sequence[Letter], *, by_origin: bool, again: bool) -> list[Letter]:
    """Those of the chosen letters that were not sent again yet; all of them where that is asked for.

    Raises:
        BadUse: One that was named was sent again already.
    """
    if again:
        return list(chosen)
    done = [letter for letter in chosen if letter.redrivings]
    if by_origin and done:
        newest = done[0].redrivings[-1]
        raise BadUse(
            f"{done[0].origin} was redriven at {instant(newest.at_ms)} to {newest.to}; --again sends it once more"
        )
    return [letter for letter in chosen if not letter.redrivings]


def copies_left(sending: Sequence[Letter], mailbox: Mailbox) -> list[Origin]:
    """Letters of the same bytes that stay behind: once one is decided, the others stand in gold and quarantine."""
    tokens, places = {letter.body_token for letter in sending}, {letter.origin for letter in sending}
    return [
        letter.origin
        for letter in mailbox.letters.values()
        if letter.body_token in tokens and letter.origin not in places and not letter.redrivings
    ]


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Nobody else redrives from this home meanwhile: two at once would send every letter twice.

    Raises:
        SentinelaError: Somebody does.
    """
    try:
        with held(home.locks / LOCK, patience_seconds=0):
            yield
    except LockHeld as other:
        raise SentinelaError(f"process {other.pid} is redriving; wait until it has ended") from other


class OpeningLog:
    """Who opened which letter, and what for; each line is on disk before the letter is opened."""

    def __init__(self, logs: Path, purpose: str) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._file = logs / OPENED
        self._purpose = purpose

    def __call__(self, letter: Letter) -> None:
        """Write down that a letter is opened now."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": _user(),
            "origin": str(letter.origin),
            "purpose": self._purpose,
        }
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def listed(letters: Sequence[Letter], mailbox: Mailbox, limit: int) -> dict[str, Any]:
    """Letters, the newest first, and how many there are of each reason."""
    newest = list(reversed(letters))[:limit]
    return {
        "letters": [told(letter) for letter in newest],
        "reasons": dict(Counter(letter.reason for letter in letters).most_common()),
        "total": len(letters),
        "redriven": sum(bool(letter.redrivings) for letter in letters),
        "unreadable": mailbox.unreadable,
    }


def lines_of_list(document: Mapping[str, Any]) -> list[str]:
    """The list as a person reads it."""
    lines = [
        f"{each['origin']}  {each['reason']}  {instant(each['received_at_ms'])}  {each['end_to_end_id'] or '-'}  "
        f"{each['payload_bytes']} bytes{'  ' + state if (state := _state(each)) else ''}"
        for each in document["letters"]
    ]
    if len(lines) < document["total"]:
        lines.append(f"... the newest {len(lines)} of {document['total']}; --limit shows more")
    lines += [f"{reason}: {count}" for reason, count in document["reasons"].items()]
    unreadable = f", {document['unreadable']} unreadable records" if document["unreadable"] else ""
    return [*lines, f"{document['total']} letters, {document['redriven']} of them redriven{unreadable}"]


def _state(each: Mapping[str, Any]) -> str:
    parts = ["cut"] if each["is_cut"] else []
    if each["redriven_from"]:
        parts.append(f"again, after {each['redriven_from']}")
    if each["redrivings"]:
        parts.append(f"redriven to {each['redrivings'][-1]['to']}")
    if each["refused_again"]:
        parts.append(f"refused again as {each['refused_again'][-1]}")
    return ", ".join(parts)


def lines_of_letter(document: Mapping[str, Any]) -> list[str]:
    """One letter as a person reads it."""
    lines = [
        f"origin         {document['origin']}",
        f"reason         {document['reason']}",
        *(f"  {error['field'] or 'message'}: {error['reason']}" for error in document["errors"]),
        f"received       {instant(document['received_at_ms'])}",
        f"payment        {document['end_to_end_id'] or 'its id cannot be read'}",
        f"size           {document['payload_bytes']} bytes{', cut' if document['is_cut'] else ''}",
    ]
    if document["redriven_from"]:
        lines.append(f"sent again     after the letter {document['redriven_from']}")
    lines += [f"redriven       {instant(each['at_ms'])} to {each['to']}" for each in document["redrivings"]]
    lines += [f"refused again  {origin}" for origin in document["refused_again"]]
    payload = document["payload"]
    return [
        *lines,
        f"payload        {payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)}",
    ]


def masked(body: bytes | None) -> dict[str, Any] | str:
    """What may be shown of a message to whoever need not see whom it is about.

    What was refused may hold anything anywhere, so only what has its field's shape is shown: identifiers masked, id,
    time and amount as they are. Of other known fields the name is shown, of unknown ones their number.
    """
    try:
        content = parse_json_object(body or b"")
    except InvalidMessage:
        return f"{HIDDEN} (no JSON object; --reveal shows it)"
    known = {name: _shown(name, value) for name, value in content.items() if name in PaymentMessage.model_fields}
    unknown = len(content) - len(known)
    return known | ({"unknown fields": unknown} if unknown else {})


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "end_to_end_id":
        return readable_id({name: value}) or HIDDEN
    if name == "amount_cents":
        return value if type(value) is int and abs(value) < MOST_SHOWN_CENTS else HIDDEN
    with suppress(ValueError):
        if name in MASKS and isinstance(value, str):
            return MASKS[name](value)
        if name == "initiated_at":
            parse_instant(value)
            return value
    return HIDDEN


def revealed(body: bytes | None) -> str:
    """The message as text; bytes that are none are shown as escapes."""
    return "" if body is None else body.decode("utf-8", "backslashreplace")


def redriven(choice: Choice, settings: Settings, home: Home, say: Say, *, again: bool, dry_run: bool) -> dict[str, Any]:
    """Send the chosen letters' messages again, or only say which; a document of what became of each.

    Raises:
        BadUse: The choice is none, or names a letter that was sent again before.
        SentinelaError: Somebody else redrives now.
        fraud_streaming.kafka.StreamError: Kafka cannot be read or written.
    """
    with alone(home), Topics(settings.kafka) as source:
        mailbox = read_mailbox(source)
        chosen = choice.of(mailbox)
        sending = to_send(chosen, by_origin=bool(choice.origins), again=again)
        say(f"{len(chosen)} letters, {len(chosen) - len(sending)} of them redriven before")
        for left in copies_left(sending, mailbox):
            say(f"{left} holds the same message as one of them; redrive it, too, or verify counts it as duplicated")
        outcomes: list[Outcome] = []
        if not dry_run:
            opening = OpeningLog(home.logs, "redrive")
            keyring = load_keyring(settings.secrets)
            for outcome in redrive(source, settings.kafka, sending, keyring, now_ms=epoch_ms, on_open=opening):
                outcomes.append(outcome)
                if outcome.to is None:
                    say(f"{outcome.outcome}: {outcome.origin}: {outcome.why}")
    counts = Counter(outcome.outcome for outcome in outcomes)
    return {
        "dry_run": dry_run,
        "chosen": len(chosen),
        "redriven_before": len(chosen) - len(sending),
        "to_redrive": [str(letter.origin) for letter in sending if not letter.is_cut],
        "cut": [str(letter.origin) for letter in sending if letter.is_cut],
        "counts": {word: counts[word] for word in OUTCOMES},
        "outcomes": [_outcome_told(outcome) for outcome in outcomes],
    }


def _outcome_told(outcome: Outcome) -> dict[str, Any]:
    to = str(outcome.to) if outcome.to else None
    return {"origin": str(outcome.origin), "outcome": outcome.outcome, "to": to, "why": outcome.why}


def lines_of_redriving(document: Mapping[str, Any]) -> list[str]:
    """A redriving, or what one would do, as a person reads it."""
    if document["dry_run"]:
        lines = [f"{origin}: would be redriven" for origin in document["to_redrive"]]
        lines += [f"{origin}: was cut, and cannot be redriven" for origin in document["cut"]]
        return [*lines, f"{len(document['to_redrive'])} letters would be redriven, {len(document['cut'])} cannot"]
    lines = [
        f"{each['origin']}: {each['outcome']} {'to ' + each['to'] if each['to'] else each['why']}"
        for each in document["outcomes"]
    ]
    return [*lines, " ".join(f"{word}={count}" for word, count in document["counts"].items())]


def instant(at_ms: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
