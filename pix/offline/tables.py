"""Every lake table that Spark writes: its columns, what they mean, and what one row is. Declared once.

Transforms shape their results by these declarations, the lake refuses frames that differ from them, and
the assets show them. Types are Spark's short names; times are epoch milliseconds in UTC.
"""

from dataclasses import fields

from pix.contracts import Payment
from pix.features import FEATURES
from pix.offline import enrichment
from pix.offline.declaration import Column, Table

RAW_PREFIX = "raw_"


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

HISTORY_PAYMENTS = Table(
    "silver/history_payments",
    "One imported past payment, behind the door.",
    (
        HISTORY_NAME,
        IMPORT_NUMBER,
        FILE_SHA256,
        Column("row_number", "bigint", "Line of the file, from 1."),
        ID,
        TENANT,
        Column("event_time_ms", "bigint", "When the payment was initiated."),
        Column("payment", "string", "Canonical JSON of the tokenised payment."),
        SILENCE,
    ),
)
HISTORY_LABELS = Table(
    "silver/history_labels",
    "One label of an imported payment, known when it was imported.",
    (HISTORY_NAME, IMPORT_NUMBER, *LABEL, KNOWN_AT, LABEL_SOURCE),
)
HISTORY_REFUSED = Table(
    "silver/history_refused",
    "One line of an imported file that was not taken, and why.",
    (
        HISTORY_NAME,
        IMPORT_NUMBER,
        FILE_SHA256,
        Column("row_number", "bigint", "Line of the file, from 1."),
        Column("end_to_end_id", "string", "The payment's id, if it can be read."),
        Column("reason", "string", "One stable word."),
        Column("errors", "string", "JSON list of {field, reason}."),
        BODY_TOKEN,
        Column("payload", "string", "The line, sealed."),
    ),
)

HISTORY_IMPORTS = Table(
    "silver/history_imports",
    "One import: the file, how it was read, and what became of its rows.",
    (
        HISTORY_NAME,
        IMPORT_NUMBER,
        FILE_SHA256,
        Column("labels_sha256", "string", "SHA-256 of the file its labels came from, if that is another one."),
        Column("mapping", "string", "How columns became fields, as JSON; null for a folder as `simulate` writes it."),
        Column("payments", "bigint", "Rows taken as payments."),
        Column("labels", "bigint", "Labels taken."),
        Column("refused", "bigint", "Rows refused, of both files."),
        Column("repeated", "bigint", "Rows that repeat a payment exactly: neither taken nor refused."),
        Column("imported_at_ms", "bigint", "When."),
    ),
)

