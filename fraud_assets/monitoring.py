"""Has the world moved since the model was trained? Evidently draws, ``quality.drift`` and ``quality.verdict`` judge.

One report a night: features, the champion's scores, labels and the champion's matured days. What it found stands in the
materialisation, for the sensor that asks for retraining; the page and every number are kept in ``<home>/reports``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.declared import ARROW_KINDS, keys_of, named
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.learning_rows import of_history
from fraud_assets.model_days import MATURITY_DAYS, days_of
from fraud_assets.models import CHAMPION
from fraud_assets.registry import RegistryResource
from fraud_assets.resources import HomeResource
from pix.clock import epoch_ms
from pix.contracts import DAY_MS, LIVE_HISTORY
from pix.features import FEATURE_NAMES, FINGERPRINT
from pix.offline.days import day_at
from pix.offline.names import history_of
from pix.offline.silver import HISTORY, LIVE
from pix.offline.tables import DECISIONS_GOLD, MODEL_DAILY, PAYMENT_FEATURES, TRAINING_SET
from pix.offline.vectors import as_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from learning.registry import Downloaded
    from quality.drift import Beside, DriftSummary
    from quality.verdict import Finding, Shares

DRIFT_REPORT = "monitoring/drift_report"
LABEL_DAYS = 28
"""Matured days whose labels are compared with those that the champion learnt from."""


class DriftConfig(dg.Config):
    """Whose payments are compared, and how many.

    Attributes:
        history: ``live``, or the name of an import.
        current_rows: At most so many of the newest payments, a random part of them.
        current_days: Of so many days: whole weeks, because nights and weekends are like no other time.
        least_rows: At least so many of the newest, however old they are.
        enough_live_rows: With fewer live payments, history's are taken.
        seed: Of all samples.
    """

    history: str = LIVE_HISTORY
    current_rows: int = 15_000
    current_days: int = 7
    least_rows: int = 2_000
    enough_live_rows: int = 500
    seed: int = 7


@dg.asset(
    **named(DRIFT_REPORT, ARROW_KINDS | {"evidently"}, pii="none"),
    deps=keys_of(TRAINING_SET, PAYMENT_FEATURES, MODEL_DAILY, CHAMPION),
    io_manager_key="small_tables",
)
@told
def drift_report(
    context: dg.AssetExecutionContext,
    config: DriftConfig,
    lake: LakeResource,
    home: HomeResource,
    registry: RegistryResource,
) -> dg.MaterializeResult[Any]:
    """One feature's distance (PSI) between what the champion learnt from and the newest payments.

    Beside it, in the metadata and on the page: drift of the champion's scores, of labels, and of fraud itself.
    """
    from quality import drift, verdict

    champion = registry.champion()
    source, current = newest(lake, config)
    learnt = _learnt(lake, config, champion)
    scores = _scores(champion, learnt, current)
    labels = _labels(lake, config, champion)
    # The same data gives the same id, so that a report made twice is one report.
    report_id = _report_id(lake, champion)
    summary, page = drift.drift_report(
        learnt,
        current,
        FEATURE_NAMES,
        report_id=report_id,
        seed=config.seed,
        weights=learnt["weight"],
        beside=[*scores, *labels.beside],
    )
    findings = [
        *of_newest(source, summary, scores),
        *verdict.of_labels(labels.then, labels.now),
        *_of_fraud(lake, champion, reported=labels.reported),
    ]
    version = champion.ref.version if champion else None
    numbers = {"champion": version, "findings": [one.to_dict() for one in findings], "current": source}
    document = {**numbers, "made_at_ms": epoch_ms(), "features": summary.to_metadata(), "evidently": page.numbers}
    kept = home.keep_report(f"drift-{report_id}", page.html, document)
    context.log.info("Evidently compared %d with %d rows: %s", len(learnt), len(current), kept)
    metadata = {**summary.to_metadata(), **numbers, "html": dg.MetadataValue.path(kept)}
    return dg.MaterializeResult(value=as_table(summary), metadata=metadata)


def newest(lake: LakeResource, config: DriftConfig) -> tuple[str, "pd.DataFrame"]:
    """The newest payments' features and where they come from: live decisions, or history while those are few."""
    from pyspark.sql import functions as f

    # The table first: in a run of this asset alone nobody else has started Spark yet, and columns need it.
    vectors = lake.read(PAYMENT_FEATURES.name)
    ours = (f.col("fingerprint") == FINGERPRINT) & (history_of("tenant") == config.history)
    features = vectors.where(ours)
    live = features.where(f"source = '{LIVE}'")
    source = LIVE if live.count() >= config.enough_live_rows else HISTORY
    chosen = live if source == LIVE else features
    last = chosen.select("event_time_ms").orderBy(f.desc("event_time_ms")).limit(config.least_rows)
    ends = last.agg(f.min("event_time_ms").alias("from"), f.max("event_time_ms").alias("to")).first()
    from_ms = min(ends["from"], ends["to"] - config.current_days * DAY_MS) if ends and ends["to"] is not None else 0
    by_chance = f.xxhash64("end_to_end_id", f.lit(config.seed))
    rows = chosen.where(f.col("event_time_ms") >= from_ms).orderBy(by_chance).limit(config.current_rows)
    frame: pd.DataFrame = as_columns(rows, []).toPandas()
    return source, frame


