"""Commands that send once more what was there: replay."""

import json
from typing import Annotated

import typer

from pix.clock import epoch_ms
from sentinela.asking import kafka_asked


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(replay)


def replay(
    topic: Annotated[str, typer.Option(help="Topic to read.")],
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHEN",
            help="First message: an RFC 3339 time with its offset, 7d, 12h or 30m ago, earliest, or "
            "PARTITION:OFFSET[,PARTITION:OFFSET...].",
        ),
    ],
    end: Annotated[str, typer.Option("--to", metavar="WHEN", help="First message that is left out; or latest.")],
    into: Annotated[str, typer.Option(metavar="TOPIC", help="Topic to write; by default the same.")] = "",
    create: Annotated[bool, typer.Option("--create", help="Make that topic, with as many partitions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is in the range.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Write a range of a topic once more; key, value, headers and time stay, and a header says where from.

    Only pix.transactions may be replayed into itself: a payment is decided once, however often it comes. What has a
    dead letter is left to `dlq redrive`. Kafka keeps pix.transactions for 7 days; the lake has tokens, not what was
    sent, so it cannot be replayed from there. Exit 1 if not everything that was read was written.

    \b
    sentinela replay --topic pix.transactions --from 2026-11-21T09:00:00-03:00 --to latest --dry-run
    sentinela replay --topic pix.transactions --from 0:1200,1:1180 --to 0:1300,1:1290
    sentinela replay --topic pix.decisions --from earliest --to latest --into audit.copy --create
    """  # noqa: D301 - \b keeps the lines of the examples
    from sentinela import configuration
    from sentinela.progress import to_stderr
    from sentinela.replaying import Asked, summary
    from sentinela.replaying import replay as run

    settings, _ = configuration.current()
    asked = Asked(topic=topic, begin=begin, end=end, into=into, create=create, dry_run=dry_run)
    with kafka_asked():
        document = run(asked, settings, epoch_ms(), to_stderr())
    for line in [json.dumps(document)] if as_json else summary(document):
        typer.echo(line)
    if not document.get("ok", True):
        raise typer.Exit(1)
