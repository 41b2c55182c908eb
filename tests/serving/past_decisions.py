"""A home whose services have stopped: what several models and policies decided lies in lake and registry."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from published import Publisher, trained
from site_by_hand import Lake, Site, past
from traffic import KEYRING, arrival, label, random_message
from written_logs import PARTITIONS, flushed

from learning.signing import PUBLIC_KEY_FILE
from pix import topics
from pix.contracts import DAY_MS, HOUR_MS, MINUTE_MS, PaymentMessage, canonical_json
from pix.engines.layout import STATE_LAYOUT
from pix.offline.tables import BRONZE_COLUMNS
from pix.store.interface import Message
from pix.store.memory import MemoryStore
from pix.tokens import KEY_FILE
from serving.degraded import decide_by_rules
from serving.outcomes import Arrival, Model
from serving.pipeline import DecisionPipeline
from serving.policy import Policy, parse_policy
from serving.policy_archive import keep
from serving.reconciling import Reconciler
from serving.rerun import Rerunner
from serving.rerun_lake import DECISIONS, FOLDS, SILVER, Evidence
from serving.rerun_models import PastModels
from serving.trial_accounts import TEST_ACCOUNTS

SHIPPED = (Path(__file__).parents[2] / "config" / "policy.yaml").read_text()
POLICY = SHIPPED.replace("{share: 0.02, up_to_cents: 20000}", "{share: 0.1, up_to_cents: 100000000}")
"""So that some of few payments are drawn for the control group."""
OURS = "{REVIEW: 0.10, BLOCK_AND_REVIEW: 0.40, BLOCK: 0.85}"
THEIRS = ("{REVIEW: 0.70, BLOCK_AND_REVIEW: 0.90, BLOCK: 0.94}", "{REVIEW: 0.72, BLOCK_AND_REVIEW: 0.9, BLOCK: 0.93}",
          "{REVIEW: 0.75, BLOCK_AND_REVIEW: 0.88, BLOCK: 0.92}")  # fmt: skip
"""The thresholds of one policy after another; the small models find much suspicious."""
ACCOUNTS = 12
_ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64()}
_BRONZE = pa.schema([(column.name, _ARROW[column.type]) for column in BRONZE_COLUMNS])


@dataclass
class Decider(Site):
    """A site whose champion and policy change, and which is without one or the other at times."""

    champion: Model | None = None
    policy: Policy = field(default_factory=lambda: parse_policy(POLICY, "ours"))

    @property
    def decider(self) -> DecisionPipeline:
        return DecisionPipeline(
            store=self.store,
            keyring=KEYRING,
            champion=lambda: self.champion,
            policy=lambda: self.policy,
            now_ms=self.clock,
            build="test",
        )

    def pay(self, draw: random.Random, number: int, forced: str | None = None) -> None:
        """One payment, by a test account if an action is forced."""
        sent, came = self._sent(draw, number)
        if forced is not None:
            accounts = {action: account for account, action in TEST_ACCOUNTS.items()}
            sent, came = sent.model_copy(update={"payee_account": accounts[forced]}), replace(came, forced=forced)
        self._kept(self.decider.decide(sent, came))

    def pay_without_store(self, draw: random.Random, number: int) -> None:
        """One payment while the store is away; it is folded when that is back."""
        sent, came = self._sent(draw, number)
        record = decide_by_rules(self.decider, self.decider.seen(sent, came)).record
        self.decided.append(record)
        content = json.loads(record)
        key = content["payment"]["payer_account"]
        self.logs.publish([Message(sent.end_to_end_id, topics.DECISIONS, key, record, self.clock.now_ms)])
        assert Reconciler(self.store, self.logs, self.clock).fold(record)

    def tell(self, draw: random.Random) -> None:
        """A label of some payment that is known by now."""
        labelled = json.loads(draw.choice(self.decided))
        if "action" in labelled:
            kind = draw.choice(["accepted", "reversed", "contested", "confirmed"])
            known = label(labelled["end_to_end_id"], kind, self.clock.now_ms)
            self._kept(self.decider.fold_label(known, self.clock.now_ms))

    def _sent(self, draw: random.Random, number: int) -> tuple[PaymentMessage, Arrival]:
        self.clock.now_ms += draw.choice([0, 1, MINUTE_MS, HOUR_MS])
        at_ms = self.clock.now_ms - draw.choice([0, 0, 0, MINUTE_MS, 5 * DAY_MS])
        return random_message(draw, number, at_ms, ACCOUNTS), arrival(self.clock.now_ms, number)


@dataclass
class PastDecisions:
    """The home.

    Attributes:
        root: The folder.
        registry: Versions of the models.
        decided: Records in the order they were made, label folds between them.
    """

    root: Path
    registry: Publisher
    decided: list[bytes]

    @property
    def lake(self) -> str:
        return str(self.root / "lake")

    @property
    def records(self) -> list[dict[str, Any]]:
        read = [json.loads(record) for record in self.decided]
        return [content for content in read if "action" in content]

    def rerunner(self, lake: str | None = None, **how: Any) -> Rerunner:
        """As the command has it; ``how`` is told the models."""
        where = {"uri": self.registry.uri, "downloads": self.root / "tmp" / "rerun" / "models"}
        models = PastModels(**{**where, "public_key": self.registry.keys / PUBLIC_KEY_FILE, **how})
        return Rerunner(Evidence(lake or self.lake), models, KEYRING)


def live_through(root: Path, tracking: str, name: str, decisions: int, seed: int = 5) -> PastDecisions:
    """Decide, then stop everything.

    Two changes of the model and two of the policy, a second import of history, payments without a model, without
    the store, and to test accounts.

    Args:
        root: The home.
        tracking: Address of MLflow.
        name: Registered model.
        decisions: How many, about.
        seed: Draws everything.
    """
    registry = Publisher(tracking, root, name)
    (root / "secrets" / KEY_FILE).write_text(json.dumps({"current": 1, "keys": {"1": KEYRING.keys[1].hex()}}))
    base, lake = Lake(root / "lake"), str(root / "lake")
    site, draw = Decider(MemoryStore(STATE_LAYOUT)), random.Random(seed)
    keeper = registry.keeper(_never)
    policies = [parse_policy(POLICY.replace(OURS, thresholds), "theirs") for thresholds in THEIRS]
    for era in range(len(policies)):
        history = past(era + 1, 60 * (era + 1), seed=7)
        if era < 2:
            base.write(history.rows, era + 1)
            site.build(history)
        registry.publish(trained(era + 1))
        keeper.refresh()
        site.champion, site.policy = keeper.current, policies[era]
        keep(lake, site.policy.text, site.clock.now_ms)
        # The next policy comes before the next model.
        _era(site, draw, 10**6 * era, decisions // 4)
        site.policy = policies[min(era + 1, 2)]
        keep(lake, site.policy.text, site.clock.now_ms)
        _era(site, draw, 10**6 * era + 10**5, decisions // 12)
    flushed(site.store, site.logs)
    _write(lake, site)
    return PastDecisions(root, registry, site.decided)


def _never(reason: str) -> None:
    raise AssertionError(f"a model was refused: {reason}")


def _era(site: Decider, draw: random.Random, first: int, count: int) -> None:
    champion = site.champion
    for number in range(first, first + count):
        site.champion = None if draw.random() < 0.1 else champion
        if draw.random() < 0.1:
            site.pay_without_store(draw, number)
        else:
            site.pay(draw, number, draw.choice(["BLOCK", "REVIEW"]) if draw.random() < 0.08 else None)
        if draw.random() < 0.2:
            site.tell(draw)
    site.champion = champion


def _write(lake: str, site: Site) -> None:
    for name, topic in ((DECISIONS, topics.DECISIONS), (FOLDS, topics.FOLDS)):
        write_bronze(lake, name, topic, {part: site.logs.topics.get((topic, part), []) for part in range(PARTITIONS)})
    write_silver(lake, [json.loads(record) for record in site.decided])


def write_bronze(lake: str, name: str, topic: str, parts: dict[int, Sequence[bytes]]) -> None:
    """A topic as the bronze stream writes it."""
    same = {"topic": topic, "timestamp_ms": 1, "ingested_at_ms": 2}
    rows = [
        {**same, "partition": part, "offset": offset, "value": value.decode()}
        for part, values in parts.items()
        for offset, value in enumerate(values)
    ]
    write_deltalake(f"{lake}/{name}", pa.Table.from_pylist(rows, schema=_BRONZE), mode="overwrite")


def write_silver(lake: str, records: Sequence[dict[str, Any]]) -> None:
    """As much of silver as samples are chosen from: each id's first record."""
    names = ("tenant", "end_to_end_id", "action", "mode", "decided_at_ms")
    first: dict[str, dict[str, Any]] = {}
    for record in records:
        if "action" in record:
            first.setdefault(record["end_to_end_id"], {name: record[name] for name in names})
    write_deltalake(f"{lake}/{SILVER}", pa.Table.from_pylist(list(first.values())), mode="overwrite")


def change_bronze(
    home: PastDecisions, lake: Path, name: str, change: Callable[[str], str | None], *, again: str = ""
) -> str:
    """A copy of the home's lake in which the values of one bronze table are others, or gone; where it is.

    Args:
        home: The home.
        lake: Where the copy goes.
        name: The table.
        change: Each value's new one, None if its row is gone.
        again: EndToEndId of a payment that was blocked, too, later.
    """
    shutil.copytree(home.lake, lake)
    table = pa.table(DeltaTable(f"{lake}/{name}").scan())
    rows = [{**row, "value": value} for row in table.to_pylist() if (value := change(row["value"])) is not None]
    if again:
        (first,) = (row for row in rows if f'"end_to_end_id":"{again}"' in row["value"])
        later = canonical_json({**json.loads(first["value"]), "action": "BLOCK"}).decode()
        rows.append({**first, "offset": 10**6, "value": later})
    write_deltalake(f"{lake}/{name}", pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite")
    return str(lake)
