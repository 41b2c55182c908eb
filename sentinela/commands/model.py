"""Commands of the served model: rollback, promote."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sentinela.succession import Moved

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
By = Annotated[str, typer.Option("--by", help="Who wants it; by default the user of this machine.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(rollback)
    app.command()(promote)


def rollback(
    to: Annotated[
        str | None, typer.Option(help="A version that served once; by default the one before the present.")
    ] = None,
    by: By = "",
    reason: Annotated[str, typer.Option(help="Why; it stands on the version that is taken out of service.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let the model that served before serve again; the present one is never promoted again by itself.

    It is verified and loaded before the alias moves; the service follows within a second. Exit 1 if there is none or
    it must not be served, 2 if the version that is named never served, 3 if MLflow does not answer.
    """
    from sentinela import configuration, succession

    settings, _ = configuration.current()
    _show(succession.roll_back(settings, to, by=by or _user(), reason=reason, now=datetime.now(UTC)), as_json)


def promote(
    version: Annotated[str, typer.Argument(help="A version that `model/champion` proposed.")],
    by: By = "",
    note: Annotated[str, typer.Option(help="What you have to say; it stands on the version.")] = "",
    as_json: AsJson = False,
) -> None:
    """Approve a proposed challenger, as the asset `model/approval` does; exit 2 if it is not proposed (any more)."""
    from sentinela import configuration, succession

    settings, _ = configuration.current()
    _show(succession.approve(settings, version, by=by or _user(), note=note, now=datetime.now(UTC)), as_json)


def _user() -> str:
    import getpass

    return getpass.getuser()


def _show(moved: "Moved", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(moved.document()))
        return
    for line in moved.lines():
        typer.echo(line)
