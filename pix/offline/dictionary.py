"""What the lake's columns are beyond name, type and meaning: unit, class of personal data; and who writes a table.

One sheet per column name, because one name means one thing everywhere; a name that means something else in one table
has a second sheet, under ``table.column``. How long rows are kept is ``pix.offline.retention``'s to say. The page made
of both is ``docs/data-dictionary.md`` (``pix.offline.dictionary_page``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pix import topics
from pix.contracts import PaymentMessage
from pix.contracts.payment import INSTANT_FIELDS
from pix.contracts.tokenised import TOKEN_KINDS
from pix.features import FEATURES
from pix.offline.declaration import Column, Table
from pix.offline.retention import RETENTION, Retention
from pix.offline.tables import BRONZE_COLUMNS, RAW_PREFIX, TABLES, TRAINING_SET

SEALED, PSEUDONYM, ANALYST, ATTRIBUTE, NONE = "sealed", "pseudonym", "analyst", "attribute", "none"
CLASSES: Mapping[str, str] = {
    SEALED: "Clear content, encrypted (AES-256-GCM); who has the key reads it. LGPD art. 46: measures that protect "
    "personal data from access by those who have no right to it.",
    PSEUDONYM: "Stands for a person, an account, a device or a payment: a token under a key that is kept elsewhere, or "
    "the payment's id. LGPD art. 13 § 4: without that key it leads to nobody; it is personal data all the same.",
    ANALYST: "Who of the staff did what, or wrote what. LGPD art. 5 I: personal data, of employees; kept "
    "because art. 20 gives a right to review of automated decisions, and audits ask who reviewed.",
    ATTRIBUTE: "A fact about a person or what they did, joined to them by the row's pseudonym: age, municipality, "
    "amount, score. LGPD art. 5 I, and art. 20 for what the decision said of them.",
    NONE: "Says nothing about a person: the platform's own times, places in logs, versions, and counts over many.",
}
"""Classes of personal data; of a column that holds several, the first in this order counts."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is known about a column by its name.

    Attributes:
        unit: What its values are measured in, or what they are.
        personal: One of ``CLASSES``.
    """

    unit: str
    personal: str


class NoSheet(Exception):
    """The dictionary lacks a column or a table, or has a column twice."""


def sheets(*groups: tuple[str, str, str]) -> dict[str, Sheet]:
    """Columns by name, from (class, unit, names) each.

    Raises:
        NoSheet: A name is in two groups.
    """
    found: dict[str, Sheet] = {}
    for personal, unit, names in groups:
        for name in names.split():
            if name in found:
                raise NoSheet(f"column `{name}` has two fact sheets in pix/offline/dictionary.py")
            found[name] = Sheet(unit, personal)
    return found


MS, SPAN_MS = "ms since 1970 UTC", "ms"
SHEETS: Mapping[str, Sheet] = sheets(
    (SEALED, "AES-256-GCM, base64", "payload"),
    (SEALED, "JSON, its payload AES-256-GCM", "bronze/pix_dlq.value"),
    (PSEUDONYM, "id", "end_to_end_id"),
    (PSEUDONYM, "token", "payer_account payee_account txid pix_key payer_tax_id payee_tax_id device_id device_ip"),
    (PSEUDONYM, "token", "remittance_text body_token"),
    (PSEUDONYM, "hash", "label_id payment_digest"),
    (PSEUDONYM, "key of a message or a state, with a token", "key"),
    (PSEUDONYM, "JSON", "value record payment"),
    (PSEUDONYM, "packed state", "blob"),
    (PSEUDONYM, "YAML", "silver/policies.text"),
    (ANALYST, "name", "closed_by review_closed_by"),
    (ANALYST, "text", "note"),
    # The payment and who made it.
    (ATTRIBUTE, MS, "event_time_ms initiated_at_ms key_created_at_ms key_owned_since_ms payer_account_opened_at_ms"),
    (ATTRIBUTE, MS, "payee_account_opened_at_ms fraud_markers_watermark_ms device_registered_at_ms"),
    (ATTRIBUTE, MS, "credentials_changed_at_ms limit_raised_at_ms funds_raised_at_ms effective_at_ms"),
    (ATTRIBUTE, "centavos", "amount_cents payer_balance_cents payer_limit_cents"),
    (ATTRIBUTE, "code", "initiation purpose priority pix_key_type payer_person_type payee_person_type"),
    (ATTRIBUTE, "code", "payer_account_type payee_account_type authentication kind fraud_type label_kind"),
    (PSEUDONYM, "token", "account"),
    (ATTRIBUTE, MS, "first_payment_ms last_payment_ms"),
    (ATTRIBUTE, "count", "gold/payer_profiles.payments gold/payee_profiles.payments payments_d30 active_days"),
    (ATTRIBUTE, "count", "counterparties stopped frauds"),
    (ATTRIBUTE, "centavos", "largest_cents amount_d30_cents fraud_cents"),
    (ATTRIBUTE, "code", "person_type account_type"),
    (ATTRIBUTE, "IBGE code", "payer_municipality device_municipality"),
    (ATTRIBUTE, "years", "payer_age_years"),
    (ATTRIBUTE, "count", "payee_settlements_d90 payee_fraud_markers_d90 payee_mule_markers_d90 payee_open_reports"),
    (ATTRIBUTE, "count", "payee_fraud_reporters_d90 payee_rejected_reports_d90"),
    (ATTRIBUTE, "yes or no", "payee_is_preregistered device_remote_access device_rooted active_call is_fraud"),
    (ATTRIBUTE, "yes or no", "is_fraud_after control_drawn"),
    (ATTRIBUTE, "code", "label_class"),
    (ATTRIBUTE, MS, "fraud_known_at_ms cleared_at_ms"),
    (NONE, "payments", "weight"),
    (NONE, "name", "judged split part metric study"),
    (NONE, "number", "model/evaluation.value low high"),
    (NONE, "code", "model/search.state"),
    (NONE, "yes or no", "is_best"),
    (NONE, "number", "model/search.number learning_rate l2_leaf_reg"),
    (NONE, "seconds", "model/search.seconds"),
    (NONE, "count", "iterations depth"),
    (ATTRIBUTE, SPAN_MS, "login_age_ms typing_interval_ms fraud_markers_lag_ms"),
    (ATTRIBUTE, "hour of the day", "event_hour raw_hour"),
    (ATTRIBUTE, "day of the week, 1 Monday to 7 Sunday", "event_weekday"),
    (ATTRIBUTE, "name, pt-BR", "holiday state_holiday"),
    (ATTRIBUTE, "yes or no", "is_business_day"),
    (ATTRIBUTE, "letters of the state", "payer_state device_state"),
    (ATTRIBUTE, "name", "payer_region device_region initiator_psp"),
    (ATTRIBUTE, "ISPB", "initiator_ispb"),
    (ATTRIBUTE, "days", "key_age_days key_ownership_days payer_account_age_days payee_account_age_days"),
    # What was decided, and what became known.
    (ATTRIBUTE, "code", "action outcome hold_outcome rule_hits reason_codes review_status review_verdict"),
    (ATTRIBUTE, "code", "review_outcome control_instead_of threshold_action decided_action"),
    (ATTRIBUTE, "probability", "fraud_probability champion_probability decided_probability control_propensity"),
    (ATTRIBUTE, "log-odds", "raw_score champion_raw_score"),
    (ATTRIBUTE, MS, "hold_expires_at_ms review_ended_at_ms"),
    (ATTRIBUTE, "float64 values", "features logged"),
    (ATTRIBUTE, "flags", "carried logged_carried"),
    # The platform.
    (NONE, "name", "tenant history topic origin_topic model_name feature"),
    (NONE, "code", "source mode decided_mode origin_kind reason silver/quarantine.kind"),
    (NONE, "version", "model_version champion_version decided_model_version policy_version build layout version"),
    (NONE, "hash", "model_sha256 feature_fingerprint file_sha256 labels_sha256 fingerprint logged_fingerprint"),
    (NONE, "id", "trace_id"),
    (NONE, MS, "timestamp_ms ingested_at_ms decided_at_ms received_at_ms known_at_ms recorded_at_ms scored_at_ms"),
    (NONE, MS, "redriven_at_ms"),
    (NONE, MS, "folded_at_ms imported_at_ms at_ms published_at_ms known_until_ms label_known_at_ms first_loaded_at_ms"),
    (ATTRIBUTE, "date", "event_day payment_day"),
    (NONE, "date", "fold_day day arrival_day"),
    (NONE, "place in a log", "partition offset origin_partition origin_offset decision_partition decision_offset"),
    (NONE, "topic/partition/offset", "redriven_to redriven_from"),
    (NONE, "place in a file", "row_number"),
    (NONE, "number", "import_number generation batch base number states_from"),
    (NONE, "yes or no", "silence_is_honest is_read is_whole"),
    (NONE, "JSON", "errors mapping decisions_to folds_to"),
    (NONE, "count", "payments labels refused repeated answered unanswered reopened nulls zeros allowed reviewed held"),
    (NONE, "count", "blocked frauds_known frauds_caught frauds_missed alerts alerts_judged stopped_honest"),
    (NONE, "centavos", "caught_cents missed_cents stopped_honest_cents"),
    (NONE, "centavos", "gold/daily_kpis.amount_cents gold/hourly_kpis.amount_cents"),
    (NONE, MS, "hour_began_ms"),
    (NONE, "count", "on_topic unread expired in_bronze copies superseded unreadable dead_letters undecided in_silver"),
    (NONE, "count", "not_in_silver_yet not_in_gold_yet in_gold lost_before_bronze lost_before_silver lost_before_gold"),
    (NONE, "centavos", "bronze_cents elsewhere_cents silver_cents not_in_gold_yet_cents gold_cents"),
    (NONE, "centavos", "lost_before_silver_cents lost_before_gold_cents lost_before_service_cents"),
    (NONE, "count", "forgotten ahead_of_gold in_service lost_before_service"),
    (NONE, "centavos", "service_elsewhere_cents service_cents"),
    (NONE, "yes or no", "is_explained"),
    (PSEUDONYM, "JSON", "nowhere"),
    (NONE, "ratio", "review_rate block_rate alert_precision friction_rate"),
    (NONE, "count", "outcomes_known expected_frauds"),
    (NONE, "frauds squared", "expected_variance"),
    (NONE, "centavos", "frauds_cents"),
    (NONE, "probability", "average_probability"),
    (NONE, "ratio", "brier_score calibration_error average_precision alert_recall value_recall"),
    (NONE, "version", "made_from"),
    (NONE, "hour of the day", "hour"),
    # The quality of tables.
    (PSEUDONYM, "names and values", "row_key quality/unexpected.value"),
    (NONE, "name", "table_name check_name null_column broken_columns"),
    (NONE, "names", "broken unusual"),
    (NONE, "id", "run_id"),
    (NONE, MS, "checked_at_ms newest_ms"),
    (NONE, "count", "rows promises broken_critical broken_warning"),
    (NONE, "ratio", "null_share"),
    (NONE, "robust standard deviations", "volume_score"),
    (NONE, "hours", "silence_hours"),
    (NONE, "code", "verdict"),
    # The care of tables.
    (NONE, "code", "did"),
    (NONE, "text", "why"),
    (NONE, "count", "files_before files_after rows_deleted rows_emptied"),
    (NONE, "bytes", "bytes_before bytes_after"),
    (NONE, "version", "version_before version_after oldest_version"),
    (NONE, "JSON", "kept_versions"),
    (NONE, "s", "seconds"),
    (NONE, "yes or no", "is_dry_run"),
    (NONE, "unit of the feature", "min p05 median p95 max mean"),
)
"""By column name, or ``table.column`` where a table means something else by it."""

_IMPORT, _ENGINE = "Spark: asset `imported_history`", "Spark: asset `offline_features`"
WRITERS: Mapping[str, str] = {
    **{topics.bronze_table(topic): "delta-rs: run of `bronze_stream`" for topic in topics.ALL},
    "silver/history_payments": _IMPORT,
    "silver/history_labels": _IMPORT,
    "silver/history_refused": _IMPORT,
    "silver/history_imports": _IMPORT,
    "silver/policies": "delta-rs: the service, before it decides by a policy",
    "quality/scorecard": "delta-rs: asset `quality/scorecard`",
    "quality/unexpected": "delta-rs: the checks of every table",
    "gold/daily_kpis": "delta-rs: asset `gold/daily_kpis`",
    "gold/hourly_kpis": "delta-rs: asset `gold/hourly_kpis`",
    "gold/batch_scores": "delta-rs: asset `gold/batch_scores`",
    "gold/model_daily": "delta-rs: asset `gold/model_daily`",
    "model/evaluation": "delta-rs: asset `model/evaluation`",
    "model/search": "delta-rs: asset `model/search`",
    "quality/flow": "delta-rs: asset `quality/flow`",
    "care/retention": "delta-rs: asset `care/retention`",
    "care/compaction": "delta-rs: asset `care/compaction`",
    "care/vacuum": "delta-rs: asset `care/vacuum`",
    "features/payment_features": _ENGINE,
    "features/base_states": _ENGINE,
    "features/live_states": _ENGINE,
    "features/unanswered": _ENGINE,
    "features/runs": _ENGINE,
    "features/histories": _ENGINE,
}
"""By table: its one writer, where that is not Spark in the asset of the table's name."""

