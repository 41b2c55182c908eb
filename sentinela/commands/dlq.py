"""Commands of dead letters: dlq list, show, redrive."""

import json
from typing import Annotated

import typer

from pix.clock import epoch_ms
from sentinela.asking import kafka_asked

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
OfReason = Annotated[str, typer.Option(help="Only letters of this reason, such as invalid_fields.")]
Since = Annotated[str, typer.Option(help="Messages that Kafka got since then: 7d, 12h, 30m ago or an RFC 3339 time.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="Messages that no door let in: look, and send again after a fix.", no_args_is_help=True)
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(redrive)
    app.add_typer(group, name="dlq")


def list_letters(
    reason: OfReason = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many; all are counted.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first: origin, reason, time, payment, size, whether redriven; then the counts.

    Nothing is opened for that. Kafka keeps letters for 30 days.
    """
    from fraud_streaming.ranges import Topics
    from fraud_streaming.redrive import read_mailbox
    from sentinela import configuration
    from sentinela.dead_letters import Choice, lines_of_list, listed

    settings, _ = configuration.current()
    choice = Choice(reason=reason, since_ms=_since_ms(since))
    with kafka_asked(), Topics(settings.kafka) as source:
        mailbox = read_mailbox(source)
    document = listed(choice.of(mailbox), mailbox, limit)
    for line in [json.dumps(document)] if as_json else lines_of_list(document):
        typer.echo(line)


def show(
    origin: Annotated[str, typer.Argument(help="topic/partition/offset, as `dlq list` shows it.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the message as it was sent, clear.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one letter with its errors and its message, masked; who opened it is written to logs/dlq-opened.jsonl.

    \b
    sentinela dlq show pix.transactions/1/4711
    sentinela dlq show pix.transactions/1/4711 --reveal
    """  # noqa: D301 - \b keeps the lines of the examples
    from fraud_streaming.ranges import Topics
    from fraud_streaming.redrive import NotOpened, opened, payloads, read_mailbox, told
    from pix.tokens import load_keyring
    from sentinela import configuration
    from sentinela.dead_letters import OpeningLog, letter_at, lines_of_letter, masked, revealed
    from sentinela.errors import SentinelaError

    settings, home = configuration.current()
    with kafka_asked(), Topics(settings.kafka) as source:
        letter = letter_at(origin, read_mailbox(source))
        keyring = load_keyring(settings.secrets)
        OpeningLog(home.logs, "reveal" if reveal else "masked")(letter)
        try:
            body = opened(letter, payloads(source, [letter]).get(letter.origin, ""), keyring)
        except NotOpened as problem:
            raise SentinelaError(f"{origin}: {problem}") from problem
    document = {**told(letter), "revealed": reveal, "payload": revealed(body) if reveal else masked(body)}
    for line in [json.dumps(document, ensure_ascii=False)] if as_json else lines_of_letter(document):
        typer.echo(line)


def redrive(
    origins: Annotated[list[str] | None, typer.Argument(metavar="[ORIGIN]...", help="topic/partition/offset.")] = None,
    reason: OfReason = "",
    since: Since = "",
    every: Annotated[bool, typer.Option("--all", help="Every letter.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also letters that were redriven before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which letters it would be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send letters' messages to their topics again, as they were sent, each once; exit 1 if one could not be.

    The letter stays; a note beside it says when and where to. A message that is refused again gets a letter of its own,
    which names the first. Only the first 256 KiB of a message are kept: longer ones its sender has to send.

    \b
    sentinela dlq redrive pix.transactions/1/4711
    sentinela dlq redrive --reason invalid_fields --since 12h --dry-run
    """  # noqa: D301 - \b keeps the lines of the examples
    from fraud_streaming.redrive import REDRIVEN
    from sentinela import configuration
    from sentinela.dead_letters import Choice, lines_of_redriving, redriven
    from sentinela.progress import to_stderr

    choice = Choice(origins=tuple(origins or ()), reason=reason, since_ms=_since_ms(since), every=every)
    choice.require_one()
    settings, home = configuration.current()
    with kafka_asked():
        document = redriven(choice, settings, home, to_stderr(), again=again, dry_run=dry_run)
    for line in [json.dumps(document)] if as_json else lines_of_redriving(document):
        typer.echo(line)
    if any(count for word, count in document["counts"].items() if word != REDRIVEN):
        raise typer.Exit(1)


def _since_ms(since: str) -> int:

    from sentinela.policies import moment_of

    return moment_of(since, "--since", epoch_ms()) if since else 0
