"""Commands around the lake: import, verify, features."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pix.clock import epoch_ms

if TYPE_CHECKING:
    from pix.offline.mapping import Mapping

SHOWN_REFUSED = 10
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("import")(import_history)
    app.command()(verify)
    app.command()(features)


def import_history(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="CSV, Parquet, .tgz or .zip; without --mapping a folder that simulate wrote."
        ),
    ],
    history: Annotated[
        str,
        typer.Option(
            help="Name of this history, such as bank-2025. Histories share no account with each other or with live "
            "traffic; the name live alone is the past of the live traffic and becomes the online store's base."
        ),
    ],
    mapping: Annotated[
        Path | None,
        typer.Option(help="YAML that says which column is which field; see docs/import.md and config/mappings."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show how the first 1,000 rows would look, masked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take past payments and their labels into the lake; a file is taken once. Needs no `up`."""
    from sentinela.errors import BadUse
    from sentinela.history import read_mapping
    from sentinela.importing import run, told
    from sentinela.progress import to_stderr

    chosen = read_mapping(mapping) if mapping else None
    if dry_run:
        if chosen is None:
            raise BadUse("--dry-run shows what a --mapping does; a folder that simulate wrote has none")
        _dry_run(source, history, chosen, as_json)
        return
    outcome = run(source, history, chosen, to_stderr())
    typer.echo(json.dumps(asdict(outcome)) if as_json else told(outcome))


def _dry_run(source: Path, history: str, mapping: "Mapping", as_json: bool) -> None:
    from pix.offline.preview import preview
    from sentinela.history import as_bad_use

    with as_bad_use("--mapping"):
        found = preview(source, history, mapping, now_ms=epoch_ms())
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    for example in found.examples:
        typer.echo(json.dumps(example, ensure_ascii=False))
    typer.echo(f"of the first {found.rows:,} rows {found.payments:,} would be taken, {len(found.refused):,} refused")
    for number, reason in found.refused[:SHOWN_REFUSED]:
        typer.echo(f"  row {number}: {reason}")
    if found.verdicts:
        typer.echo("labels there: " + ", ".join(f"{name} {many:,}" for name, many in sorted(found.verdicts.items())))


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
    group: Annotated[str | None, typer.Option(help="Only this group, such as payer or label.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the declared features."""
    from pix.features import FEATURE_NAMES, FINGERPRINT, catalogue
    from sentinela.errors import BadUse

    rows = catalogue()
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    if name is not None and name not in FEATURE_NAMES:
        raise BadUse(f"there is no feature {name!r}; {_near(name, FEATURE_NAMES)}")
    if group is not None and group not in groups:
        raise BadUse(f"there is no group {group!r}; the groups are {', '.join(groups)}")
    rows = [row for row in rows if name in (None, row["name"]) and group in (None, row["group"])]
    if not rows:
        raise BadUse(f"{name} is not in the group {group}; leave out one of the two")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{row['name']:36} {row['group']:9} {row['unit']:14} {row['description']}")
    typer.echo(f"{len(rows)} features, fingerprint {FINGERPRINT}")


def _near(name: str, names: Sequence[str]) -> str:
    """Names that look like it, for whoever mistyped it."""
    wanted = name.lower()
    near = [*get_close_matches(wanted, names, n=5), *(other for other in names if wanted in other)]
    if near:
        return f"did you mean {', '.join(list(dict.fromkeys(near))[:8])}?"
    return "see all of them with `sentinela features`"
