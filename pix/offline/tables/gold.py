"""Tables of gold: decisions with their outcomes, KPIs, profiles, and where every message is."""

from pix.offline.declaration import Column, Table
from pix.offline.tables.columns import TENANT
from pix.offline.tables.silver import DECISIONS_SILVER

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
