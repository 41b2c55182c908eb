"""The command that shows a past decision, and re-runs it: decision."""

import json
from typing import Annotated

import typer

DIFFERENT, AWAY = 1, 3


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(decision)


def decision(
    end_to_end_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The payment's EndToEndId.")] = None,
    tenant: Annotated[str, typer.Option(help="The payment's tenant.")] = "default",
    rerun: Annotated[
        bool,
        typer.Option(
            "--rerun", help="Recompute it from lake and registry alone, and compare bit for bit; exit 1 if it differs."
        ),
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Re-run so many decisions, chosen by chance of each action and mode.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the sample.")] = 7,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Fetch models from the registry, even those that are on this machine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Show a decision: payment, states, features, score, policy, reasons, and where each part stands.

    Needs nothing that runs. Exit 1 if the re-run differs, 2 if there is no such decision, 3 if something that it
    takes is not there.
    """
    from sentinela.errors import BadUse

    if (end_to_end_id is None) == (sample is None):
        raise BadUse("give the EndToEndId of one decision, or --sample N for many")
    if end_to_end_id is not None:
        _one(end_to_end_id, tenant, rerun, fresh, as_json)
    elif not rerun:
        raise BadUse("--sample re-runs decisions; add --rerun")
    else:
        _many(sample or 0, seed, fresh, as_json)


def _one(end_to_end_id: str, tenant: str, rerun: bool, fresh: bool, as_json: bool) -> None:
    import re

    from pix.identifiers import END_TO_END_SHAPE
    from sentinela import configuration
    from sentinela.decision import described
    from sentinela.decision_page import console, show
    from sentinela.errors import BadUse

    if not re.fullmatch(END_TO_END_SHAPE, end_to_end_id):
        raise BadUse(f"{end_to_end_id!r} is no EndToEndId: E, 8 digits of the bank, 12 of the minute, 11 characters")
    settings, _ = configuration.current()
    found = described(settings, end_to_end_id, tenant, rerun=rerun, fresh=fresh)
    if as_json:
        typer.echo(json.dumps(found.document, ensure_ascii=False))
    else:
        show(console(), found.document)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _many(sample: int, seed: int, fresh: bool, as_json: bool) -> None:
    from sentinela import configuration
    from sentinela.decision import sampled
    from sentinela.decision_page import console, show_sample
    from sentinela.progress import to_stderr

    settings, _ = configuration.current()
    say = to_stderr()
    report = sampled(settings, sample, seed, fresh=fresh, say=say)
    told = report.described()
    if as_json:
        typer.echo(json.dumps({**told, "seed": seed}, ensure_ascii=False))
    else:
        show_sample(console(), report)
        typer.echo(
            " ".join(f"{name}={told[name]}" for name in ("sampled", "equal", "different", "not_compared"))
            + f" seed={seed}"
        )
    if report.different or report.not_compared:
        raise typer.Exit(DIFFERENT if report.different else AWAY)
