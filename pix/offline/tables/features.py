"""Tables of features: vectors, states, what the runs of the engine left, and the training set."""

from pix.features import FEATURES
from pix.offline.declaration import Column, Table
from pix.offline.tables.columns import EVENT_TIME, HISTORY_NAME, ID, TENANT, payment_columns

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
RAW_PREFIX = "raw_"
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
        Column("label_class", "string", "fraud; cleared, if it was contested or held and found honest; or honest."),
        Column("fraud_known_at_ms", "bigint", "Since when it was known to be fraud; null if it never was."),
        Column("cleared_at_ms", "bigint", "When it was last found honest; null if it is fraud, or was never doubted."),
        Column("fraud_type", "string", "What kind of fraud its newest label says; null without one."),
        Column("payee_account", "string", "Token of the account that was paid: alerts are counted by it; no input."),
        Column(
            "weight",
            "double",
            "Payments it stands for: honest ones may be a sample, control ones stand for stopped ones.",
        ),
        *(Column(feature.name, "double", feature.description) for feature in FEATURES),
        *raw_columns(),
    ),
)
