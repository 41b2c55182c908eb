"""The command behind `make demo`."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(demo)


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the simulated history.")] = 1,
    accounts: Annotated[int, typer.Option(help="Accounts of persons and companies.")] = 6_000,
    payments: Annotated[int, typer.Option(help="Payments of the history.")] = 60_000,
    days: Annotated[float, typer.Option(help="Length of the history in days.")] = 40.0,
    live: Annotated[int, typer.Option(help="Payments to send live through Kafka.")] = 1_500,
    rate: Annotated[float, typer.Option(help="Live payments per second.")] = 50.0,
    rest: Annotated[int, typer.Option(help="Payments to send through REST.")] = 100,
) -> None:
    """Run the whole platform once: history, training, live payments, proof; leaves things running."""
    from sentinela.demo import DemoPlan, run
    from sentinela.progress import to_stderr

    plan = DemoPlan(seed=seed, accounts=accounts, payments=payments, days=days, live=live, rate=rate, rest=rest)
    typer.echo(run(plan, to_stderr()))
