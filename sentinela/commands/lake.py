"""Commands around the lake: import, verify, features."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("import")(import_history)
    app.command()(verify)
    app.command()(features)


def import_history(
    folder: Annotated[Path, typer.Argument(help="Folder with payments.jsonl and, if known, labels.jsonl.")],
    history: Annotated[str, typer.Option(help="Name of this history; live is the past of the live traffic.")],
) -> None:
    """Take past payments and their labels into the lake and the online store; a file is taken once."""
    from sentinela import configuration
    from sentinela.dagster_runs import launch
    from sentinela.history import IMPORT_JOB, deposit
    from sentinela.progress import to_stderr

    settings, _ = configuration.current()
    say = to_stderr()
    deposit(settings.root, folder, history)
    run = launch(settings.dagster, IMPORT_JOB, say)
    say(f"history {history!r} is in the lake ({run.seconds:.0f} s)")


def verify(
    sent: Annotated[list[Path] | None, typer.Option(help="A sender's log; default: every log of this home.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds that the streams may take to catch up.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Compare what was sent with what was decided: nothing lost, nothing twice, nothing changed."""
    from sentinela import configuration
    from sentinela.progress import to_stderr
    from sentinela.verify import verify as run

    settings, _ = configuration.current()
    say = to_stderr()
    outcome = run(settings, sent or [], wait, say)
    for name, count in outcome.behind.items():
        say(f"still behind after {wait:.0f} s: {name}: {count}")
    for name, examples in outcome.counts.examples.items():
        for example in examples:
            say(f"{name}: {example}")
    if as_json:
        typer.echo(json.dumps({**asdict(outcome.counts), "ok": outcome.ok, "behind": dict(outcome.behind)}))
    else:
        typer.echo(outcome.counts.line())
    if not outcome.ok:
        raise typer.Exit(1)


def features(
    name: Annotated[str | None, typer.Argument(help="Only this feature.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the declared features."""
    from pix.features import FEATURE_NAMES, FINGERPRINT, catalogue
    from sentinela.errors import BadUse

    rows = [row for row in catalogue() if name in (None, row["name"])]
    if not rows:
        raise BadUse(f"there is no feature {name!r}; the names are {', '.join(FEATURE_NAMES)}")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{row['name']:28} {row['group']:9} {row['unit']:14} {row['description']}")
    typer.echo(f"{len(rows)} features, fingerprint {FINGERPRINT}")
