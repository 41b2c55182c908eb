"""What neither the declarations of the tables nor the contracts say about silver and gold: as data, in one place.

``quality.suites`` generates a suite for every declared table from its columns, from the JSON Schemas of the contracts
and from what stands here. A new table needs an entry in ``KEYS`` at most; a promise between columns goes to
``BY_HAND``.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pix.contracts import INSTANT_FIELDS, LabelMessage
from pix.offline.names import PATTERN as HISTORY_PATTERN
from quality.conditions import DAY, Condition, Promise, Source

IDENTITY = ("tenant", "end_to_end_id")
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "silver/history_payments": IDENTITY,
        "silver/history_labels": ("tenant", "label_id"),
        "silver/history_refused": ("history", "import_number", "file_sha256", "row_number"),
        "silver/history_imports": ("import_number",),
        "silver/decisions": IDENTITY,
        "silver/payments": IDENTITY,
        "silver/labels": ("tenant", "label_id"),
        "silver/shadow_scores": (*IDENTITY, "model_sha256"),
        # Imported lines have no topic, and rows with a part of the key missing are not compared.
        "silver/quarantine": ("kind", "topic", "partition", "offset"),
        "gold/decisions": IDENTITY,
        "gold/hourly_kpis": ("day", "hour"),
        "gold/daily_kpis": ("day",),
        "gold/model_daily": ("day", "model_name", "model_version"),
        "gold/batch_scores": (*IDENTITY, "model_version"),
        "gold/payer_profiles": ("tenant", "account"),
        "gold/payee_profiles": ("tenant", "account"),
    }
)
"""What names one row. Of a table that is not here: its columns that ``NAMING`` has."""
NAMING = (
    "day",
    "event_day",
    "hour",
    "hour_ms",
    "hour_start_ms",
    "tenant",
    "history",
    "end_to_end_id",
    "payer_account",
    "payee_account",
)

_DECIDED = (
    *("action", "mode", "outcome", "policy_version", "feature_fingerprint", "amount_cents"),
    *("payer_account", "payee_account", "payment_digest", "body_token", "generation", "event_time_ms"),
    *("decided_at_ms", "received_at_ms", "rule_hits", "reason_codes", "origin_kind", "trace_id", "build"),
)
_COUNTED = (
    *("payments", "amount_cents", "allowed", "reviewed", "held", "blocked", "review_rate", "block_rate"),
    *("frauds_known", "frauds_caught", "frauds_missed", "caught_cents", "missed_cents"),
    *("alerts", "alerts_judged", "stopped_honest", "stopped_honest_cents", "friction_rate"),
)
_PROFILED = (
    *("payments", "amount_cents", "largest_cents", "first_payment_ms", "last_payment_ms", "active_days"),
    *("counterparties", "payments_d30", "amount_d30_cents", "stopped", "frauds", "fraud_cents"),
)
_LABELLED = ("end_to_end_id", "kind", "effective_at_ms", "known_at_ms", "source")
REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "silver/history_payments": (
            "history",
            "import_number",
            "file_sha256",
            "row_number",
            "event_time_ms",
            "payment",
        ),
        "silver/history_labels": ("history", "import_number", *_LABELLED),
        "silver/history_refused": ("reason",),
        "silver/history_imports": (
            *("history", "file_sha256", "payments", "labels", "refused", "repeated", "imported_at_ms"),
        ),
        "silver/decisions": (*_DECIDED, "record"),
        "silver/payments": (
            *("initiated_at_ms", "amount_cents", "payer_account", "payee_account", "event_time_ms"),
            *("source", "outcome", "silence_is_honest", "event_hour", "event_weekday", "initiator_ispb"),
        ),
        "silver/labels": (*_LABELLED, "recorded_at_ms", "is_fraud_after"),
        "silver/shadow_scores": ("model_name", "model_version", "raw_score", "fraud_probability", "scored_at_ms"),
        "silver/quarantine": ("kind", "reason"),
        "gold/decisions": _DECIDED,
        "gold/hourly_kpis": _COUNTED,
        "gold/daily_kpis": _COUNTED,
        "gold/model_daily": (
            *("payments", "outcomes_known", "frauds_known", "average_probability", "expected_frauds"),
            *("expected_variance", "alerts", "alerts_judged", "frauds_caught", "made_from"),
        ),
        "gold/batch_scores": (
            *("source", "event_time_ms", "model_name", "model_sha256", "raw_score", "fraud_probability"),
            *("threshold_action", "policy_version"),
        ),
        "gold/payer_profiles": _PROFILED,
        "gold/payee_profiles": _PROFILED,
    }
)
"""Columns without a null, beside the key and the partitions."""
KEY_MAY_MISS = frozenset({"silver/quarantine"})

DURATIONS = frozenset({"login_age_ms", "typing_interval_ms", "fraud_markers_lag_ms"})
"""Columns in milliseconds that are no time of day."""
SHARES = ("_probability", "_propensity", "_rate", "_share", "_precision")
DECIDING = frozenset({"end_to_end_id", "tenant", "action", "mode", "outcome", "kind", "source"})
"""Columns that code downstream asks for a word: an unknown one takes a wrong branch."""
STATED = frozenset({*INSTANT_FIELDS.values(), "effective_at_ms", "fraud_type"})
"""What a sender says and no door bounds. Optional fields of the payment are stated, too. Broken ones are told and stop
nothing: else whoever may send could stop the lake."""
PRIVATE = frozenset({"payload", "record", "note", "errors", "value", "payment", "mapping", "remittance_text"})
"""Columns whose values are shown nowhere, and copied nowhere."""

_KINDS: tuple[str, ...] = tuple(LabelMessage.model_json_schema()["properties"]["kind"]["enum"])
_ACTIONS = ("ALLOW", "REVIEW", "BLOCK_AND_REVIEW", "BLOCK")
WORDS: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("silver/payments", "source"): ("live", "history"),
        ("gold/batch_scores", "source"): ("live", "history"),
        ("gold/batch_scores", "threshold_action"): _ACTIONS,
        ("gold/batch_scores", "decided_action"): _ACTIONS,
        ("silver/quarantine", "kind"): ("dead_letter", "superseded", "unreadable", "history"),
        ("*", "hold_outcome"): ("ALLOW", "BLOCK"),
        ("*", "control_instead_of"): ("BLOCK_AND_REVIEW", "BLOCK"),
        ("*", "origin_kind"): ("rest", "kafka"),
        ("*", "label_kind"): _KINDS,
        ("*", "review_status"): ("open", "closed", "expired"),
        ("*", "review_verdict"): ("confirmed", "dismissed"),
        ("*", "review_outcome"): ("ALLOW", "BLOCK"),
    }
)
"""Table, or ``*``, and column -> the words it may hold, where no contract says."""
SHAPES: Mapping[str, str] = MappingProxyType(
    {
        "tenant": rf"^[a-z0-9-]{{1,32}}(@{HISTORY_PATTERN})?$",
        "history": rf"^{HISTORY_PATTERN}$",
        "sha256": "^[0-9a-f]{64}$",
    }
)
"""Column, or the end of its name -> the shape of its texts, where no contract says or an import differs."""

LIVE: Mapping[str, str] = MappingProxyType({"silver/payments": "source = 'live'"})
"""Rows that arrive day by day; where others are mixed in, only these have a usual volume."""
ARRIVES: Mapping[str, str] = MappingProxyType(
    {"silver/labels": "recorded_at_ms", "silver/shadow_scores": "scored_at_ms"}
)
"""Tables kept by another day than the one on which their rows come: a payment's labels arrive for months. What is usual
is asked of the days of arrival."""
MATURES = frozenset(
    {
        *("known_until_ms", "redriven_at_ms", "redriven_to", "redriven_from"),
        *("is_fraud", "label_kind", "label_known_at_ms", "fraud_type", "alert_precision"),
        *("calibration_error", "average_precision", "alert_recall", "value_recall", "brier_score"),
        *("review_verdict", "review_closed_by", "review_ended_at_ms", "review_outcome"),
    }
)
"""Columns that are filled days after their row: in the newest days more of them are always missing."""
IMPORTED = frozenset(
    {"silver/history_payments", "silver/history_labels", "silver/history_refused", "silver/history_imports"}
)
"""Tables that grow by a whole import, so that no day is usual."""
ASKED_FOR = frozenset({"gold/batch_scores"})
"""Tables that have the days for which somebody asked; nor is any of these usual."""
GATES: Mapping[str, frozenset[str]] = MappingProxyType({"silver/payments": frozenset({"volume", "nulls"})})
"""Tables -> what, far from usual, stops whatever is made of them. Payments are what models learn from: of a day that
lost its rows, or a fact of its payments, they would learn something wrong. Decisions and gold say what was decided, on
a thin day, too, and an audit must reach them: there only exact promises block, and what is unusual is told."""
OUTSIDE = frozenset({"silver/policies"})
"""Layers' folders that no declaration covers: the service keeps its policies there, by their hash."""

