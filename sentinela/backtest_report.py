"""What a backtest leaves: a row per test payment in a Parquet file, and a table of metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentinela.errors import SentinelaError
from sentinela.progress import Say

if TYPE_CHECKING:
    import pandas as pd

    from learning.backtest import Scored
    from learning.past import Past

ALL = 0
"""Number of the row that has all folds together."""
SHOWN = (
    "average_precision",
    "roc_auc",
    "recall_at_fpr_1e-03",
    "precision_at_100_a_day",
    "account_precision_at_100_a_day",
    "saved_reais",
    "calibration_error",
)


def written(
    past: "Past", scored: "Sequence[Scored]", out: Path, *, history: str, by_account: bool, say: Say
) -> dict[str, Any]:
    """Write the file, and make the document of the metrics.

    Args:
        past: The history.
        scored: What each fold's models said.
        out: The file; accounts go beside it.
        history: Its name.
        by_account: Whether accounts are scored too.
        say: Told of a fold that cannot be judged.
    """
    import numpy as np
    import pandas as pd

    from learning import backtest

    folds = [(one.fold.number, one.places, one.scores) for one in scored]
    tests, accounts = [], []
    for number, places, scores in folds:
        facts = past.facts.iloc[places]
        test = _rows(facts, scores, number)
        if by_account:
            own = backtest.account_scores(facts, scores["ensemble"])
            accounts.append(own.assign(fold=number))
            test = _with_accounts(test, facts, own)
        tests.append(test)
    document: dict[str, Any] = {"history": history, "out": str(out)}
    _put(pd.concat(tests, ignore_index=True), out)
    if by_account:
        beside = out.with_suffix(".accounts.parquet")
        _put(pd.concat(accounts, ignore_index=True), beside)
        document["accounts"] = str(beside)
    places = np.concatenate([one.places for one in scored])
    together = {name: np.concatenate([one.scores[name] for one in scored]) for name in scored[0].scores}
    metrics = [row for part in (*folds, (ALL, places, together)) for row in _metrics(past, *part, say)]
    members = [
        {"fold": one.fold.number, "member": name, "weight": one.weights[name], "average_precision": alone}
        for one in scored
        for name, alone in backtest.members_alone(past.facts.iloc[one.places], one.scores).items()
    ]
    return {**document, "payments": len(places), "metrics": metrics, "members": members}


def _metrics(past: "Past", fold: int, places: Any, scores: Mapping[str, Any], say: Say) -> list[dict[str, Any]]:
    from learning import backtest
    from learning.costs import Costs
    from learning.evaluation import evaluate

    outcomes, judged = backtest.judged(past.facts.iloc[places], scores, Costs())
    frauds = int(outcomes.is_fraud.sum())
    if frauds in (0, len(outcomes.is_fraud)):
        say(f"fold {fold} has {frauds} known frauds among {len(outcomes.is_fraud):,} payments, so no metric")
        return []
    return [
        {"fold": fold, "judged": name, **evaluate(outcomes, one, Costs()).to_dict()} for name, one in judged.items()
    ]


def _rows(facts: "pd.DataFrame", scores: "Mapping[str, Any]", fold: int) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        {
            "end_to_end_id": facts["end_to_end_id"].to_numpy(),
            "initiated_at": pd.to_datetime(facts["event_time_ms"].to_numpy(), unit="ms", utc=True),
            "row_number": facts["row_number"].to_numpy(),
            "score": scores["ensemble"],
            "is_fraud": facts["is_fraud"].astype("boolean").array,
            "fold": fold,
            "raw_fields_score": scores["raw fields"],
            "rule_severity": scores["rules only"],
        }
    )


def _with_accounts(test: "pd.DataFrame", facts: "pd.DataFrame", accounts: "pd.DataFrame") -> "pd.DataFrame":
    of = accounts.set_index("account")["score"]
    for side in ("payer_account", "payee_account"):
        names = facts[side].astype("object").to_numpy()
        test = test.assign(**{side: names, f"{side}_score": of.reindex(names).to_numpy()})
    return test


def _put(frame: "pd.DataFrame", path: Path) -> None:
    """A file is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        frame.to_parquet(part, index=False)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SentinelaError(f"--out {path} cannot be written: {error.strerror}") from error


def table(document: Mapping[str, Any]) -> list[str]:
    """The metrics as lines: of each fold and of all together; then what each member is worth alone."""
    heads = ("AP", "AUC", "recall@1e-3", "P@100/day", "acc.@100/day", "saved R$", "calibration")
    lines = [f"{'fold':>4}  {'judged':<10} {'payments':>10} {'frauds':>7} " + " ".join(f"{head:>12}" for head in heads)]
    for row in document["metrics"]:
        shown = [f"{row[name]:>12,.0f}" if name == "saved_reais" else _number(row.get(name)) for name in SHOWN]
        counts = f"{row['payments']:>10,.0f} {row['frauds']:>7,.0f}"
        lines.append(f"{row['fold'] or 'all':>4}  {row['judged']:<10} {counts} {' '.join(shown)}")
    lines.append(f"{'fold':>4}  {'member':<10} {'weight':>18} {'AP alone':>12}")
    for row in document["members"]:
        lines.append(
            f"{row['fold']:>4}  {row['member']:<10} {row['weight']:>18.4f} {_number(row['average_precision'])}"
        )
    return lines


def _number(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:>12.4f}"
