"""Commands of the policy: policy check, diff, dry-run, list add, list show."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pix.clock import epoch_ms

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
File = Annotated[Path | None, typer.Argument(help="A policy file; by default the one that the service uses.")]
ToChange = Annotated[Path | None, typer.Option("--file", help="The policy file; by default the one in use.")]
NamedPolicy = Annotated[str, typer.Argument(help="A policy file, or the version of a policy that was used once.")]
BAD_INPUT = 2
FOREVER_MS = 2**60


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="The policy: is it right, what does it change, what would it have done.")
    for command in (check, diff, dry_run):
        group.command()(command)
    lists = typer.Typer(help="Whom the policy blocks, watches or lets pass.")
    lists.command("add")(list_add)
    lists.command("show")(list_show)
    group.add_typer(lists, name="list")
    app.add_typer(group, name="policy")


def check(file: File = None, as_json: AsJson = False) -> None:
    """Look at a policy file as the service would; exit 2 with the mistakes, by line."""
    from sentinela import configuration
    from sentinela.policies import file_in_use, token_key_version
    from serving.policy import InvalidPolicy, load_policy

    settings, _ = configuration.current()
    path = file or file_in_use(settings)
    try:
        found = load_policy(path)
    except InvalidPolicy as invalid:
        if as_json:
            mistakes = [{"line": each.line, "place": each.place, "reason": each.reason} for each in invalid.mistakes]
            typer.echo(json.dumps({"ok": False, "file": str(path), "mistakes": mistakes}))
        typer.echo(f"sentinela: {invalid}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    warnings = list(found.warnings_at(epoch_ms(), token_key_version(settings)))
    if as_json:
        typer.echo(json.dumps({"ok": True, "file": str(path), "version": found.version, "warnings": warnings}))
        return
    entries = sum(len(each.entries) for each in found.lists.values())
    parts = f"{len(found.segments)} segments, {len(found.rules)} rules, {entries} entries on lists"
    typer.echo(f"{path} is right: version {found.version}, {parts}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")


def diff(old: NamedPolicy, new: NamedPolicy, as_json: AsJson = False) -> None:
    """Say what changes from one policy to another: thresholds, rules, lists, holds, and who is asked."""
    from sentinela import configuration
    from sentinela.policies import named
    from serving.policy_diff import differences

    settings, _ = configuration.current()
    before, after = named(old, settings), named(new, settings)
    changes = differences(before, after)
    if as_json:
        told = [{"what": each.what, "before": each.before, "after": each.after} for each in changes]
        typer.echo(json.dumps({"old": before.version, "new": after.version, "changes": told}))
        return
    for each in changes:
        typer.echo(str(each))
    if not changes:
        typer.echo("nothing that a decision depends on changes")


def dry_run(
    file: NamedPolicy,
    since: Annotated[str, typer.Option(help="Decisions since then: 7d, 12h, 30m ago or an RFC 3339 time.")] = "",
    until: Annotated[str, typer.Option(help="And before then.")] = "",
    as_json: AsJson = False,
) -> None:
    """Judge logged decisions again by this policy, and say what would have been decided otherwise."""
    from sentinela import configuration
    from sentinela.errors import SentinelaError
    from sentinela.policies import moment_of, named, of_dry_run
    from sentinela.progress import to_stderr
    from serving import policy_dry_run

    settings, _ = configuration.current()
    policy, now_ms = named(file, settings), epoch_ms()
    since_ms = moment_of(since, "--since", now_ms) if since else 0
    until_ms = moment_of(until, "--until", now_ms) if until else FOREVER_MS
    try:
        found = policy_dry_run.dry_run(policy, settings.lake, since_ms=since_ms, until_ms=until_ms, say=to_stderr())
    except policy_dry_run.NoDecisions as nothing:
        raise SentinelaError(str(nothing)) from nothing
    told = {"version": policy.version, **found.told()}
    for line in [json.dumps(told)] if as_json else of_dry_run(told):
        typer.echo(line)


def list_add(
    name: Annotated[str, typer.Argument(metavar="block|watch|allow", help="The list.")],
    kind: Annotated[str, typer.Option(help="What the value is: account, person, device or key.")],
    author: Annotated[str, typer.Option(help="Who puts it there.")],
    reason: Annotated[str, typer.Option(help="Why, without clear ids.")],
    until: Annotated[str, typer.Option(help="Counts for decisions before then, RFC 3339; `never` has no end.")],
    since: Annotated[str, typer.Option("--from", help="Counts from then on; by default from now.")] = "",
    side: Annotated[str, typer.Option(help="payer, payee or both; for account and person.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose payments.")] = "default",
    file: ToChange = None,
) -> None:
    """Read a clear value from standard input and put its token on a list; the clear value is written nowhere.

    The service takes the changed file by itself. An entry is taken off by deleting its line.
    """
    from sentinela import configuration
    from sentinela.errors import BadUse
    from sentinela.policies import NewEntry, add, file_in_use

    if sys.stdin.isatty():
        typer.echo(f"the {kind} to put on the {name} list, then Enter:", err=True)
    clear = sys.stdin.readline().strip()
    if not clear:
        raise BadUse("no value on standard input; pipe it in, as in `echo VALUE | sentinela policy list add ...`")
    settings, _ = configuration.current()
    asked = NewEntry(name, kind, side, clear, tenant, since, until, author, reason)
    path = file or file_in_use(settings)
    version = add(asked, path, settings, epoch_ms())
    typer.echo(f"{path} has version {version} now; see with `sentinela policy check {path}`")


def list_show(
    name: Annotated[str, typer.Argument(metavar="block|watch|allow", help="The list.")],
    file: ToChange = None,
    as_json: AsJson = False,
) -> None:
    """Show the entries of a list, and which of them count now."""
    from sentinela import configuration
    from sentinela.errors import BadUse
    from sentinela.policies import file_in_use, named
    from serving.policy_diff import entry_told
    from serving.policy_file import LIST_NAMES

    settings, _ = configuration.current()
    if name not in LIST_NAMES:
        raise BadUse(f"{name} is no list; take {', '.join(LIST_NAMES)}")
    policy, now_ms = named(str(file or file_in_use(settings)), settings), epoch_ms()
    told = [
        {"counts": entry.counts_at(now_ms), **entry_told(entry)}
        for list_name, listed in policy.lists.items()
        if list_name == name
        for entry in listed.entries
    ]
    if as_json:
        typer.echo(json.dumps(told))
        return
    for each in told:
        about = f"{each['kind']} {each['side']} {each['token']}, {each['from']} to {each['until']}"
        typer.echo(f"{'counts' if each['counts'] else 'silent'}  {about}, {each['author']}: {each['reason']}")
    if not told:
        typer.echo(f"nobody is on the {name} list")
