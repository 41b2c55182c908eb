"""Nights of monitoring on simulated payments: what was found, asked for, and what came of it. Prints one line each.

.venv/bin/python scripts/drift_trial.py --seeds 3 5 7
.venv/bin/python scripts/drift_trial.py --seeds 3 --drift typology:fake_sale --drift-day 160 --days 200
.venv/bin/python scripts/drift_trial.py --full-size --elsewhere
.venv/bin/python scripts/drift_trial.py --full-size
"""

import argparse
import sys

from learning.drift_trial import Asked, Trial, run
from learning.drift_world import elsewhere, history
from learning.recipe import TrainingConfig
from pix.simulator.plan import SimulationPlan, parse_drift

START_MS = 1_790_000_000_000
FULL_SIZE = {
    "days": 190,
    "warm_days": 80,
    "payments_a_day": 600,
    "accounts": 3_000,
    "fraud_per_100k": 2_500.0,
    "drift_day": 155,
    "iterations": 100,
}
"""114,000 payments; what docs/models.md tells of."""


def main() -> None:
    """Read the arguments, and try."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 7])
    words.add_argument("--days", type=int, default=165)
    words.add_argument("--warm-days", type=int, default=90, help="looked back on, never learnt from")
    words.add_argument("--train-days", type=int, default=130, help="the first model is trained then")
    words.add_argument("--payments-a-day", type=int, default=80)
    words.add_argument("--accounts", type=int, default=400)
    words.add_argument("--fraud-per-100k", type=float, default=8_000)
    words.add_argument("--drift", action="append", default=[], help="KIND:WHAT, any number of them")
    words.add_argument(
        "--elsewhere", action="store_true", help="criminals do something else; nothing the simulator has"
    )
    words.add_argument("--drift-day", type=int, default=151)
    words.add_argument("--weekly", action="store_true", help="train every seven days besides, as the schedule does")
    words.add_argument("--iterations", type=int, default=60)
    words.add_argument("--full-size", action="store_true", help="the trial of docs/models.md; a minute or two a seed")
    if words.parse_known_args()[0].full_size:
        words.set_defaults(**FULL_SIZE)
    told = words.parse_args()
    for seed in told.seeds:
        plan = SimulationPlan(
            seed=seed,
            start_ms=START_MS,
            days=told.days,
            accounts=told.accounts,
            payments=told.payments_a_day * told.days,
            fraud_per_100k=told.fraud_per_100k,
            drifts=tuple(parse_drift(f"{one}@{told.drift_day}") for one in told.drift),
        )
        trial = Trial(
            start_ms=START_MS,
            days=told.days,
            warm_days=told.warm_days,
            train_days=told.train_days,
            weekly=told.weekly,
            drift_day=told.drift_day if told.drift or told.elsewhere else None,
            recipe=TrainingConfig(
                iterations=told.iterations, depth=4, learning_rate=0.15, test_share=0.25, folds=2, members=("catboost",)
            ),
        )
        whole = history(plan)
        if told.elsewhere:
            whole = elsewhere(whole, trial.at_ms(told.drift_day), seed=seed)
        tried = run(trial, whole, say=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        before, after = tried.precision
        print(
            f"seed {seed}: {len(whole):,} payments, {len(tried.found)} nights with findings, the first "
            f"{min(tried.found, default='never')}, {len(tried.asked)} requests; the first champion's average precision "
            f"{before:.3f}, from the drift on {after:.3f}",
            *(f"\n  {_told(one)}" for one in tried.asked),
            *(f"\n  weekly: {_told(one)}" for one in tried.weekly),
            flush=True,
        )


def _told(one: Asked) -> str:
    answer = "promoted" if one.promoted else "refused"
    gain = f"average precision from then on {one.after:.3f}, of the champion before it {one.before:.3f}"
    return f"day {one.day}: {' and '.join(one.reasons)}; {answer}, {gain}; {one.decision}"


if __name__ == "__main__":
    main()
