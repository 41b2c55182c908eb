"""A service's parts around a store, with logs by hand behind them and a base by hand beneath, in a lake or not."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from traffic import KEYRING, NOW_MS, Clock, StubbornModel, arrival, label, pipeline, random_message
from written_logs import WrittenLogs, flushed

from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS, behind_the_door
from pix.engines import kernel
from pix.engines.events import NOTHING_CARRIED, entity_keys, kind_of, payment_events
from pix.engines.layout import STATE_LAYOUT
from pix.labels import PaymentReference, reference_key
from pix.store.interface import Store
from serving.base import Base
from serving.breakers import Breakers
from serving.build import Builder
from serving.keeper import StoreKeeper
from serving.outage import Outage
from serving.outcomes import Done
from serving.pipeline import DecisionPipeline

ACCOUNTS = 40


@dataclass(frozen=True)
class Past(Base):
    """A base by hand."""

    rows: tuple[tuple[str, int, bytes], ...] = ()

    def states(self) -> Iterator[tuple[str, int, bytes]]:
        yield from self.rows


def past(imports: int, payments: int, seed: int = 7) -> Past:
    """Imported payments of the last hundred days, folded in the order of time."""
    draw, states = random.Random(seed), {}
    times = sorted(NOW_MS - draw.randint(HOUR_MS, 100 * DAY_MS) for _ in range(payments))
    for number, at_ms in enumerate(times):
        payment = behind_the_door(random_message(draw, 10**9 + number, at_ms, ACCOUNTS), KEYRING)
        keys = entity_keys(payment)
        events = payment_events(payment, keys, at_ms, NOTHING_CARRIED, is_allowed=True, is_imported=True)
        for key, event in events.items():
            count, blob = states.get(key, (0, None))
            states[key] = (count + 1, kernel.fold(blob, kind_of(key), event))
        states[reference_key("default", payment.end_to_end_id)] = (1, PaymentReference(keys).pack())
    rows = tuple((key, number, blob) for key, (number, blob) in states.items())
    return Past(version=imports, imports=imports, keys=len(rows), _table=None, rows=rows)


@dataclass
class Site:
    """A service's parts around a store, with the logs behind them."""

    store: Store
    logs: WrittenLogs = field(default_factory=WrittenLogs)
    clock: Clock = field(default_factory=Clock)
    decided: list[bytes] = field(default_factory=list)
    names: int = 0

    @property
    def decider(self) -> DecisionPipeline:
        return pipeline(self.store, self.clock, StubbornModel())

    def builder(self) -> Builder:
        self.names += 1
        return Builder(
            store=self.store,
            logs=self.logs,
            flush=lambda: flushed(self.store, self.logs),
            now_ms=self.clock,
            name=f"builder-{self.names}",
        )

    def build(self, base: Base, **how: bool) -> None:
        builder = self.builder()
        builder.build(builder.begin(base, layout=STATE_LAYOUT, token_key_version=1), base, **how)

    def live(self, seed: int, first: int, count: int) -> None:
        """Late, tied, blocked and labelled payments, each published some time after it was committed."""
        draw, decider = random.Random(seed), self.decider
        for number in range(first, first + count):
            self.clock.now_ms += draw.choice([0, 0, 1, MINUTE_MS, HOUR_MS])
            at_ms = self.clock.now_ms - draw.choice([0, 0, 0, MINUTE_MS, 5 * DAY_MS])
            self._kept(
                decider.decide(random_message(draw, number, at_ms, ACCOUNTS), arrival(self.clock.now_ms, number))
            )
            if draw.random() < 0.2:
                labelled = json.loads(draw.choice(self.decided))
                if "end_to_end_id" in labelled:
                    kind = draw.choice(["accepted", "reversed", "contested", "confirmed"])
                    known = label(labelled["end_to_end_id"], kind, self.clock.now_ms)
                    self._kept(decider.fold_label(known, self.clock.now_ms))
            if draw.random() < 0.3:
                flushed(self.store, self.logs)

    def _kept(self, outcome: object) -> None:
        assert isinstance(outcome, Done)
        self.decided.append(outcome.record)


@dataclass
class Lake:
    """A lake with nothing but features/base_states."""

    root: Path

    def write(self, rows: tuple[tuple[str, int, bytes], ...], imports: int, layout: str | None = STATE_LAYOUT) -> None:
        keys, numbers, blobs = zip(*rows, strict=True)
        columns = {"key": keys, "number": numbers, "blob": pa.array(blobs, pa.binary())}
        columns |= {"import_number": pa.array([imports] * len(keys), pa.int32())}
        if layout is not None:
            columns["layout"] = [layout] * len(keys)
        write_deltalake(
            f"{self.root}/features/base_states", pa.table(columns), mode="overwrite", schema_mode="overwrite"
        )


def keeper(
    site: Site,
    lake: Lake,
    *,
    layout: str = STATE_LAYOUT,
    token_key: int = 1,
    name: str = "me",
    outage: Outage | None = None,
    breakers: Breakers | None = None,
) -> StoreKeeper:
    return StoreKeeper(
        store=site.store,
        logs=site.logs,
        lake_root=str(lake.root),
        layout=layout,
        token_key_version=token_key,
        flush=lambda: flushed(site.store, site.logs),
        now_ms=site.clock,
        name=name,
        outage=outage or Outage(),
        breaker=(breakers or Breakers()).store,
    )
