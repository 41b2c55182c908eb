"""`sentinela` as a person types it, in this process."""

from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from sentinela.cli import build
from sentinela.errors import SentinelaError


@dataclass(frozen=True)
class Told:
    """What the caller of a command gets."""

    returncode: int
    stdout: str
    stderr: str


def run(environment: Mapping[str, str], *words: str) -> Told:
    done = CliRunner().invoke(build(), list(words), env=environment)
    if isinstance(done.exception, SentinelaError):
        return Told(done.exception.exit_code, done.stdout, f"{done.stderr}{done.exception}")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Told(done.exit_code, done.stdout, done.stderr)
