"""What models would have said of a past: backtest."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Entity(StrEnum):
    """What is scored beside payments."""

    ACCOUNT = "account"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(backtest)


def backtest(
    history: Annotated[str, typer.Option(help="Name of an import; live is the past of the live traffic.")],
    start: Annotated[
        str,
        typer.Option(metavar="DATE", help="First training day, from midnight in Brasília; or a time with its offset."),
    ],
    train_days: Annotated[int, typer.Option(help="Days that each fold learns from.")],
    delay_days: Annotated[
        int, typer.Option(help="Days between training and test; no label is known before its payment is so old.")
    ],
    test_days: Annotated[int, typer.Option(help="Days of each test; the next fold begins so much later.")],
    folds: Annotated[int, typer.Option(help="How many folds.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file: one row per test payment.")],
    seed: Annotated[int, typer.Option(help="Of samples and models; the same one gives the same scores.")] = 7,
    entity: Annotated[
        Entity | None, typer.Option(help="Also score accounts, beside FILE in *.accounts.parquet.")
    ] = None,
    honest_rows: Annotated[
        int, typer.Option(help="At most about so many payments without a known fraud are fit on, in each fold.")
    ] = 200_000,
    iterations: Annotated[int, typer.Option(help="Trees of CatBoost.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Fit on a part of the past, score what came after it, move on. Needs no `up`.

    The test of a fold begins train + delay days after its training. Labels count from when they were known, and none is
    known before its payment is --delay-days old; payments between training and test are not learnt from. Features are
    those of each payment's own moment. Beside the ensemble stand a CatBoost on raw fields, the policy's rules alone,
    and each member of the ensemble.

    FILE has end_to_end_id, initiated_at, row_number (line of the imported file), score, is_fraud (null if nobody
    knows), fold, raw_fields_score and rule_severity; with --entity account also both accounts and their scores: the
    highest of an account's payments in the test.

    \b
    sentinela backtest --history bank-2025 --start 2025-03-01 --train-days 21 --delay-days 7 --test-days 7 --folds 4 \\
        --out scores.parquet
    """  # noqa: D301 - \b keeps the lines of the example
    from learning.errors import LearningError
    from sentinela import configuration
    from sentinela.backtest_report import table
    from sentinela.backtesting import Asked, run, start_of
    from sentinela.errors import SentinelaError
    from sentinela.progress import to_stderr

    settings, _ = configuration.current()
    asked = Asked(
        history=history,
        start_ms=start_of(start),
        train_days=train_days,
        delay_days=delay_days,
        test_days=test_days,
        folds=folds,
        seed=seed,
        by_account=entity is Entity.ACCOUNT,
        out=out.absolute(),
        honest_rows=honest_rows,
        iterations=iterations,
    )
    try:
        document = run(asked, settings, to_stderr())
    except LearningError as error:
        raise SentinelaError(str(error)) from error
    for line in [json.dumps(document)] if as_json else table(document):
        typer.echo(line)
