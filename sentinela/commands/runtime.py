"""Commands of the local runtime: up, down, status, logs, doctor."""

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
NOT_RUNNING = 3
CHECK_FAILED = 1
SHOWN_LINES = 200
FOLLOW_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (up, down, status, logs, doctor):
        app.command()(command)


def up() -> None:
    """Start the local runtime and wait until it is healthy."""
    from sentinela.progress import to_stderr
    from sentinela.runtime import supervisor

    say = to_stderr()
    settings = supervisor.up(say)
    say(f"everything is up; Dagster is at {settings.dagster}; stop it with: sentinela down")


def down() -> None:
    """End exactly what `up` started on this home."""
    from sentinela import configuration
    from sentinela.progress import to_stderr
    from sentinela.runtime import supervisor

    supervisor.down(configuration.find_home(), to_stderr())


def status(as_json: AsJson = False) -> None:
    """Show how every part is; exit 3 when a part that `up` starts is not healthy."""
    from dataclasses import asdict

    from sentinela import configuration
    from sentinela.runtime import services, supervisor

    settings, home = configuration.current()
    states = supervisor.status(settings, home)
    pages = services.pages(settings)
    if as_json:
        found = [asdict(state) for state in states]
        shown = {"home": str(home.root), "environment": settings.environment, "services": found, "pages": pages}
        typer.echo(json.dumps(shown))
    else:
        typer.echo(f"home  {home.root} ({settings.environment})")
        for state in states:
            told = state.problem or state.url or ""
            typer.echo(f"{state.name:15} {state.state:10} {state.pid or '-':>8}  {told}")
        for name, url in pages.items():
            typer.echo(f"{name:15} {'page':10} {'-':>8}  {url or 'no report yet: it comes with the nightly refresh'}")
    # Streams come and go by themselves: a sensor renews them.
    if not all(state.healthy for state in states if state.name not in services.stream_names(settings)):
        raise typer.Exit(NOT_RUNNING)


def logs(
    name: Annotated[str, typer.Argument(help="A name that `status` lists.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines arrive.")] = False,
) -> None:
    """Print the end of a part's log; readable on a terminal, as it is into a pipe."""
    from pix.log_lines import readable
    from sentinela import configuration
    from sentinela.errors import BadUse, NotRunning
    from sentinela.progress import to_stderr
    from sentinela.runtime import services

    settings, home = configuration.current()
    if name not in (listed := services.listed(settings)):
        raise BadUse(f"there is no part {name!r}; the names are {', '.join(listed)}")
    path = home.log(services.logged_with(settings).get(name, name))
    if path != home.log(name):
        to_stderr()(f"{name} writes to {path}")
    if not path.exists():
        raise NotRunning(f"there is no {path}: {name} was never started on this home; run `sentinela up`")
    _print_end(path, follow, readable if sys.stdout.isatty() else str)


def _print_end(path: Path, follow: bool, shown: Callable[[str], str]) -> None:
    with path.open(errors="replace") as file:
        sys.stdout.writelines(map(shown, deque(file, maxlen=SHOWN_LINES)))
        sys.stdout.flush()
        while follow:
            line = file.readline()
            if line:
                sys.stdout.write(shown(line))
                sys.stdout.flush()
            else:
                time.sleep(FOLLOW_SECONDS)


def doctor(as_json: AsJson = False) -> None:
    """Check this machine and this home, and name the next step for what is wrong."""
    from dataclasses import asdict

    from sentinela.runtime import doctor as checks

    findings = checks.examine()
    if as_json:
        typer.echo(json.dumps({"checks": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            typer.echo(f"{finding.verdict:5} {finding.name:10} {finding.found}")
            if finding.next_step:
                typer.echo(f"{'':16} next: {finding.next_step}")
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(CHECK_FAILED)