def _learnt(lake: LakeResource, config: DriftConfig, champion: "Downloaded | None") -> "pd.DataFrame":
    """A part of what the champion was trained on, by time; of the whole training set while there is none."""
    from pyspark.sql import functions as f

    rows = lake.read(TRAINING_SET.name).where(of_history(config.history))
    if champion is not None:
        rows = rows.where(f.col("event_time_ms") <= champion.card.until_ms)
    by_chance = f.xxhash64("end_to_end_id", f.lit(config.seed))
    chosen = rows.select("end_to_end_id", "event_time_ms", "weight", *FEATURE_NAMES).orderBy(by_chance)
    frame: pd.DataFrame = chosen.limit(config.current_rows).toPandas()
    return frame.sort_values(["event_time_ms", "end_to_end_id"], ignore_index=True)


def _scores(champion: "Downloaded | None", learnt: "pd.DataFrame", current: "pd.DataFrame") -> list["Beside"]:
    """What the champion's twin says of payments that it never saw, then and now.

    The champion itself saw every row of its training set, and is surer of those than of any other. Its twin is the
    same recipe fit on the rows before a cut (``learning.artefact``); what lies after it was new to it.
    """
    if champion is None:
        return []
    import pandas as pd

    from learning.artefact import EVALUATION
    from learning.ensemble import load_ensemble
    from learning.scoring import raw_scores
    from quality.drift import Beside

    twin = load_ensemble(champion.folder, EVALUATION)
    unseen = learnt[learnt["event_time_ms"] >= champion.card.cut_ms]
    then, now = (pd.Series(raw_scores(twin, rows)) for rows in (unseen, current))
    return [Beside("the champion's log-odds", then, now)] if len(then) and len(now) else []


def of_newest(source: str, summary: "DriftSummary", scores: Sequence["Beside"]) -> list["Finding"]:
    """What the newest payments have that those learnt from did not, in features and in what the model says.

    Of an imported past nothing: the champion was fit on that very past, and a young one's features move because they
    look back on ever more of it. Its table and page show it all the same.

    Args:
        source: Where the newest payments come from: ``live`` or ``history``.
        summary: Of the features.
        scores: The model's, then and now.
    """
    from quality import drift, verdict

    if source != LIVE:
        return []
    found = verdict.of_features(summary)
    for each in scores:
        psi, usual = drift.number_psi(each.reference, each.current)
        found += verdict.of_scores(psi, usual, rows=min(len(each.reference), len(each.current)))
    return found


def _of_fraud(lake: LakeResource, champion: "Downloaded | None", *, reported: float) -> list["Finding"]:
    """What matured days say of the champion's idea of fraud."""
    from quality import verdict

    if champion is None:
        return []
    found = days_of(lake, champion.ref.name, champion.ref.version)
    learnt_until = day_at(champion.card.until_ms)
    return [
        *verdict.of_days(found.days, before=found.before, learnt_until=learnt_until),
        *verdict.of_probabilities(found.own, reported=reported),
    ]


