"""Write docs/model-figures.md: what ensemble, raw fields and rules are worth on the simulator's default mixture.

    .venv/bin/python scripts/model_figures.py /somewhere/with/20GB --seeds 21 22 23

Per seed: simulate, import into a home of its own, backtest, judge. What is in the folder already is not made again; the
home is removed once its scores are there. About 20 minutes a seed on two cores.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from model_figures_page import HINDSIGHT, PICTURES, RARE_PER_100K, Figures, Protocol, page
from model_figures_plots import plot_over, plot_typologies
from pyarrow import json as arrow_json

from learning.blending import calibration_points, probabilities_of
from learning.calibration import at_other_odds
from learning.comparison import compare
from learning.costs import Costs
from learning.evaluation import Judged, Outcomes, evaluate
from learning.groups import groups
from learning.judging import row
from learning.ranking import Bools, Floats, Ints, average_precision
from learning.training import ENSEMBLE, RAW, RULES
from pix.contracts import label_from
from pix.labels import CONTESTED, fold_labels

PAGE = Path(__file__).resolve().parents[1] / "docs" / "model-figures.md"
COMMAND = str(Path(sys.executable).with_name("sentinela"))
TYPOLOGY_RATES = (1e-3, 1e-2)
COSTS = Costs()
SURE = 1e-9
"""Odds are finite within this."""
PAYMENT = {"end_to_end_id": pa.string(), "amount_cents": pa.int64(), "payee_account": pa.string()}
TRUTH = {"end_to_end_id": pa.string(), "is_fraud": pa.bool_(), "typology": pa.string(), "campaign": pa.int64()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a seed's files stand.

    Attributes:
        work: The folder.
        seed: The seed.
    """

    work: Path
    seed: int

    @property
    def simulation(self) -> Path:
        """Folder of what was simulated."""
        return self.work / str(self.seed)

    @property
    def home(self) -> Path:
        """Home of the import and of the backtest."""
        return self.work / f"{self.seed}.home"

    @property
    def scores(self) -> Path:
        """Every payment of the tests with its scores."""
        return self.work / f"{self.seed}.scores.parquet"

    @property
    def figures(self) -> Path:
        """What the scores are worth."""
        return self.work / f"{self.seed}.figures.json"


def main(words: Sequence[str]) -> None:
    """Make what is missing, judge, write."""
    usual = Protocol()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for simulations and scores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23])
    parser.add_argument("--payments", type=int, default=usual.payments)
    parser.add_argument("--accounts", type=int, default=usual.accounts)
    parser.add_argument("--fraud-per-100k", type=int, default=usual.fraud_per_100k)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--prefix", default="", help="words before import and backtest, such as 'nice -n 19'")
    asked = parser.parse_args(words)
    protocol = Protocol(payments=asked.payments, accounts=asked.accounts, fraud_per_100k=asked.fraud_per_100k)
    found = []
    for seed in asked.seeds:
        place = Place(work=asked.work, seed=seed)
        made(place, protocol, shlex.split(asked.prefix))
        if not place.figures.exists():
            say(f"seed {seed}: judging")
            place.figures.write_text(json.dumps(asdict(judged(place))))
        found.append(Figures(**json.loads(place.figures.read_text())))
    images = asked.page.parent / "images"
    images.mkdir(exist_ok=True)
    plot_over(protocol, found, images / PICTURES["over"])
    plot_typologies(found, images / PICTURES["typologies"])
    asked.page.write_text(page(protocol, found), encoding="utf-8")
    say(f"wrote {asked.page}")


def made(place: Place, protocol: Protocol, prefix: Sequence[str]) -> None:
    """Simulate, import and backtest, as far as that was not done."""
    if not place.simulation.exists():
        part = place.work / f"{place.seed}.part"
        shutil.rmtree(part, ignore_errors=True)
        told(place, "simulate", *protocol.simulated(place.seed), "--out", str(part))
        part.rename(place.simulation)
    if place.scores.exists():
        return
    imported = place.home / "imported"
    if not imported.exists():
        shutil.rmtree(place.home, ignore_errors=True)
        told(place, "import", str(place.simulation), "--history", "sim", prefix=prefix)
        imported.touch()
    start = ("--start", first_day(place.simulation))
    told(place, "backtest", *protocol.backtested(place.seed), *start, "--out", str(place.scores), prefix=prefix)
    shutil.rmtree(place.home)