DECISIONS_SILVER = Table(
    "silver/decisions",
    "One decided payment: the first record of its id on pix.decisions.",
    (
        ID,
        TENANT,
        EVENT_TIME,
        Column("decided_at_ms", "bigint", "When the decision was committed."),
        Column("received_at_ms", "bigint", "When the payment came in."),
        Column("action", "string", "ALLOW, REVIEW, BLOCK_AND_REVIEW or BLOCK."),
        Column("fraud_probability", "double", "Null in degraded modes."),
        Column("raw_score", "double", "Log-odds before calibration."),
        Column("mode", "string", "normal, or degraded: and what was missing."),
        Column("outcome", "string", "allowed, or attempted if it was held or blocked."),
        Column("model_name", "string", "Registered model."),
        Column("model_version", "string", "Its version."),
        Column("model_sha256", "string", "SHA-256 of the model's artefact."),
        Column("feature_fingerprint", "string", "Hash of the feature declarations."),
        Column("policy_version", "string", "Hash of the policy."),
        Column("rule_hits", "array<string>", "Rules of the policy that hit."),
        Column("reason_codes", "array<string>", "Codes of the reasons given."),
        Column("hold_expires_at_ms", "bigint", "Until when it waits for a person; null where nobody is asked."),
        Column("hold_outcome", "string", "What happens then without a verdict: ALLOW or BLOCK."),
        Column("amount_cents", "bigint", "Centavos."),
        Column("payer_account", "string", "Token."),
        Column("payee_account", "string", "Token."),
        Column("payment_digest", "string", "SHA-256 of the canonical tokenised payment."),
        BODY_TOKEN,
        Column("generation", "bigint", "Generation of the online store's content."),
        Column("origin_kind", "string", "rest or kafka."),
        Column("origin_topic", "string", "Topic the payment came from."),
        Column("origin_partition", "int", "Its partition."),
        Column("origin_offset", "bigint", "Its offset."),
        Column("decision_partition", "int", "Partition of the record on pix.decisions."),
        Column("decision_offset", "bigint", "Its offset."),
        Column("published_at_ms", "bigint", "Kafka's time of that record."),
        Column("trace_id", "string", "Trace of the request."),
        Column("build", "string", "Build of the service."),
        Column("record", "string", "The whole record, byte for byte."),
        EVENT_DAY,
    ),
    partitions=("event_day",),
    rows_a_file=20_000,
)
PAYMENTS_SILVER = Table(
    "silver/payments",
    "One payment, decided here or imported from the past; an id that has a decision is not history.",
    (
        *payment_columns(),
        EVENT_TIME,
        Column("source", "string", "live or history."),
        Column("history", "string", "Name of the import; null for live payments."),
        Column("outcome", "string", "allowed, or attempted if it was held or blocked; imports are allowed."),
        SILENCE,
        *enrichment.COLUMNS,
        EVENT_DAY,
    ),
    partitions=("event_day",),
)
LABELS_SILVER = Table(
    "silver/labels",
    "One label of a payment, live or imported.",
    (
        *LABEL,
        KNOWN_AT,
        Column("recorded_at_ms", "bigint", "When the lake got it; for imports, when it was known."),
        LABEL_SOURCE,
        Column("is_fraud_after", "boolean", "Whether the payment counts as fraud once this label is known."),
        Column("closed_by", "string", "Who closed the payment's review with it; null if it closed none."),
        Column("note", "string", "What that analyst wrote."),
        Column("known_until_ms", "bigint", "When the payment's next label became known; null for its newest one."),
        PAYMENT_DAY,
    ),
    partitions=("payment_day",),
)
SHADOW_SILVER = Table(
    "silver/shadow_scores",
    "One challenger's score of one decided payment, beside the champion's.",
    (
        ID,
        TENANT,
        Column("scored_at_ms", "bigint", "When the challenger scored."),
        Column("model_name", "string", "The challenger's registered model."),
        Column("model_version", "string", "Its version."),
        Column("model_sha256", "string", "SHA-256 of its artefact."),
        Column("raw_score", "double", "Its log-odds before calibration."),
        Column("fraud_probability", "double", "Its calibrated probability."),
        Column("champion_version", "string", "Version that decided; null while its decision is not in silver."),
        Column("champion_raw_score", "double", "The champion's log-odds."),
        Column("champion_probability", "double", "The champion's probability."),
        PAYMENT_DAY,
    ),
    partitions=("payment_day",),
)
QUARANTINE_SILVER = Table(
    "silver/quarantine",
    "One message or imported line that did not become a decision or a payment, and why.",
    (
        Column("topic", "string", "Topic of the refused message; null for imports."),
        Column("partition", "int", "Its partition."),
        Column("offset", "bigint", "Its offset; for imports the line of the file."),
        Column("end_to_end_id", "string", "The payment's id, if it can be read."),
        BODY_TOKEN,
        Column("reason", "string", "One stable word, or why the record was superseded."),
        Column("errors", "string", "JSON list of {field, reason}."),
        Column("received_at_ms", "bigint", "When Kafka got it; null for imports."),
        Column("payload", "string", "The message, sealed."),
        Column("kind", "string", "dead_letter, superseded, unreadable or history."),
        Column("history", "string", "Name of the import; null for live messages."),
        Column("arrival_day", "date", "Day, in Brasília, on which Kafka got the message or the file was imported."),
        Column("redriven_at_ms", "bigint", "When a dead letter's message was last sent to its topic again."),
        Column("redriven_to", "string", "Where it then stood: topic/partition/offset."),
        Column("redriven_from", "string", "Origin of the letter that this one was sent again from and refused anew."),
    ),
    partitions=("arrival_day",),
)
DECISIONS_GOLD = Table(
    "gold/decisions",
    "One decided payment with what became known about it.",
    (
        *(column for column in DECISIONS_SILVER.columns if column.name != "record"),
        Column("is_fraud", "boolean", "By the newest known label; null while none says so or otherwise."),
        Column("label_kind", "string", "Kind of the newest known label."),
        Column("label_known_at_ms", "bigint", "When it became known."),
        Column("fraud_type", "string", "Its kind of fraud."),
        Column("review_status", "string", "open, closed or expired; null where no person was asked."),
        Column("review_verdict", "string", "confirmed or dismissed, if a verdict closed it."),
        Column("review_closed_by", "string", "Whose verdict."),
        Column("review_ended_at_ms", "bigint", "When it was closed or expired."),
        Column(
            "review_outcome", "string", "ALLOW or BLOCK: by the verdict on a held payment, or by the policy at its end."
        ),
    ),
    partitions=("event_day",),
)
KPIS = (
    Column("payments", "bigint", "Decided payments."),
    Column("amount_cents", "bigint", "Their sum."),
    Column("allowed", "bigint", "Action ALLOW."),
    Column("reviewed", "bigint", "Action REVIEW."),
    Column("held", "bigint", "Action BLOCK_AND_REVIEW."),
    Column("blocked", "bigint", "Action BLOCK."),
    Column("frauds_known", "bigint", "Payments known as fraud by now."),
    Column("frauds_caught", "bigint", "Known frauds that were not simply allowed."),
    Column("frauds_missed", "bigint", "Known frauds that were allowed."),
    Column("caught_cents", "bigint", "Sum of the caught frauds."),
    Column("missed_cents", "bigint", "Sum of the missed frauds: what the platform let go."),
    Column("alerts", "bigint", "Payments that were not simply allowed."),
    Column("alerts_judged", "bigint", "Of these, known by now to be fraud or not."),
    Column("stopped_honest", "bigint", "Payments that were held or blocked and are not known as fraud."),
    Column("stopped_honest_cents", "bigint", "Their sum."),
)
KPI_RATES = (
    Column("review_rate", "double", "(REVIEW + BLOCK_AND_REVIEW) ÷ payments."),
    Column("block_rate", "double", "(BLOCK_AND_REVIEW + BLOCK) ÷ payments."),
    Column("alert_precision", "double", "Caught frauds ÷ judged alerts; null while none is judged."),
    Column(
        "friction_rate", "double", "Payments stopped without known fraud ÷ payments: how often a payer is bothered."
    ),
)
KPI_DAY = Column("day", "date", "Day of the event time in Brasília.")
HOURLY_KPIS = Table(
    "gold/hourly_kpis",
    "One hour of decisions in Brasília: how many, what was done, what was caught, missed and stopped in vain.",
    (KPI_DAY, Column("hour", "int", "Hour of that day, 0 to 23."), *KPIS, *KPI_RATES),
)
DAILY_KPIS = Table(
    "gold/daily_kpis",
    "One day of decisions in Brasília: how many, what was done, what was caught, missed and stopped in vain.",
    (KPI_DAY, *KPIS, *KPI_RATES),
)
_ELSEWHERE = "in bronze, and in silver not because"
FLOW = Table(
    "quality/flow",
    "One hour of a topic: how many of Kafka's messages are in bronze, silver, gold and service; where the others are.",
    (
        Column("hour_began_ms", "bigint", "Begin of the hour in which Kafka got the messages."),
        Column("topic", "string", "pix.transactions or pix.decisions."),
        Column("on_topic", "bigint", "Messages that Kafka still has, by its offsets."),
        Column("unread", "bigint", "Of these beyond bronze's end."),
        Column("expired", "bigint", "Messages that bronze has and Kafka no more."),
        Column("in_bronze", "bigint", "Messages in bronze."),
        Column("bronze_cents", "bigint", "Sum of their amounts, where they can be read."),
        Column("copies", "bigint", f"Messages {_ELSEWHERE} they say again what was decided."),
        Column("superseded", "bigint", f"Messages {_ELSEWHERE} their payment has another decision; in quarantine."),
        Column("unreadable", "bigint", f"Messages {_ELSEWHERE} nobody can read them; in quarantine."),
        Column("dead_letters", "bigint", f"Messages {_ELSEWHERE} they were refused; in quarantine."),
        Column("undecided", "bigint", f"Messages {_ELSEWHERE} the scoring job has not finished them yet."),
        Column("not_in_silver_yet", "bigint", f"Messages {_ELSEWHERE} silver or quarantine is older than their end."),
        Column("elsewhere_cents", "bigint", "Sum of the amounts of those six."),
        Column("in_silver", "bigint", "Decisions in silver that these messages are, or became."),
        Column("silver_cents", "bigint", "Sum of their amounts."),
        Column("not_in_gold_yet", "bigint", "Of these came since gold was made, less those that went."),
        Column("not_in_gold_yet_cents", "bigint", "Sum of their amounts."),
        Column("in_gold", "bigint", "Decisions in gold; null for pix.transactions, whose decisions are counted there."),
        Column("gold_cents", "bigint", "Sum of their amounts."),
        Column("forgotten", "bigint", "Decisions of gold whose record in the online store is past its life, and gone."),
        Column("ahead_of_gold", "bigint", "Decisions in the online store that are on their way to gold."),
        Column("service_elsewhere_cents", "bigint", "Sum of the amounts of the former, less that of the latter."),
        Column(
            "in_service",
            "bigint",
            "Decisions that a repeated request would get, by the online store; null for pix.transactions.",
        ),
        Column("service_cents", "bigint", "Sum of their amounts."),
        Column("lost_before_bronze", "bigint", "Messages of Kafka that bronze lacks, less those it has too much."),
        Column("lost_before_silver", "bigint", "Messages of bronze that are nowhere, less those silver has too much."),
        Column("lost_before_silver_cents", "bigint", "Amount by which the two differ, after all that is explained."),
        Column("lost_before_gold", "bigint", "Decisions of silver that gold lacks, less those it has too much."),
        Column("lost_before_gold_cents", "bigint", "Amount by which the two differ, after all that is explained."),
        Column("lost_before_service", "bigint", "Decisions of gold that the store lacks, less those it has too much."),
        Column("lost_before_service_cents", "bigint", "Amount by which the two differ, after all that is explained."),
        Column("is_explained", "boolean", "Whether every message is at each stage, or known to be elsewhere."),
        Column("nowhere", "string", "JSON: stage, and topic/partition/offset or tenant/id of some that differ there."),
    ),
)
PROFILE = (
    Column("account", "string", "Token of the account."),
    TENANT,
    Column("person_type", "string", "PF or PJ, as the newest payment that says so."),
    Column("account_type", "string", "Type of the account, likewise."),
    Column("payments", "bigint", "Payments, imported ones too."),
    Column("amount_cents", "bigint", "Their sum."),
    Column("largest_cents", "bigint", "The largest of them."),
    Column("first_payment_ms", "bigint", "Event time of the first."),
    Column("last_payment_ms", "bigint", "Event time of the newest."),
    Column("active_days", "bigint", "Days in Brasília with a payment."),
    Column("counterparties", "bigint", "Different accounts at the other end."),
    Column("payments_d30", "bigint", "Payments of the 30 days before the newest event in the lake."),
    Column("amount_d30_cents", "bigint", "Their sum."),
    Column("stopped", "bigint", "Payments that were held or blocked."),
    Column("frauds", "bigint", "Payments known as fraud by now."),
    Column("fraud_cents", "bigint", "Their sum."),
)
PAYER_PROFILES = Table("gold/payer_profiles", "One account that pays, by all its payments in the lake.", PROFILE)
PAYEE_PROFILES = Table("gold/payee_profiles", "One account that is paid, by all its payments in the lake.", PROFILE)