HOUR_MS = 3_600_000
_SILVER, _GOLD = "silver/decisions", "gold/decisions"
_BY_ID = Source(table=_SILVER, on=tuple((name, name) for name in IDENTITY))


def _reaches(column: str, source: str, where: tuple[str, tuple[str, ...]] | None = None) -> Promise:
    return Promise(
        name="newest_rows_of_its_source_are_there",
        severity="critical",
        conditions=(
            # An hour: somebody else may bring the source up to date while this table is made.
            Condition(kind="reaches", columns=(column,), source=Source(table=source), slack=HOUR_MS, where=where),
        ),
        why=f"A table that ends an hour or more before {source} does is stale: what is made of it misses payments.",
    )


_DECISIONS = (
    Promise(
        name="nobody_pays_himself",
        severity="critical",
        conditions=(Condition(kind="differ", columns=("payer_account", "payee_account")),),
        why="The contract refuses it; states would fold both sides into one account.",
    ),
    Promise(
        name="outcomes_follow_from_actions",
        severity="critical",
        conditions=(
            Condition(
                kind="one_of",
                columns=("outcome",),
                values=("attempted",),
                where=("action", ("BLOCK_AND_REVIEW", "BLOCK")),
            ),
            Condition(kind="one_of", columns=("outcome",), values=("allowed",), where=("action", ("ALLOW", "REVIEW"))),
        ),
        why="Features count allowed and attempted payments apart.",
    ),
    Promise(
        name="normal_decisions_have_a_model_and_a_probability",
        severity="critical",
        conditions=tuple(
            Condition(kind="present", columns=(name,), where=("mode", ("normal",)))
            for name in ("fraud_probability", "model_version", "model_sha256")
        ),
        why="A decision without its model cannot be explained or run again.",
    ),
    Promise(
        name="draws_say_their_chance",
        severity="critical",
        conditions=tuple(
            Condition(
                kind="present",
                columns=(name,),
                where=("control_instead_of", ("BLOCK_AND_REVIEW", "BLOCK")),
            )
            for name in ("control_propensity", "control_drawn")
        ),
        why="What was let go on by chance weighs in the training set by its chance.",
    ),
    Promise(
        name="decisions_come_after_their_payments",
        severity="warning",
        conditions=(
            Condition(kind="at_least", columns=("received_at_ms", "event_time_ms")),
            Condition(kind="at_least", columns=("decided_at_ms", "received_at_ms")),
        ),
        why="A clock of the service went backwards.",
    ),
)
_KPIS = (
    Promise(
        name="actions_add_up_to_payments",
        severity="critical",
        conditions=(
            Condition(kind="adds_up", columns=("payments", "allowed", "reviewed", "held", "blocked")),
            Condition(kind="adds_up", columns=("alerts", "reviewed", "held", "blocked")),
            Condition(kind="adds_up", columns=("frauds_known", "frauds_caught", "frauds_missed")),
        ),
        why="Every payment gets one action, and every known fraud was caught or missed.",
    ),
    Promise(
        name="rates_follow_from_counts",
        severity="critical",
        conditions=(
            Condition(kind="ratio", columns=("review_rate", "payments", "reviewed", "held")),
            Condition(kind="ratio", columns=("block_rate", "payments", "held", "blocked")),
            Condition(kind="ratio", columns=("friction_rate", "payments", "stopped_honest")),
            Condition(kind="ratio", columns=("alert_precision", "alerts_judged", "frauds_caught")),
        ),
        why="Reports show the rates.",
    ),
)
BY_HAND: Mapping[str, tuple[Promise, ...]] = MappingProxyType(
    {
        _SILVER: _DECISIONS,
        "silver/payments": (
            _DECISIONS[0],
            Promise(
                name="imported_payments_name_their_history",
                severity="critical",
                conditions=(Condition(kind="present", columns=("history",), where=("source", ("history",))),),
                why="Training sets are picked by history.",
            ),
            Promise(
                name="payments_without_a_key_name_none",
                severity="warning",
                conditions=(Condition(kind="absent", columns=("pix_key",), where=("initiation", ("MANU", "AUTO"))),),
                why="The contract refuses a key where none is looked up.",
            ),
            Promise(
                name="amounts_are_those_of_its_source",
                severity="critical",
                conditions=(
                    Condition(kind="same_as", columns=("amount_cents",), source=_BY_ID, where=("source", ("live",))),
                ),
                why="Features would be computed from another amount than the one that was decided.",
            ),
            _reaches("event_time_ms", _SILVER, ("source", ("live",))),
        ),
        "silver/labels": (
            Promise(
                name="labels_are_known_after_they_are_true",
                severity="warning",
                conditions=(Condition(kind="at_least", columns=("known_at_ms", "effective_at_ms")),),
                why="A source whose clock is ahead; labels fold at their known time all the same.",
            ),
        ),
        _GOLD: (
            *_DECISIONS,
            Promise(
                name="held_and_reviewed_payments_have_a_review",
                severity="warning",
                conditions=(
                    Condition(
                        kind="present", columns=("review_status",), where=("action", ("REVIEW", "BLOCK_AND_REVIEW"))
                    ),
                ),
                why="Analysts would not see the payment in any count of reviews.",
            ),
            Promise(
                name="amounts_and_actions_are_those_of_its_source",
                severity="critical",
                conditions=(Condition(kind="same_as", columns=("amount_cents", "action"), source=_BY_ID),),
                why="Sums of gold would differ from what was decided.",
            ),
            _reaches("decided_at_ms", _SILVER),
        ),
        "gold/hourly_kpis": _KPIS,
        "gold/daily_kpis": (
            *_KPIS,
            Promise(
                name="totals_are_those_of_its_source",
                severity="critical",
                conditions=(
                    Condition(
                        kind="sums_of",
                        columns=("payments", "amount_cents", "blocked"),
                        source=Source(
                            table=_GOLD,
                            on=(("day", DAY),),
                            sums=(
                                ("payments", "count(*)"),
                                ("amount_cents", "sum(amount_cents)"),
                                ("blocked", "count(*) filter (where action = 'BLOCK')"),
                            ),
                        ),
                    ),
                ),
                why="A day's numbers are those of its decisions, and no day with decisions is missing.",
            ),
        ),
        "gold/model_daily": (
            Promise(
                name="parts_are_no_more_than_their_whole",
                severity="critical",
                conditions=tuple(
                    Condition(kind="at_least", columns=pair)
                    for pair in (
                        ("payments", "outcomes_known"),
                        ("outcomes_known", "frauds_known"),
                        ("payments", "alerts"),
                        ("alerts", "alerts_judged"),
                        ("alerts_judged", "frauds_caught"),
                        ("frauds_known", "frauds_caught"),
                    )
                ),
                why="Retraining is asked for by these counts.",
            ),
            Promise(
                name="rates_follow_from_counts",
                severity="critical",
                conditions=(
                    Condition(kind="ratio", columns=("alert_precision", "alerts_judged", "frauds_caught")),
                    Condition(kind="ratio", columns=("alert_recall", "frauds_known", "frauds_caught")),
                ),
                why="Reports show the rates.",
            ),
        ),
    }
)
"""Promises between columns and between tables, beside the generated ones."""