def told(place: Place, *words: str, prefix: Sequence[str] = ()) -> None:
    """Run a command of the project in the seed's home; its output stands on stderr."""
    begun = time.monotonic()
    say(f"seed {place.seed}: sentinela {' '.join(words)}")
    environment = {**os.environ, "SENTINELA_HOME": str(place.home)}
    subprocess.run([*prefix, COMMAND, *words], check=True, stdout=sys.stderr, env=environment)  # noqa: S603 - our own
    say(f"seed {place.seed}: {words[0]} took {time.monotonic() - begun:.0f} s")


def first_day(simulation: Path) -> str:
    """Day in Brasília of the first payment."""
    with (simulation / "payments.jsonl").open() as lines:
        return str(json.loads(next(lines))["initiated_at"])[:10]


def lines_of(path: Path, columns: dict[str, Any], wanted: "pd.Index[str]") -> pd.DataFrame:
    """Some columns of a file of JSON lines, of the payments that are wanted, in their order."""
    parse = arrow_json.ParseOptions(explicit_schema=pa.schema(columns.items()), unexpected_field_behavior="ignore")
    table = arrow_json.read_json(path, parse_options=parse)
    return table.to_pandas().set_index("end_to_end_id").loc[wanted]


@dataclass(frozen=True, slots=True)
class Tested:
    """The payments of the tests, one place each.

    Attributes:
        outcomes: What the labels say; where they say nothing, no fraud.
        known: Of which payments they say something.
        values: Name of what is judged -> its scores.
        folds: Number of the test.
        series: Number of the campaign; see ``campaigns``.
        is_fraud: What the simulator knows.
        typology: What kind of fraud; "" where it is none.
    """

    outcomes: Outcomes
    known: Bools
    values: dict[str, Floats]
    folds: Ints
    series: Ints
    is_fraud: Bools
    typology: "pd.Series[str]"


def loaded(place: Place) -> Tested:
    """Scores with amounts and truth."""
    tested = pd.read_parquet(place.scores)
    ids = pd.Index(tested["end_to_end_id"])
    paid = lines_of(place.simulation / "payments.jsonl", PAYMENT, ids)
    truth = lines_of(place.simulation / "truth.jsonl", TRUTH, ids)
    ends = in_the_end(place.simulation / "labels.jsonl").reindex(ids, fill_value=False)
    kinds = truth["typology"].fillna("").reset_index(drop=True)
    outcomes = Outcomes(
        is_fraud=ends.fillna(value=False).to_numpy(np.bool_),
        times_ms=tested["initiated_at"].astype("datetime64[ms, UTC]").astype(np.int64).to_numpy(),
        amount_cents=paid["amount_cents"].to_numpy(),
        accounts=pd.factorize(paid["payee_account"])[0].astype(np.int64),
        weights=np.ones(len(tested)),
        groups={"typology": kinds.to_numpy(np.str_)},
    )
    columns = {ENSEMBLE: "score", RAW: "raw_fields_score", RULES: "rule_severity"}
    return Tested(
        outcomes=outcomes,
        known=ends.notna().to_numpy(),
        values={name: tested[column].to_numpy(np.float64) for name, column in columns.items()},
        folds=tested["fold"].to_numpy(np.int64),
        series=campaigns(truth),
        is_fraud=truth["is_fraud"].to_numpy(np.bool_),
        typology=kinds,
    )


def judged(place: Place) -> Figures:
    """Every figure of a seed."""
    tested = loaded(place)
    known, outcomes = tested.known, tested.outcomes.where(tested.known)
    values, series = {name: found[known] for name, found in tested.values.items()}, tested.series[known]
    values[HINDSIGHT] = in_hindsight(values[RAW], outcomes)
    reported = tested.is_fraud & tested.outcomes.is_fraud
    campaign = pd.Series(tested.series)[tested.is_fraud]
    return Figures(
        seed=place.seed,
        first_day=first_day(place.simulation),
        tested=len(known),
        unknown=int((~known).sum()),
        known_frauds=int(outcomes.is_fraud.sum()),
        true_frauds=int(tested.is_fraud.sum()),
        campaigns=len(np.unique(series[outcomes.is_fraud])),
        campaigns_by_typology=campaign.groupby(tested.typology).nunique().to_dict(),
        known_by_typology=tested.typology[reported].value_counts().to_dict(),
        rows=[
            *natural(outcomes, values, series, place.seed),
            *rare(outcomes, values, series, tested.is_fraud[known], place.seed),
            *by_test(outcomes, values, tested.folds[known]),
            *by_truth(tested),
        ],
    )


