"""Commands that prove what nobody may see: leaks."""

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(leaks)


def leaks(
    sent: Annotated[list[Path], typer.Argument(help="Payments as they were sent, one JSON object a line.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Search this home and its topics for clear tax ids, keys, phones, e-mails and accounts that were sent.

    Everything but the topic pix.transactions, which is the sender's own, must be free of them. Exit 1 if one is
    found, or if a file cannot be read.
    """
    from sentinela import configuration
    from sentinela.errors import BadUse
    from sentinela.leaks import search
    from sentinela.progress import to_stderr

    for path in sent:
        if not path.is_file():
            raise BadUse(f"{path} is no file; give the payments as they were sent, such as payments.jsonl")
    settings, _ = configuration.current()
    say = to_stderr()
    result = search(settings, sent, say)
    for place, kinds in sorted(result.found.items()):
        say(f"found in {place}: {', '.join(sorted(kinds))}")
    for place, reason in sorted(result.unread.items()):
        say(f"cannot be read: {place}: {reason}")
    counts = {
        "identifiers": result.identifiers,
        "files": result.files,
        "messages": result.messages,
        "bytes": result.bytes,
        "places_with_clear_identifiers": len(result.found),
        "unread": len(result.unread),
    }
    if as_json:
        typer.echo(json.dumps({**counts, "found": {place: sorted(kinds) for place, kinds in result.found.items()}}))
    else:
        typer.echo(" ".join(f"{name}={value}" for name, value in counts.items()))
    if not result.ok:
        raise typer.Exit(1)
