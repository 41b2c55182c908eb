"""The command line: ``sentinela``.

Commands live in ``sentinela.commands``, one module per area, each with ``register(app)``; they import
what is heavy inside their bodies, so that every call starts fast. Exit codes: 0 ok, 1 a check failed,
2 bad use or input, 3 something needed is not running.
"""

import sys
from collections.abc import Callable

import typer

from sentinela.commands import (
    backtest,
    decision,
    demo,
    dlq,
    key,
    lake,
    model,
    policy,
    privacy,
    replay,
    review,
    runtime,
    store,
    traffic,
)
from sentinela.errors import SentinelaError

AREAS: tuple[Callable[[typer.Typer], None], ...] = (
    runtime.register,
    traffic.register,
    replay.register,
    dlq.register,
    lake.register,
    backtest.register,
    model.register,
    decision.register,
    store.register,
    policy.register,
    review.register,
    privacy.register,
    key.register,
    demo.register,
)


def build() -> typer.Typer:
    """The application with the commands of every area."""
    app = typer.Typer(
        name="sentinela",
        help="Real-time fraud decisions for Pix, with the platform that proves them.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for register in AREAS:
        register(app)
    return app


def main() -> None:
    """Entry point of the ``sentinela`` command."""
    try:
        build()()
    except SentinelaError as error:
        sys.stderr.write(f"sentinela: {error}\n")
        sys.exit(error.exit_code)
