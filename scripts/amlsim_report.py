"""Write docs/amlsim.md: do scores of payments find the accounts that AMLSim made launderers?

    SENTINELA_HOME=/somewhere/empty .venv/bin/python scripts/amlsim_report.py

IBM AMLSim's sample says of some accounts at which step (day) their fraud begins. That is named nowhere in the import;
here it is the truth that accounts are judged by. About five minutes.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from learning.evaluation import intervals
from learning.ranking import Ranking

REPOSITORY = Path(__file__).resolve().parents[1]
ARCHIVE = REPOSITORY.parent / "shared" / "data" / "amlsim" / "20K_fanin200cycle200.tgz"
PAGE = REPOSITORY / "docs" / "amlsim.md"
COMMAND = str(Path(sys.executable).with_name("sentinela"))
TRAIN, DELAY, TEST, FOLDS, SEED = 60, 30, 14, 4, 7
FIRST = datetime(2025, 1, 1, 15, tzinfo=UTC)
"""Step 0 in the mapping."""
CHOSEN = 100
SIDES = ("sourceNodeId", "targetNodeId")
HEAD = """\
# Accounts of AMLSim

Written by `scripts/amlsim_report.py` on {day}. IBM AMLSim's sample 20K_fanin200cycle200 (Apache-2.0): {payments:,}
transfers between {accounts:,} accounts over 149 days, in which 200 cycles and 200 fan-ins are laundering. {known:,}
accounts have a `fraudStep`, the day on which their fraud begins; the import never sees it.

**Protocol.** `sentinela backtest --history amlsim --start 2025-01-01 --train-days {train} --delay-days {delay}
--test-days {test} --folds {folds} --seed {seed} --entity account`: a payment between two labelled accounts is fraud,
known {delay} days after it. Of each test's accounts those are to be found whose `fraudStep` lies in its days; left out
are those whose `fraudStep` came before, and those that are labelled without one. An account scores like its most
suspicious payment of the test. Beside it the same with scores of a CatBoost on raw fields, and a logistic regression
on what the account's own payments come to (count, sum, mean and largest amount, counterparties; of what it paid and of
what it got), learnt on windows of the same length before, each `fraudStep` known {delay} days later.

Average precision with 95 % bootstrap intervals, and precision of a test's {chosen} most suspicious accounts.

| Test | Accounts | To be found | Model | Average precision | Precision at {chosen} |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Import where that was not done, backtest, judge, write."""
    with tempfile.TemporaryDirectory() as folder:
        scores = backtested(Path(folder) / "scores.parquet")
    nodes, transfers = tables()
    joined = scores.merge(transfers, left_on="row_number", right_index=True, validate="one_to_one")
    rows, known = [], nodes["fraudStep"]
    told_without = nodes["isFraud"].eq(1) & known.lt(0)
    for fold, payments in joined.groupby("fold"):
        begin, end = int(payments["time"].min()), int(payments["time"].max()) + 1
        ours, raw = (by_account(payments, column) for column in ("score", "raw_fields_score"))
        left_out = known.between(0, begin - 1) | told_without
        own = ours.index[~left_out.reindex(ours.index)]
        truth = known.reindex(own).between(begin, end - 1).to_numpy()
        linear = logistic(transfers, known, begin, end - begin).reindex(own)
        found = {"ensemble": ours.reindex(own), "raw fields": raw.reindex(own), "logistic regression": linear}
        rows += lines(int(fold), begin, end, truth, {name: each.to_numpy() for name, each in found.items()})
    counts = {"payments": len(transfers), "accounts": len(nodes), "known": int((known >= 0).sum())}
    protocol = {"train": TRAIN, "delay": DELAY, "test": TEST, "folds": FOLDS, "seed": SEED, "chosen": CHOSEN}
    told = HEAD.format(day=f"{datetime.now(UTC):%Y-%m-%d}", **counts, **protocol)
    PAGE.write_text(told + "".join(rows), encoding="utf-8")
    sys.stdout.write(PAGE.read_text(encoding="utf-8"))


def backtested(out: Path) -> pd.DataFrame:
    """The test payments with their scores."""
    mapping = REPOSITORY / "config" / "mappings" / "amlsim.yaml"
    called("import", str(ARCHIVE), "--history", "amlsim", "--mapping", str(mapping))
    days = {"train-days": TRAIN, "delay-days": DELAY, "test-days": TEST, "folds": FOLDS, "seed": SEED}
    words = [word for name, value in days.items() for word in (f"--{name}", str(value))]
    start = ("--history", "amlsim", "--start", "2025-01-01")
    called("backtest", *start, *words, "--entity", "account", "--out", str(out))
    return pd.read_parquet(out)


def called(*words: str) -> None:
    """A command of the project, whose output stands on stderr."""
    subprocess.run([COMMAND, *words], check=True, stdout=sys.stderr)  # noqa: S603 - our own


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accounts by id, and transfers by their line of the file, whose first is the header."""
    with tarfile.open(ARCHIVE) as archive:
        content = {Path(one.name).name: archive.extractfile(one) for one in archive.getmembers() if one.isfile()}
        nodes, transfers = (pd.read_csv(io.BytesIO(content[name].read())) for name in ("nodes.csv", "transactions.csv"))
    transfers.index = pd.RangeIndex(2, len(transfers) + 2)
    return nodes.set_index("nodeid"), transfers


