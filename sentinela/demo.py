"""The demo: every part once, for real, with a table at the end.

A second run keeps what is there: the history is imported once per home, live payments get new ids, the
new challenger has to beat the champion, and `verify` covers all runs.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from pix import topics
from pix.clock import epoch_ms
from pix.contracts import DAY_MS, LIVE_HISTORY, canonical_json, label_id
from pix.offline.days import day_at
from pix.settings import Settings
from pix.simulator.simulation import Simulation, SimulationPlan, simulate, write
from sentinela.dagster_runs import launch
from sentinela.errors import NotRunning, SentinelaError
from sentinela.history import deposit
from sentinela.importing import has_history
from sentinela.progress import Say
from sentinela.report import closing_table
from sentinela.sender import Sent, open_log, paced, send_to_kafka, send_to_rest
from sentinela.verify import SENT_FOLDER, verify

# The simulated past is that of the live traffic: the same accounts go on paying.
HISTORY = LIVE_HISTORY
EVERYTHING_JOB = "everything_job"
PROOF_JOB = "daily_refresh_job"
FRAUD_PER_100K = 600.0
LIVE_FRAUD_PER_100K = 2_000.0
SERVED_WITHIN_SECONDS = 30
STREAMS_WITHIN_SECONDS = 90
REST_RATE = 20.0
VERIFY_SECONDS = 120.0
Outcome = TypeVar("Outcome")

MALFORMED = ('{"end_to_end_id": "not an id", "amount_cents": %d}', '{"amount_cents": NaN, "run": %d}', "not JSON %d")
"""Each run sends them with its own stamp: equal bodies would count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """Sizes of a demo.

    Attributes:
        seed: Seed of the population and its history.
        accounts: Accounts in the population.
        payments: Payments of the history.
        days: Length of the history.
        live: Payments sent through Kafka.
        rate: Live payments per second.
        rest: Payments sent through REST.
    """

    seed: int
    accounts: int
    payments: int
    days: float
    live: int
    rate: float
    rest: int


@dataclass(frozen=True, slots=True)
class LiveTraffic:
    """What was sent live.

    Attributes:
        simulation: The payments, through Kafka first, then REST, with their truth.
        rest: What the REST part came to.
    """

    simulation: Simulation
    rest: Sent


def run(plan: DemoPlan, say: Say) -> str:
    """Run the demo and return its closing table.

    Raises:
        SentinelaError: A step failed; the message names it and the next step.
    """
    from sentinela.runtime import supervisor

    start = time.monotonic()
    first_day = day_at(epoch_ms() - int(plan.days * DAY_MS))
    proposed = {"first_day": first_day.isoformat()}
    settings = _step(1, "start the local runtime", say, lambda: supervisor.up(say, proposed))
    _step(2, "simulate a history that ends now", say, lambda: _history(plan, settings, say))
    _step(3, "import, features, train, promote", say, lambda: launch(settings.dagster, EVERYTHING_JOB, say))
    _step(4, "the service takes the champion", say, lambda: _wait_for_champion(settings))
    _step(5, "the streams run", say, lambda: _wait_for_streams(settings))
    live = _step(6, "live payments through Kafka and REST", say, lambda: _live(plan, settings, say))
    verified = _step(
        7,
        "verify, prove that online equals offline, look for drift",
        say,
        lambda: verify(settings, [], VERIFY_SECONDS, say, PROOF_JOB),
    )
    if not verified.ok:
        raise SentinelaError(f"verify found a fault: {verified.counts.line()}; see {settings.root / 'logs'}")
    return closing_table(settings, live.simulation.truth, live.rest, verified, time.monotonic() - start)


def _step(number: int, title: str, say: Say, work: Callable[[], Outcome]) -> Outcome:
    say(f"[{number}/7] {title}")
    start = time.monotonic()
    outcome = work()
    say(f"[{number}/7] {title}: done in {time.monotonic() - start:.0f} s")
    return outcome