_FEATURES = frozenset(feature.name for feature in FEATURES)


def bronze_tables() -> dict[str, Table]:
    """Topic -> its bronze table."""
    return {
        topic: Table(
            topics.bronze_table(topic),
            f"One message of {topic}, exactly once, without clear identifiers.",
            BRONZE_COLUMNS,
        )
        for topic in topics.ALL
    }


def tables() -> tuple[Table, ...]:
    """The lake's tables that this package declares, bronze first."""
    return (*bronze_tables().values(), *TABLES.values())


def columns(table: Table) -> tuple[Column, ...]:
    """The columns that need a sheet: all but the training set's features, which their own catalogue describes."""
    if table.name != TRAINING_SET.name:
        return table.columns
    return tuple(column for column in table.columns if column.name not in _FEATURES)


def sheet_name(table: Table, column: Column) -> str:
    """Under which name a column's sheet stands.

    Raises:
        NoSheet: Under none.
    """
    raw = column.name.removeprefix(RAW_PREFIX) if table.name == TRAINING_SET.name else column.name
    for name in (f"{table.name}.{column.name}", column.name, raw):
        if name in SHEETS:
            return name
    raise NoSheet(
        f"column `{column.name}` of {table.name} has no fact sheet; add its name to a group of SHEETS in "
        "pix/offline/dictionary.py (unit and class of personal data)"
    )


