"""What streams and the service write, as assets that no run materialises: topics, bronze tables, store, policies."""

from collections.abc import Mapping

import dagster as dg

from fraud_assets.lake import column_schema
from pix import topics
from pix.offline.declaration import Column, Table
from pix.offline.dictionary import bronze_tables

OWNERS = ["team:streams"]
ONLINE_STORE = dg.AssetKey(["serving", "online_store"])


def topic_key(topic: str) -> dg.AssetKey:
    """Asset key of a topic."""
    return dg.AssetKey(["kafka", topic.replace(".", "_")])


def bronze_key(topic: str) -> dg.AssetKey:
    """Asset key of a topic's bronze table."""
    return dg.AssetKey(topics.bronze_table(topic).split("/"))


TOPIC_TEXT: Mapping[str, tuple[str, list[dg.AssetKey]]] = {
    topics.TRANSACTIONS: (
        "One message is one Pix payment to be decided, as its sender wrote it; clear ids, kept 7 days.",
        [],
    ),
    topics.DECISIONS: (
        "One message is one decision with the tokenised payment and everything needed to run it again; "
        "at least once, with identical bytes.",
        # What the service read (states, champion) came out of earlier decisions: as edges they would be a circle.
        [topic_key(topics.TRANSACTIONS)],
    ),
    topics.LABELS: ("One message is what became known about one payment, by the Pix MED or an analyst.", []),
    topics.FOLDS: (
        "One message is one change of states outside a decision, such as a label that was folded.",
        [topic_key(topics.LABELS)],
    ),
    topics.DLQ: (
        "One message is one message that no door let in: reason and origin readable, the payload sealed.",
        [topic_key(topics.TRANSACTIONS), topic_key(topics.LABELS)],
    ),
    topics.SHADOW: (
        "One message is the challenger's score of one decided payment; not every payment has one.",
        [topic_key(topics.DECISIONS)],
    ),
}


def policies_table() -> Table:
    """The table that ``serving.policy_archive`` writes, declared as the lake's others are."""
    from serving.policy_archive import TABLE

    return Table(
        TABLE,
        "One version of the policy, before anything was decided by it.",
        (
            Column("version", "string", "First 16 hex digits of the SHA-256 of its text."),
            Column("text", "string", "The policy file as it was: thresholds, rules, lists with their authors."),
            Column("first_loaded_at_ms", "bigint", "When a service first loaded it."),
        ),
    )


def external_assets() -> list[dg.AssetSpec]:
    """All of them, so that lineage is whole from the topics on."""
    topic_specs = [
        dg.AssetSpec(
            topic_key(topic), description=text, deps=deps, kinds={"kafka"}, owners=OWNERS, group_name="kafka",
            metadata={"topic": topic},
        )
        for topic, (text, deps) in TOPIC_TEXT.items()
    ]  # fmt: skip
    bronze_specs = [
        dg.AssetSpec(
            bronze_key(topic),
            description=f"One row is one message of {topic}, exactly once, append-only, without clear ids. "
            "Written by the run of bronze_stream.",
            deps=[topic_key(topic)], kinds={"delta", "spark"}, owners=OWNERS, group_name="bronze",
            metadata={"dagster/column_schema": column_schema(table), "topic": topic},
        )
        for topic, table in bronze_tables().items()
    ]  # fmt: skip
    store = dg.AssetSpec(
        ONLINE_STORE,
        description="One entry is the state of one account, pair, device or person, as the last decision left it. "
        "Only the service writes it; it can be rebuilt from lake and logs.",
        deps=[dg.AssetKey(["serving", "store_base"])], kinds={"lmdb"}, owners=OWNERS, group_name="serving",
    )  # fmt: skip
    archive = policies_table()
    policies = dg.AssetSpec(
        dg.AssetKey(archive.name.split("/")),
        description=f"{archive.row} Only the service writes it, and nothing is ever taken away.",
        kinds={"delta"}, owners=OWNERS, group_name="silver",
        metadata={"dagster/column_schema": column_schema(archive)},
    )  # fmt: skip
    service = dg.AssetSpec(
        dg.AssetKey(["serving", "decision_service"]),
        description="The BentoML service that answers payments with the champion, from the states of the online store; "
        "its decisions stand on pix.decisions.",
        deps=[dg.AssetKey(["model", "champion"]), ONLINE_STORE, policies],
        kinds={"bentoml", "catboost"}, owners=OWNERS, group_name="serving",
    )  # fmt: skip
    return [*topic_specs, *bronze_specs, store, policies, service]