def _history(plan: DemoPlan, settings: Settings, say: Say) -> None:
    if has_history(settings, HISTORY):
        say("  this home has its history; nothing is simulated again")
        return
    past = SimulationPlan(
        seed=plan.seed,
        start_ms=epoch_ms() - int(plan.days * DAY_MS),
        days=plan.days,
        accounts=plan.accounts,
        payments=plan.payments,
        fraud_per_100k=FRAUD_PER_100K,
    )
    with tempfile.TemporaryDirectory() as folder:
        counts = write(past, Path(folder))
        deposit(settings.root, Path(folder), HISTORY)
    say("  simulated " + ", ".join(f"{count:,} in {name}" for name, count in counts.items()))


def _wait_for_champion(settings: Settings) -> None:
    headers = {"Authorization": f"Bearer {(settings.secrets / 'api-key').read_text().strip()}"}
    deadline = time.monotonic() + SERVED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if httpx.get(f"{settings.service}/v1/model", headers=headers, timeout=10).json()["model"]:
            return
        time.sleep(0.3)
    raise NotRunning(
        f"the service took no champion within {SERVED_WITHIN_SECONDS} s; whether and why one was promoted stands at "
        f"{settings.dagster}/assets/model/champion, what the service says in `sentinela logs serving`"
    )


def _wait_for_streams(settings: Settings) -> None:
    from sentinela.runtime import services, supervisor
    from sentinela.runtime.home import Home

    streams = services.stream_names(settings)
    deadline = time.monotonic() + STREAMS_WITHIN_SECONDS
    while True:
        states = supervisor.status(settings, Home(settings.root))
        stopped = [state.name for state in states if state.name in streams and not state.healthy]
        if not stopped:
            return
        if time.monotonic() > deadline:
            raise NotRunning(
                f"{', '.join(stopped)} did not start within {STREAMS_WITHIN_SECONDS} s; "
                f"see its runs at {settings.dagster}/runs"
            )
        time.sleep(1)


def _live(plan: DemoPlan, settings: Settings, say: Say) -> LiveTraffic:
    now_ms = epoch_ms()
    count = plan.live + plan.rest
    seconds = plan.live / plan.rate + plan.rest / REST_RATE
    live = simulate(
        SimulationPlan(
            seed=plan.seed,
            start_ms=now_ms,
            days=seconds * 1000 / DAY_MS,
            accounts=plan.accounts,
            payments=count,
            fraud_per_100k=LIVE_FRAUD_PER_100K,
            run=str(now_ms),
        )
    )
    bodies = [canonical_json(payment) for payment in live.payments]
    through_kafka, through_rest = bodies[: plan.live], bodies[plan.live :]
    api_key = (settings.secrets / "api-key").read_text().strip()
    with open_log(settings.root / SENT_FOLDER / f"demo-{now_ms}.jsonl") as log:
        half = len(through_kafka) // 2
        malformed = [(text % now_ms).encode() for text in MALFORMED]
        mixed = [*through_kafka[:half], *malformed, *through_kafka[half:]]
        send_to_kafka(paced(mixed, plan.rate), log, settings.kafka, topic=topics.TRANSACTIONS)
        say(f"  {plan.live} through Kafka, and {len(MALFORMED)} malformed ones")
        rest = send_to_rest(paced(through_rest, REST_RATE), log, settings.service, api_key)
        say(f"  {rest.payments} through REST")
    send_to_kafka(_analyst_labels(live), None, settings.kafka, topic=topics.LABELS)
    return LiveTraffic(live, rest)


def _analyst_labels(live: Simulation) -> list[bytes]:
    """An analyst confirms every second fraud at once; the MED's labels would take days."""
    frauds = [row["end_to_end_id"] for row in live.truth if row["is_fraud"]]
    times = {payment["end_to_end_id"]: payment["initiated_at"] for payment in live.payments}
    labels = []
    for identity in frauds[::2]:
        fields: Mapping[str, object] = {
            "end_to_end_id": identity,
            "kind": "confirmed",
            "fraud_type": "SCAM",
            "effective_at": times[identity],
            "known_at": times[identity],
            "source": "analyst",
        }
        labels.append(canonical_json({**fields, "label_id": label_id(dict(fields))}))
    return labels