@dataclass(frozen=True, slots=True)
class _Labels:
    """What labels said then and now.

    Attributes:
        then: Of the champion's training set, as each payment was known when it had matured.
        now: Of the matured days since.
        reported: Share of the training set's frauds that were known when they had matured.
        beside: Kinds of fraud, for the page.
    """

    then: "Shares"
    now: "Shares"
    reported: float
    beside: "list[Beside]"


def _labels(lake: LakeResource, config: DriftConfig, champion: "Downloaded | None") -> _Labels:
    from quality.drift import Beside
    from quality.verdict import Shares

    until_ms = champion.card.until_ms if champion else epoch_ms()
    ours = f"{of_history(config.history)} and event_time_ms <= {until_ms}"
    (learnt,) = lake.ask(TRAINING_SET.name, _LEARNT.format(where=ours, maturity_ms=MATURITY_DAYS * DAY_MS))
    kinds_then = lake.ask(TRAINING_SET.name, _KINDS.format(where=f"{ours} and is_fraud"))
    first = day_at(until_ms) + timedelta(days=1)
    days = lake.ask(MODEL_DAILY.name, _MATURED.format(first=first))[:LABEL_DAYS]
    kinds_now: list[dict[str, Any]] = []
    if days:
        between = f"is_fraud and event_day between date '{days[-1]['day']}' and date '{days[0]['day']}'"
        kinds_now = lake.ask(DECISIONS_GOLD.name, _KINDS.format(where=between))
    then, now = ({row["kind"]: float(row["payees"]) for row in rows} for rows in (kinds_then, kinds_now))
    frauds, reported = learnt["frauds"] or 0.0, learnt["reported"] or 0.0
    return _Labels(
        then=Shares(learnt["payments"] or 0.0, reported, then),
        now=Shares(sum(row["outcomes"] for row in days), sum(row["frauds"] for row in days), now),
        reported=reported / frauds if frauds else 1.0,
        beside=[Beside("kinds of fraud, a payee each", _words(then), _words(now), is_number=False)],
    )


def _words(counts: Mapping[str, float]) -> "pd.Series[Any]":
    import pandas as pd

    return pd.Series([kind for kind, many in counts.items() for _ in range(int(many))], dtype=object)


_LEARNT = """select sum(weight) as payments, sum(case when is_fraud then weight else 0 end) as frauds,
    sum(case when is_fraud and fraud_known_at_ms <= event_time_ms + {maturity_ms} then weight else 0 end) as reported
    from asked where {where}"""
_KINDS = """select fraud_type as kind, count(distinct payee_account) as payees from asked
    where {where} and fraud_type is not null group by 1 order by 1"""
_MATURED = """select day, sum(outcomes_known) as outcomes, sum(frauds_known) as frauds from asked
    where day >= date '{first}' group by 1 order by 1 desc"""


def _report_id(lake: LakeResource, champion: "Downloaded | None") -> str:
    versions = [lake.version(table.name) for table in (TRAINING_SET, PAYMENT_FEATURES, MODEL_DAILY)]
    return "t{}-f{}-d{}".format(*versions) + (f"-m{champion.ref.version}" if champion else "")


def as_table(summary: "DriftSummary") -> "pa.Table":
    """The report as a small table, one row per feature."""
    import pyarrow as pa

    missing: Mapping[str, Any] = summary.missing
    columns = {
        "report_id": pa.array([summary.report_id] * len(FEATURE_NAMES), pa.string()),
        "feature": pa.array(FEATURE_NAMES, pa.string()),
        "psi": pa.array([summary.psi.get(name) for name in FEATURE_NAMES], pa.float64()),
        "usual_psi": pa.array([summary.usual.get(name) for name in FEATURE_NAMES], pa.float64()),
        "is_drifted": pa.array([name in summary.drifted for name in FEATURE_NAMES], pa.bool_()),
        "is_dead": pa.array([name in summary.dead for name in FEATURE_NAMES], pa.bool_()),
        "missing_moved": pa.array([name in missing for name in FEATURE_NAMES], pa.bool_()),
    }
    return pa.table(columns)
