"""Workers of the decision service that start in no time, and die where they are told to.

``nursery.py BOOTSTRAP HOME`` imports once and forks a worker per line that it reads: JSON of ``Order``; it answers with
the worker's process id. All workers share the LMDB store in HOME. A gap is a place between commit and answer:

    decide -> committed -> publish -> published -> answer
                                               -> trimmed: the outbox, of what Kafka took in the last moment
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from pix.clock import epoch_ms
from pix.contracts import PaymentMessage
from pix.engines.layout import STATE_LAYOUT
from pix.store.interface import Message
from pix.store.lmdb import LmdbStore
from pix.tokens import Keyring, ensure_keys, load_keyring
from serving import worker
from serving.door import door_by_hand
from serving.http import create_app
from serving.outcomes import Arrival, Conflict, Done
from serving.pipeline import DecisionPipeline
from serving.policy import Policy, load_policy
from serving.publisher import Publisher
from serving.running import Running
from serving.worker import FrontProtocol

POLICY = Path(__file__).resolve().parents[2] / "config" / "policy.yaml"
GAPS = ("committed", "published", "trimmed")
SWEEP_SECONDS = 0.2
SWEEP_OLDER_THAN_MS = 500


@dataclass(frozen=True)
class Order:
    """One worker.

    Attributes:
        port: Where it listens.
        gap: Where it dies; nowhere if empty.
        after: How often it passes there before.
        deadline_seconds: Of its requests.
    """

    port: int
    gap: str = ""
    after: int = 0
    deadline_seconds: float = 2.0


@dataclass
class Death:
    """Waits for the gap; says what was under way, then the process is gone as by ``kill -9``."""

    order: Order
    log: Path
    running: Running | None = None
    passed: int = 0

    def at(self, gap: str) -> None:
        under_way = self.running.under_way if self.running else 0
        # A sweep passes here, too, but is nobody's answer.
        if gap != self.order.gap or not under_way:
            return
        self.passed += 1
        if self.passed > self.order.after:
            with self.log.open("a") as log:
                log.write(json.dumps({"gap": gap, "pid": os.getpid(), "under_way": under_way}) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


class MortalPipeline(DecisionPipeline):
    """Dies between commit and publish."""

    death: Death

    def decide(self, message: PaymentMessage, arrival: Arrival) -> Done | Conflict:
        done = super().decide(message, arrival)
        self.death.at("committed")
        return done


class MortalPublisher(Publisher):
    """Dies when Kafka has it and the outbox, too."""

    death: Death

    async def publish(self, messages: Sequence[Message], timeout_seconds: float) -> list[str]:
        sent = await super().publish(messages, timeout_seconds)
        self.death.at("published")
        return sent


class MortalStore(LmdbStore):
    """Dies when only the answer is missing."""

    death: Death

    def published(self, record_ids: Sequence[str]) -> None:
        super().published(record_ids)
        self.death.at("trimmed")


def serve(order: Order, bootstrap: str, home: Path, keyring: Keyring, policy: Policy) -> None:
    """One worker until it is killed."""
    death, app = Death(order, home / "deaths.jsonl"), create_app()
    store = MortalStore(str(home / "store"), STATE_LAYOUT)
    MortalStore.death = MortalPipeline.death = MortalPublisher.death = death
    pipeline = MortalPipeline(
        store=store, keyring=keyring, champion=lambda: None, policy=lambda: policy, now_ms=epoch_ms, build="test"
    )

    async def keep_sweeping(running: Running) -> None:
        while True:
            await running.delivery.sweep(epoch_ms(), SWEEP_OLDER_THAN_MS)
            await asyncio.sleep(SWEEP_SECONDS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        publisher = MortalPublisher({"bootstrap.servers": bootstrap}, asyncio.get_running_loop())
        running = Running(
            pipeline, publisher, door_by_hand({"key": {}}, epoch_ms), deadline_seconds=order.deadline_seconds
        )
        app.state.running = death.running = running
        sweeping = asyncio.create_task(keep_sweeping(running))
        yield
        sweeping.cancel()

    # As the service's own process does; what stands for BentoML's application only begins and ends.
    worker.app = app
    uvicorn.run(
        Starlette(lifespan=lifespan), host="127.0.0.1", port=order.port, log_level="warning", http=FrontProtocol
    )


def main(bootstrap: str, folder: str) -> None:
    """Fork a worker per order until there are no more."""
    home = Path(folder)
    ensure_keys(home / "secrets")
    keyring, policy = load_keyring(home / "secrets"), load_policy(POLICY)
    # Nobody waits for the dead.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(Order(**json.loads(line)), bootstrap, home, keyring, policy)
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