LAYOUT = Column("layout", "string", "Version of the packed states; another build's states are rebuilt, never read.")
BATCH = Column("batch", "int", "The run of the offline engine that wrote the row (features/runs); 0 for history.")

PAYMENT_FEATURES = Table(
    "features/payment_features",
    "One payment's feature vector, recomputed; beside it what the decision logged.",
    (
        ID,
        TENANT,
        Column("source", "string", "live or history."),
        Column("history", "string", "Name of the import; null for live payments."),
        EVENT_TIME,
        Column("folded_at_ms", "bigint", "When it was decided; the event time for history."),
        Column("features", "binary", "Float64, little-endian, in the order of pix.features.FEATURES; NaN is missing."),
        Column("logged", "binary", "As the decision saw them; null for history."),
        Column("fingerprint", "string", "Hash of the declarations that the features follow."),
        Column("logged_fingerprint", "string", "Hash of the declarations that the logged ones follow."),
        Column("carried", "tinyint", "By the states: 1 if the payer's account was flagged, plus 2 if the payee's was."),
        Column("logged_carried", "tinyint", "What the decision logged of that; of history, what its event carries."),
        Column("fold_day", "date", "Day (UTC) it was folded: decided, or for history happened."),
        BATCH,
    ),
    partitions=("fold_day",),
)
BASE_STATES = Table(
    "features/base_states",
    "One entity's state after the imported history; the online store starts from it.",
    (
        Column("key", "string", "Key of the state."),
        Column("number", "bigint", "Events folded."),
        Column("blob", "binary", "The packed state."),
        Column("import_number", "int", "Newest import folded."),
        LAYOUT,
    ),
)
LIVE_STATES = Table(
    "features/live_states",
    "One entity's state after a run of the offline engine; the next run begins with the newest of each key.",
    (
        Column("key", "string", "Key of the state."),
        Column("base", "int", "Newest import in the base that the live events were folded on."),
        Column("number", "bigint", "Number of its newest fold."),
        Column("blob", "binary", "The packed state."),
        LAYOUT,
        BATCH,
    ),
    partitions=("batch",),
)
UNANSWERED = Table(
    "features/unanswered",
    "One read or fold that waits for a number of its key that is not in the lake (yet).",
    (
        ID,
        TENANT,
        Column("key", "string", "Key of the state."),
        Column("base", "int", "Newest import in the base that was read."),
        Column("number", "bigint", "Number that was read, or that the fold got."),
        Column("is_read", "boolean", "A read, which leaves its decision without a vector; else a fold."),
        Column("at_ms", "bigint", "When it was decided or folded."),
        BATCH,
    ),
    partitions=("batch",),
)
RUNS = Table(
    "features/runs",
    "One run of the offline engine over the live log; what is not listed here did not happen.",
    (
        BATCH,
        Column("decisions_to", "string", "JSON: partition of pix.decisions, and the newest offset folded."),
        Column("folds_to", "string", "JSON: partition of pix.folds, and the newest offset folded."),
        Column("base", "int", "Newest import in the base of the states kept."),
        LAYOUT,
        Column("fingerprint", "string", "Hash of the feature declarations."),
        Column("is_whole", "boolean", "Folded from the beginning, not from the run before."),
        Column("states_from", "int", "States of this run and of later ones are needed; earlier ones were compacted."),
        Column("answered", "bigint", "Vectors written."),
        Column("unanswered", "bigint", "Decisions still without a vector after it."),
        Column("reopened", "bigint", "Keys folded from their beginning, because a read came late."),
    ),
)
HISTORIES = Table(
    "features/histories",
    "One imported history as the features have it.",
    (
        HISTORY_NAME,
        Column("import_number", "int", "Newest import folded."),
        LAYOUT,
        Column("fingerprint", "string", "Hash of the feature declarations."),
        Column("payments", "bigint", "Payments."),
    ),
)
FEATURE_STATISTICS = Table(
    "features/statistics",
    "One feature's values on one fold day: how many there are, and where they lie.",
    (
        Column("fold_day", "date", "Day (UTC) on which the payments were folded."),
        Column("source", "string", "live or history."),
        Column("history", "string", "Name of the import; null for live payments."),
        Column("feature", "string", "Name of the feature."),
        Column("payments", "bigint", "Payments of the day."),
        Column("nulls", "bigint", "Of these without a value."),
        Column("zeros", "bigint", "Of these with the value 0."),
        Column("min", "double", "Least value."),
        Column("p05", "double", "5 in 100 values lie at or below it."),
        Column("median", "double", "Half of the values lie at or below it."),
        Column("p95", "double", "95 in 100 values lie at or below it."),
        Column("max", "double", "Greatest value."),
        Column("mean", "double", "Their mean."),
        Column("fingerprint", "string", "Hash of the feature declarations."),
    ),
)

