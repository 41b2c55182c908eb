"""Names of the Kafka topics, one place for every producer and consumer."""

TRANSACTIONS = "pix.transactions"
DECISIONS = "pix.decisions"
LABELS = "pix.labels"
FOLDS = "pix.folds"
DLQ = "pix.dlq"
SHADOW = "pix.shadow"

ALL = (TRANSACTIONS, DECISIONS, LABELS, FOLDS, DLQ, SHADOW)


def bronze_table(topic: str) -> str:
    """Lake table that holds a topic, e.g. ``bronze/pix_decisions`` for ``pix.decisions``."""
    return f"bronze/{topic.replace('.', '_')}"
