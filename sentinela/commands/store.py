"""Commands of the online store: store status, rebuild, rollback, compare."""

import json
from typing import Annotated, Any

import typer

from pix.clock import epoch_ms
from sentinela.asking import asked, never_started

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
CHECK_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="The online store: its generations, and whether it is what lake and logs say.")
    for command in (status, rebuild, rollback, compare):
        group.command()(command)
    app.add_typer(group, name="store")


def status(as_json: AsJson = False) -> None:
    """Show the generations of the store, and how far one is that is being built; exit 1 if it cannot be used."""
    found = asked(lambda operator: operator.store())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        if found["states"] is not None:
            waiting = f"{found['unpublished']} to publish"
            typer.echo(f"{found['states']:,} keys in generation {found['generation']}, {waiting}")
        for each in found["generations"]:
            typer.echo(_line(each))
        for warning in found["warnings"]:
            typer.echo(f"warning: {warning}")
        if found["outage"]:
            typer.echo(f"payments are decided without the store: {found['outage']}")
        if found["problem"]:
            typer.echo(f"the store cannot be used: {found['problem']}")
    if found["problem"] or found["outage"]:
        raise typer.Exit(CHECK_FAILED)


def _line(each: dict[str, Any]) -> str:
    from serving.operator import progress

    identity = each["identity"]
    base = "no base" if identity["base_version"] is None else f"base version {identity['base_version']}"
    made_of = f"{base} ({identity['imports']} imports), layout {identity['layout']}"
    told = progress(each) if each["state"] == "building" else each["problem"]
    gaps = f", missing folds accepted for {each['gaps']} keys" if each["gaps"] else ""
    return f"{each['number']:>6}  {each['state']:9} {made_of}, token key {identity['token_key_version']}{gaps}  {told}"


def rebuild(
    accept_gaps: Annotated[
        bool, typer.Option(help="Go on where folds are missing in lake and logs; they are named in the service's log.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the next generation from features/base_states and the logs, change over to it; exit 1 if that fails."""
    from sentinela.progress import to_stderr

    say = to_stderr()
    _done(asked(lambda operator: operator.rebuild({"force": True, "accept_gaps": accept_gaps}, say)), as_json)


def rollback(
    generation: Annotated[int | None, typer.Argument(help="A retired generation; by default the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a retired generation to the logs' end and return to it; exit 1 if that fails."""
    from sentinela.progress import to_stderr

    say = to_stderr()
    _done(asked(lambda operator: operator.roll_back(generation, say)), as_json)


def _done(used: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(used) if as_json else f"generation {used['generation']} is in use")


def compare(as_json: AsJson = False) -> None:
    """Fold base and logs beside the store, compare key by key and review by review; exit 1 on any difference."""
    from pix.store.errors import StoreError
    from pix.tokens import MissingKeys, load_keyring
    from sentinela import configuration
    from sentinela.errors import NotRunning, SentinelaError
    from serving.base import BaseRefused
    from serving.comparison import compare_online
    from serving.logs import LogLost, LogsAway

    settings, home = configuration.current()
    try:
        found = compare_online(
            settings.store,
            lake_root=settings.lake,
            kafka=settings.kafka,
            keyring=load_keyring(settings.secrets),
            now_ms=epoch_ms(),
        )
    except MissingKeys as missing:
        raise NotRunning(never_started(home)) from missing
    except LogsAway as away:
        raise NotRunning(str(away)) from away
    except (StoreError, BaseRefused, LogLost) as refused:
        raise SentinelaError(str(refused)) from refused
    if found is None:
        raise NotRunning("nothing was built in the online store yet; run `sentinela up`")
    if as_json:
        typer.echo(json.dumps(found.described()))
    else:
        typer.echo(
            f"generation {found.generation}: keys={found.keys} equal={found.equal} differing={found.differing} "
            f"missing_in_store={found.missing_in_store} missing_in_logs={found.missing_in_logs} "
            f"reviews_differing={found.reviews_differing}"
        )
        for example in found.examples:
            typer.echo(f"  {example}")
    if not found.ok:
        raise typer.Exit(CHECK_FAILED)
