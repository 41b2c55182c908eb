"""Columns that several tables share, and those of every bronze table."""

from dataclasses import fields

from pix.contracts import Payment
from pix.offline.declaration import Column

SPARK_TYPES = {"str": "string", "int": "bigint", "bool": "boolean"}


def payment_columns() -> tuple[Column, ...]:
    """The fields of ``pix.contracts.Payment`` as columns."""
    return tuple(Column(field.name, SPARK_TYPES[_python_type(field.type)]) for field in fields(Payment))


def _python_type(annotation: object) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return text.removesuffix(" | None")


ID = Column("end_to_end_id", "string", "The payment's EndToEndId; with the tenant its identity.")
TENANT = Column("tenant", "string", "Tenant of the message.")
EVENT_TIME = Column("event_time_ms", "bigint", "The earlier of initiation and receipt.")
EVENT_DAY = Column("event_day", "date", "Day of the event time in Brasília.")
PAYMENT_DAY = Column("payment_day", "date", "Day, in Brasília, of the minute in the payment's EndToEndId.")
HISTORY_NAME = Column("history", "string", "Name the import was given.")
IMPORT_NUMBER = Column("import_number", "int", "1, 2, … for each import into this home.")
FILE_SHA256 = Column("file_sha256", "string", "SHA-256 of the imported file; a history takes it once.")
SILENCE = Column(
    "silence_is_honest", "boolean", "Whether no label means honest; false where nobody would have said. Null is true."
)
BODY_TOKEN = Column("body_token", "string", "Token of the message's bytes as they were sent.")
LABEL = (
    Column("label_id", "string", "SHA-256 of the label's content."),
    ID,
    TENANT,
    Column("kind", "string", "contested, accepted, rejected, reversed (MED); confirmed, dismissed (analyst)."),
    Column("fraud_type", "string", "Kind of fraud, where it is known."),
    Column("effective_at_ms", "bigint", "Since when the label is true."),
)
KNOWN_AT = Column("known_at_ms", "bigint", "When it became known here; nobody may use it earlier.")
LABEL_SOURCE = Column("source", "string", "Who said so.")
BRONZE_COLUMNS = (
    Column("topic", "string", "Kafka topic."),
    Column("partition", "int", "Kafka partition."),
    Column("offset", "bigint", "Offset in the partition; (partition, offset) is unique."),
    Column("timestamp_ms", "bigint", "Kafka's timestamp of the message."),
    Column("key", "string", "Key of the message; null for pix.transactions, where it is clear, and where unreadable."),
    Column("value", "string", "The message as text; of pix.transactions the tokenised payment; null if unreadable."),
    Column(
        "body_token", "string", "Token of the message's bytes as they were sent; pix.transactions and pix.labels only."
    ),
    Column("reason", "string", "Why the message is unreadable; null if it is fine."),
    Column("ingested_at_ms", "bigint", "When the row was made."),
)
"""Columns of every bronze table, in the order in which they are stored: they bind by position."""