IDENTIFIERS = frozenset(
    {
        "end_to_end_id",
        "tenant",
        "payer_account",
        "payee_account",
        "pix_key",
        "txid",
        "payer_tax_id",
        "payee_tax_id",
        "device_id",
        "device_ip",
        "remittance_text",
        "initiated_at_ms",
    }
)


def raw_columns() -> tuple[Column, ...]:
    """What a CatBoost without features may see: the payment's own facts, its hour, and nobody's name.

    Tokens are left out because they mean nothing under the next token key.
    """
    facts = tuple(
        Column(f"{RAW_PREFIX}{column.name}", column.type)
        for column in payment_columns()
        if column.name not in IDENTIFIERS
    )
    return (*facts, Column(f"{RAW_PREFIX}hour", "bigint", "Hour of the event time, UTC."))


TRAINING_SET = Table(
    "features/training_set",
    "One payment whose label has matured, as a model may learn from it.",
    (
        Column("history", "string", "The history it belongs to: live, or the name of an import kept apart from it."),
        ID,
        EVENT_TIME,
        Column("is_fraud", "boolean", "As known when the set was built."),
        *(Column(feature.name, "double", feature.description) for feature in FEATURES),
        *raw_columns(),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        HISTORY_PAYMENTS,
        HISTORY_LABELS,
        HISTORY_REFUSED,
        HISTORY_IMPORTS,
        DECISIONS_SILVER,
        PAYMENTS_SILVER,
        LABELS_SILVER,
        SHADOW_SILVER,
        QUARANTINE_SILVER,
        DECISIONS_GOLD,
        PAYER_PROFILES,
        PAYEE_PROFILES,
        PAYMENT_FEATURES,
        BASE_STATES,
        LIVE_STATES,
        UNANSWERED,
        RUNS,
        HISTORIES,
        FEATURE_STATISTICS,
        TRAINING_SET,
    )
}
"""The tables that go through the lake resource, by name."""