def in_the_end(path: Path) -> "pd.Series[bool]":
    """Payment -> whether it is fraud by all its labels, also those known after the simulation's end; no others."""
    said: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    with path.open() as lines:
        for label in (label_from(json.loads(line)) for line in lines):
            said[label.end_to_end_id].append((label.known_at, label.label_id, label.kind))
    decided = {
        identity: fold_labels({}, labels)[0].counted_at_ms is not None
        for identity, labels in said.items()
        if any(kind != CONTESTED for *_, kind in labels)
    }
    return pd.Series({identity: decided.get(identity) for identity in said}, dtype="boolean")


def campaigns(truth: pd.DataFrame) -> Ints:
    """Number of the campaign of each payment; an honest one that was taken for fraud is a campaign of its own."""
    alone = -1 - np.arange(len(truth))
    return truth["campaign"].where(truth["is_fraud"]).fillna(pd.Series(alone, index=truth.index)).to_numpy(np.int64)


def in_hindsight(probabilities: Floats, outcomes: Outcomes) -> Floats:
    """Calibrated on the very payments that are judged: no calibration could have served a model better."""
    sure = np.clip(probabilities, SURE, 1 - SURE)
    odds = np.log(sure / (1 - sure))
    return probabilities_of(odds, calibration_points(odds, outcomes.is_fraud, outcomes.weights))


def models_of(outcomes: Outcomes, values: dict[str, Floats]) -> dict[str, Judged]:
    """What alerts: models where that is expected to be worth it, rules where they say so."""
    models = {name: Judged.model(outcomes, found, COSTS) for name, found in values.items() if name != RULES}
    return {**models, RULES: Judged(values[RULES], values[RULES] > 0, is_model=False)}


def natural(outcomes: Outcomes, values: dict[str, Floats], series: Ints, seed: int) -> Iterator[dict[str, Any]]:
    """Figures of the payments as they are."""
    compared = models_of(outcomes, values)
    yield from comparisons("natural", outcomes, compared, series, seed)
    for name, one in compared.items():
        for metric, value in evaluate(outcomes, one, COSTS).to_dict().items():
            yield row(name, "natural", "", metric, value)


def rare(
    outcomes: Outcomes, values: dict[str, Floats], series: Ints, is_fraud: Bools, seed: int
) -> Iterator[dict[str, Any]]:
    """The same at few frauds, of which the models are told by as much lower odds."""
    rate = RARE_PER_100K / 100_000
    factor, rarer = outcomes.factor_to(rate, is_fraud), outcomes.at_base_rate(rate, is_fraud)
    told = {name: at_other_odds(found, factor) for name, found in values.items() if name != RULES}
    compared = models_of(rarer, {**told, RULES: values[RULES]})
    yield from comparisons("rare", rarer, compared, series, seed)
    for name, one in compared.items():
        yield row(name, "rare", "", "alerts", float((rarer.weights * one.alerts).sum()))


def comparisons(
    split: str, outcomes: Outcomes, compared: dict[str, Judged], series: Ints, seed: int
) -> Iterator[dict[str, Any]]:
    """Average precision and R$, and what the ensemble has over the others, drawn by payment and by campaign."""
    for drawn, of in (("payment", None), ("campaign", series)):
        found = compare(outcomes, compared, ENSEMBLE, COSTS, seed=seed, series=of)
        for metric, each in asdict(found).items():
            for name, interval in each.items():
                yield {**row(name, split, drawn, metric, interval["point"]), "low": interval["low"],
                       "high": interval["high"]}  # fmt: skip


def by_test(outcomes: Outcomes, values: dict[str, Floats], folds: Ints) -> Iterator[dict[str, Any]]:
    """Average precision of each test by itself."""
    for fold in np.unique(folds):
        for name, scores in values.items():
            chosen = folds == fold
            precision = average_precision(outcomes.is_fraud[chosen], scores[chosen])
            yield row(name, "test", str(fold), "average_precision", precision)


def by_truth(tested: Tested) -> Iterator[dict[str, Any]]:
    """What is true of every fraud, whether or not anybody reported it, and of every typology."""
    true = replace(tested.outcomes, is_fraud=tested.is_fraud)
    for name, one in models_of(true, tested.values).items():
        for metric, value in evaluate(true, one, COSTS).to_dict().items():
            yield row(name, "truth", "", metric, value)
        for rate in TYPOLOGY_RATES:
            for group in groups(true, one.scores, rate):
                found = row(name, f"typology_at_{rate:.0e}", group.name, "recall", group.recall)
                yield {**found, "frauds": int(group.frauds)}


def say(line: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