def meaning(table: Table, column: Column) -> str:
    """What a column means: by its declaration, or by the payment's field of that name.

    Raises:
        NoSheet: Neither says anything.
    """
    if column.description:
        return column.description
    name = column.name.removeprefix(RAW_PREFIX)
    field = _FIELDS.get(name)
    if field is None or not field.description:
        raise NoSheet(f"column `{column.name}` of {table.name} has no description; write one where it is declared")
    return f"Token of: {field.description}" if name in TOKEN_KINDS else field.description


_FIELDS = {INSTANT_FIELDS.get(name, name): field for name, field in PaymentMessage.model_fields.items()}


def kept(table: Table) -> tuple[Retention, ...]:
    """How long a table's rows are kept.

    Raises:
        NoSheet: Nobody has said.
    """
    if table.name not in RETENTION:
        raise NoSheet(f"table {table.name} has no retention; add it to RETENTION in pix/offline/retention.py")
    return RETENTION[table.name]


def strongest(table: Table) -> str:
    """The class of personal data of a whole table: its columns' first one in the order of ``CLASSES``.

    Raises:
        NoSheet: A column has no sheet.
    """
    found = {SHEETS[sheet_name(table, column)].personal for column in columns(table)}
    return next(name for name in CLASSES if name in found)


def writer(table: Table) -> str:
    """Who writes a table, alone."""
    return WRITERS.get(table.name, f"Spark: asset `{table.name}`")


def unused(declared: Iterable[Table], others: Iterable[Column] = ()) -> set[str]:
    """Sheets, retentions and writers that no table needs.

    Args:
        declared: The tables.
        others: Columns that are declared outside a table.
    """
    declared = tuple(declared)
    names = {table.name for table in declared}
    asked = {sheet_name(table, column) for table in declared for column in columns(table)}
    return (SHEETS.keys() - asked - {column.name for column in others}) | ((RETENTION.keys() | WRITERS.keys()) - names)