def by_account(payments: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Highest score of each account's payments, on either side."""
    sides = [
        payments[[side, column]].set_axis(["account", column], axis=1) for side in ("sourceNodeId", "targetNodeId")
    ]
    return pd.concat(sides).groupby("account")[column].max()


def summed(transfers: pd.DataFrame, begin: int, days: int) -> pd.DataFrame:
    """What each account's payments of some days come to."""
    window = transfers[transfers["time"].between(begin, begin + days - 1)]
    parts = []
    for own, other in (SIDES, SIDES[::-1]):
        grouped = window.groupby(own)
        part = grouped["value"].agg(["count", "sum", "mean", "max"]).assign(others=grouped[other].nunique())
        parts.append(part.add_prefix(f"{own}_"))
    return pd.concat(parts, axis=1).fillna(0.0)


def logistic(transfers: pd.DataFrame, known: "pd.Series[int]", begin: int, days: int) -> "pd.Series[float]":
    """Scores of the accounts of a test, learnt on earlier windows whose frauds were known by then."""
    starts = range(begin - DELAY - TRAIN, begin - DELAY - days + 1, days)
    frames = [summed(transfers, start, days) for start in starts]
    learnt = pd.concat(frames)
    pairs = zip(starts, frames, strict=True)
    truth = np.concatenate([known.reindex(frame.index).between(at, at + days - 1) for at, frame in pairs])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(learnt, truth)
    tested = summed(transfers, begin, days)
    return pd.Series(model.predict_proba(tested)[:, 1], index=tested.index)


def lines(fold: int, begin: int, end: int, truth: "np.ndarray", found: "dict[str, np.ndarray]") -> list[str]:
    """A test's rows of the table."""
    rankings = {name: Ranking(truth, np.nan_to_num(values)) for name, values in found.items()}
    precision = intervals(
        truth, lambda times: {name: each.average_precision(times) for name, each in rankings.items()},
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    told = []
    for name, values in found.items():
        first = np.argsort(-np.nan_to_num(values), kind="stable")[:CHOSEN]
        one = precision[name]
        told.append(
            f"| {fold}: days {begin} to {end - 1} | {len(truth):,} | {int(truth.sum())} | {name} | "
            f"{one.point:.3f} [{one.low:.3f}, {one.high:.3f}] | {truth[first].mean():.2f} |\n"
        )
    return told


if __name__ == "__main__":
    main()
