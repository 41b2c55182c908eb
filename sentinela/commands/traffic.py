"""Commands that make and send traffic: simulate, send."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from pix.clock import epoch_ms

DAY_SECONDS = 86_400


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(simulate)
    app.command()(send)


def simulate(
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    days: Annotated[float, typer.Option(help="Length of the simulated time; may be a fraction.")] = 30.0,
    accounts: Annotated[int, typer.Option(help="Accounts of persons and companies.")] = 4_000,
    payments: Annotated[int, typer.Option(help="Payments in all.")] = 50_000,
    fraud_per_100k: Annotated[
        float,
        typer.Option(
            "--fraud-per-100k", help="Payments per 100,000 accepted as fraud; small runs need more, such as 600."
        ),
    ] = 5.0,
    start: Annotated[str | None, typer.Option(help="RFC 3339; default: so that it ends now.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for payments, labels and truth (JSON lines).")] = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="Send live to Kafka instead, in present time.")] = False,
    rate: Annotated[float, typer.Option(help="With --kafka: payments per second.")] = 20.0,
    drift: Annotated[
        list[str] | None,
        typer.Option(help="KIND:WHAT@DAY, such as null:device_id@20, typology:coercion@10, outage:QRDN@5."),
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes that write files; the bytes are the same.")] = 1,
) -> None:
    """Make Pix traffic with frauds and late labels, into files or live into Kafka.

    Drifts: typology:NAME (appears only then), population:older, population:amounts, outage:INITIATION,
    null:FIELD. See docs/simulator.md for what is simulated and how true it is.
    """
    from pix.contracts import DAY_MS, parse_instant
    from pix.simulator.plan import parse_drift
    from pix.simulator.simulation import SimulationPlan, write
    from pix.simulator.simulation import simulate as run
    from sentinela.errors import BadUse
    from sentinela.progress import to_stderr

    if (out is None) == (not kafka):
        raise BadUse("give either --out DIR or --kafka")
    now_ms = epoch_ms()
    if kafka:
        days = payments / rate / DAY_SECONDS
    try:
        start_ms = now_ms if kafka else parse_instant(start) if start else now_ms - int(days * DAY_MS)
        plan = SimulationPlan(
            seed=seed,
            start_ms=start_ms,
            days=days,
            accounts=accounts,
            payments=payments,
            fraud_per_100k=fraud_per_100k,
            run=str(now_ms) if kafka else "",
            drifts=tuple(parse_drift(text) for text in drift or []),
        )
    except ValueError as error:
        raise BadUse(f"the simulation cannot be planned: {error}") from error
    if out is None:
        _live(run(plan).payments, rate)
        return
    say = to_stderr()
    counts = write(plan, out, processes, lambda done, whole: say(f"  {done:,} of {whole:,} payments"))
    say(f"{out}: " + ", ".join(f"{count:,} in {name}" for name, count in counts.items()))


def _live(payments: list[dict[str, object]], rate: float) -> None:
    from pix import topics
    from pix.contracts import canonical_json
    from sentinela import configuration
    from sentinela.progress import to_stderr
    from sentinela.sender import open_log, paced, send_to_kafka
    from sentinela.verify import SENT_FOLDER

    settings, _ = configuration.current()
    bodies = [canonical_json(payment) for payment in payments]
    with open_log(settings.root / SENT_FOLDER / f"simulate-{time.time_ns()}.jsonl") as log:
        sent = send_to_kafka(paced(bodies, rate), log, settings.kafka, topic=topics.TRANSACTIONS)
    to_stderr()(f"sent {sent.payments} payments to {topics.TRANSACTIONS}")


def send(
    file: Annotated[Path, typer.Argument(help="Payments, one JSON object a line.")],
    via: Annotated[str, typer.Option(help="rest or kafka")] = "kafka",
    rate: Annotated[float | None, typer.Option(help="Payments per second; default: as fast as possible.")] = None,
    log: Annotated[Path | None, typer.Option(help="The sender's log; default: one in the home.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Send the payments of a file, writing each into a log before it leaves."""
    from pix import topics
    from sentinela import configuration
    from sentinela.errors import BadUse, NotRunning
    from sentinela.progress import to_stderr
    from sentinela.sender import open_log, paced, read_bodies, send_to_kafka, send_to_rest
    from sentinela.verify import SENT_FOLDER

    if via not in ("rest", "kafka"):
        raise BadUse(f"--via is 'rest' or 'kafka', not {via!r}")
    settings, _ = configuration.current()
    bodies = paced(read_bodies(file), rate)
    path = log or settings.root / SENT_FOLDER / f"send-{time.time_ns()}.jsonl"
    with open_log(path) as writer:
        if via == "kafka":
            sent = send_to_kafka(bodies, writer, settings.kafka, topic=topics.TRANSACTIONS)
        else:
            api_key = (settings.secrets / "api-key").read_text().strip()
            sent = send_to_rest(bodies, writer, settings.service, api_key)
    outcome = {
        "payments": sent.payments,
        "refused": sent.refused,
        "unanswered": sent.unanswered,
        "log": str(path),
    }
    if as_json:
        typer.echo(json.dumps(outcome))
    else:
        to_stderr()(f"sent {sent.payments}, refused {sent.refused}, unanswered {sent.unanswered}; log: {path}")
    if sent.unanswered:
        raise NotRunning(f"{sent.unanswered} payments got no answer from {settings.service}; see `sentinela status`")
