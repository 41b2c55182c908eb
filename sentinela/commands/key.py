"""Commands of the API's keys: key create, list, rotate, revoke. Services take a change over within a second."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from serving.keys import KeyFile, StoredKey

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Id = Annotated[str, typer.Argument(help="Id of the key, as `sentinela key list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="API keys: who may call the decision service, for what and until when.")
    group.command()(create)
    group.command(name="list")(list_keys)
    group.command()(rotate)
    group.command()(revoke)
    app.add_typer(group, name="key")


def create(
    owner: Annotated[str, typer.Option(help="The client; it sees the decisions asked for with any of its keys.")],
    scope: Annotated[
        list[str],
        typer.Option(help="What the key allows: decide, read, read:all, feedback, review, admin; repeatable."),
    ],
    days: Annotated[float, typer.Option(min=0, help="How long it works.")] = 365,
    tenant: Annotated[
        list[str] | None, typer.Option(help="Whose payments it may send and see; repeatable, * is everybody's.")
    ] = None,
    per_minute: Annotated[int, typer.Option(min=1, help="Requests a minute, in each worker.")] = 30_000,
    burst: Annotated[int, typer.Option(min=1, help="Requests at once, in each worker.")] = 25_000,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it this once; only its hash is kept."""
    with _key_file() as keys:
        made, key = keys.create(
            owner,
            scope,
            datetime.now(UTC),
            tenants=tenant or ["default"],
            days=days,
            rate_per_minute=per_minute,
            burst=burst,
        )
    _show_once(made, key, as_json)


def list_keys(as_json: AsJson = False) -> None:
    """Show every key that was made, never the keys themselves."""
    now = datetime.now(UTC)
    with _key_file() as keys:
        found = keys.load().keys
    if as_json:
        typer.echo(json.dumps({"keys": [_described(each, now) for each in found]}))
        return
    for each in found:
        told = _described(each, now)
        until = told["expires_at"] or "for ever"
        scopes, tenants = ",".join(each.scopes), ",".join(each.tenants)
        typer.echo(f"{each.id:>9}  {told['state']:8} {each.owner:20} until {until:25} {scopes}  tenants {tenants}")


def rotate(
    key_id: Id,
    grace: Annotated[float, typer.Option(min=0, help="Hours that the old key goes on working.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Make a key like another one and show it this once; the old one ends after the grace."""
    with _key_file() as keys:
        made, key = keys.rotate(key_id, datetime.now(UTC), timedelta(hours=grace))
    _show_once(made, key, as_json)


def revoke(key_id: Id, as_json: AsJson = False) -> None:
    """End a key for good, now."""
    now = datetime.now(UTC)
    with _key_file() as keys:
        gone = keys.revoke(key_id, now)
    typer.echo(json.dumps(_described(gone, now)) if as_json else f"key {gone.id} of {gone.owner} is revoked")


def _show_once(made: "StoredKey", key: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_described(made, made.created_at), "key": key}))
        return
    typer.echo(key)
    until = made.expires_at.isoformat(timespec="seconds") if made.expires_at is not None else "for ever"
    typer.echo(f"key {made.id} of {made.owner}, until {until}; it is not shown again", err=True)


def _described(key: "StoredKey", now: datetime) -> dict[str, Any]:
    return {**key.model_dump(mode="json", exclude={"key_hash"}), "state": key.state(now)}


@contextmanager
def _key_file() -> "Iterator[KeyFile]":
    """The key file of the home; what is wrong with it ends the command."""
    from pix.locks import LockHeld
    from sentinela import configuration
    from sentinela.errors import BadUse, NotRunning, SentinelaError
    from serving.keys import KeyFile, KeyFileError, NoKeys

    settings, _ = configuration.current()
    try:
        yield KeyFile(settings.secrets)
    except NoKeys as missing:
        raise NotRunning(str(missing)) from missing
    except KeyFileError as refused:
        raise BadUse(str(refused)) from refused
    except LockHeld as held:
        raise SentinelaError(str(held)) from held
    except OSError as error:
        raise BadUse(f"cannot write the keys: {error}; set SENTINELA_HOME to a folder of yours") from error
