"""The continuous streams under Dagster: one long-lived run of each, and its keeper.

A keeper sensor keeps one run of a stream alive; the lock that the run's process holds makes it exactly
one. What a stream does lives in ``fraud_streaming``; here it gets its values, and its reports become
observations. This module is a process root: each stream builds its own ``Settings``.
"""

import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.external import ONLINE_STORE, bronze_key, external_assets, topic_key
from fraud_assets.keepers import keeper
from fraud_streaming.lifetime import LIFETIME, Stop
from pix import log_lines, topics
from pix import streams as names
from pix.locks import LockHeld, hold, release
from pix.settings import Settings

if TYPE_CHECKING:
    from fraud_streaming.meters import Meters

MATERIALIZE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """One continuous job.

    Attributes:
        name: Name of its job, its lock and its value of the tag ``stream``.
        text: What it does.
        body: Runs until asked to stop.
    """

    name: str
    text: str
    body: "Body"


@dataclass(frozen=True, slots=True)
class Life:
    """What a stream's body gets of the run that it is.

    Attributes:
        context: The run.
        settings: As they are now.
        stop: The end.
        meters: Count for Prometheus.
    """

    context: dg.OpExecutionContext
    settings: Settings
    stop: Stop
    meters: "Meters"


Body = Callable[[Life], None]


def score(life: Life, member: int) -> None:
    """Body of ``score_stream`` and of the further instances of the scoring job."""
    from fraud_streaming import scoring
    from fraud_streaming.service import ServiceClient
    from pix.tokens import load_keyring

    context, settings = life.context, life.settings
    key, randomness = api_key(settings), random.SystemRandom()
    service = ServiceClient(settings.service, key, randomness=randomness)

    def report(told: dict[str, object]) -> None:
        observe(context, topic_key(topics.TRANSACTIONS), told)
        store = service.get("/v1/store")
        if store is not None:
            observe(context, ONLINE_STORE, store)

    scoring.run(
        kafka=settings.kafka,
        service_url=settings.service,
        api_key=key,
        keyring=load_keyring(settings.secrets),
        randomness=randomness,
        member=member,
        meters=life.meters,
        stop=life.stop,
        report=report,
    )


def fold_labels(life: Life) -> None:
    """Body of ``label_stream``."""
    from fraud_streaming import labels
    from pix.tokens import load_keyring

    settings = life.settings
    labels.run(
        kafka=settings.kafka,
        service_url=settings.service,
        api_key=api_key(settings),
        keyring=load_keyring(settings.secrets),
        wait_seconds=settings.label_wait_seconds,
        randomness=random.SystemRandom(),
        meters=life.meters,
        stop=life.stop,
        report=lambda told: observe(life.context, topic_key(topics.LABELS), told),
    )


def write_bronze(life: Life) -> None:
    """Body of ``bronze_stream``."""
    from dagster_pyspark import LazyPySparkResource

    from fraud_streaming import bronze
    from pix.offline.session import end_session, spark_config, use_this_python
    from pix.tokens import load_keyring

    settings = life.settings
    use_this_python()
    config = spark_config(
        tmp_dir=settings.root / "tmp" / "spark-bronze",
        master=settings.spark_master,
        memory=settings.spark_memory,
        extra={"spark.app.name": "sentinela-bronze", **bronze.SESSION, **settings.spark_config},
    )
    keyring = load_keyring(settings.secrets)
    spark = LazyPySparkResource(spark_config=config).spark_session
    life.stop.arm()
    try:
        bronze.run(
            spark,
            kafka=settings.kafka,
            lake=settings.lake,
            checkpoint=settings.root / "streams" / "bronze",
            lock=settings.locks / "bronze_stream.jvm",
            keyring=keyring,
            trigger_seconds=settings.stream_trigger_seconds,
            stop=life.stop,
            report=BronzeReport(life.context, settings.lake, life.meters),
        )
    finally:
        end_session(spark)


class BronzeReport:
    """Turns the bronze stream's reports into events of its tables.

    Each report is an observation of the table, and a materialisation when it has new rows: logged from
    within the run a table would be materialised by a run that never ends, so it is reported without one.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        lake: str,
        meters: "Meters",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meters = meters
        self._context = context
        self._lake = lake
        self._clock = clock
        self._unreported: dict[str, int] = dict.fromkeys(topics.ALL, 0)
        self._materialized: dict[str, float] = {}

    def __call__(self, told: dict[str, Any]) -> None:
        """Report one period."""
        from fraud_streaming.meters import LAG, MESSAGES

        self._meters.set(LAG, sum(table["behind"] for table in told["tables"].values()))
        self._meters.count(MESSAGES, "written", by=sum(table["new_rows"] for table in told["tables"].values()))
        for topic, table in told["tables"].items():
            facts = {**table, **{name: told[name] for name in ("batches", "batch_ms_mean", "batch_ms_max")}}
            observe(self._context, bronze_key(topic), facts)
            if topic in (topics.DECISIONS, topics.FOLDS, topics.DLQ, topics.SHADOW):
                observe(self._context, topic_key(topic), {"offsets": table["offsets"], "behind": table["behind"]})
            self._unreported[topic] += table["new_rows"]
            self._materialize(topic, table, at_end=told["final"])

    def _materialize(self, topic: str, table: Mapping[str, Any], *, at_end: bool) -> None:
        last = self._materialized.get(topic)
        soon = last is not None and self._clock() - last < MATERIALIZE_SECONDS
        # The first time also without rows: the empty table is there and can be read.
        if (soon and not at_end) or (last is not None and not self._unreported[topic]):
            return
        facts = {
            "new_rows": self._unreported[topic],
            "dagster/row_count": sum(table["offsets"].values()) - table["skipped"],
            "offsets": table["offsets"],
            "path": f"{self._lake}/{topics.bronze_table(topic)}",
        }
        event = dg.AssetMaterialization(bronze_key(topic), metadata=as_metadata(facts))
        self._context.instance.report_runless_asset_event(event)
        self._materialized[topic] = self._clock()
        self._unreported[topic] = 0


def api_key(settings: Settings) -> str:
    """Key of the decision service.

    Raises:
        dg.Failure: The home has none.
    """
    path = settings.secrets / "api-key"
    if not path.exists():
        raise dg.Failure(f"{path} does not exist; `sentinela up` makes the keys of a home")
    return path.read_text().strip()


def observe(context: dg.OpExecutionContext, key: dg.AssetKey, facts: Mapping[str, object]) -> None:
    """Log an observation of an asset."""
    context.log_event(dg.AssetObservation(key, metadata=as_metadata(facts)))


def as_metadata(facts: Mapping[str, object]) -> dict[str, Any]:
    """Metadata values of Dagster; unknown facts are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    return {name: _by_partition(value) if isinstance(value, Mapping) else value for name, value in known.items()}


def _by_partition(offsets: Mapping[int, int]) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.json({str(part): offset for part, offset in offsets.items()})


def stream_job(stream: Stream) -> dg.JobDefinition:
    """The job whose one run is the stream."""

    @dg.op(name=f"{stream.name}_loop", description=stream.text)
    def loop(context: dg.OpExecutionContext) -> None:
        from fraud_streaming.meters import Meters, shown

        settings = Settings()
        log_lines.configure(stream.name, sys.stderr)
        lock = settings.locks / stream.name
        try:
            hold(lock)
        except LockHeld as held:
            raise dg.Failure(f"{stream.name} is already running: {held}") from held
        stop, meters = Stop(lifetime_seconds=settings.stream_lifetime_seconds), Meters()
        stop.arm()
        try:
            with shown(meters, settings.metrics, stream.name) as address:
                context.log.info("metrics of %s: %s", stream.name, address)
                stream.body(Life(context, settings, stop, meters))
        finally:
            release(lock)
        context.log.info("%s ends: %s", stream.name, stop.why)
        if stop.why != LIFETIME:
            raise dg.DagsterExecutionInterruptedError

    @dg.job(
        name=stream.name,
        description=stream.text,
        executor_def=dg.in_process_executor,
        tags={"stream": stream.name},
    )
    def job() -> None:
        loop()

    return job


def streams(scoring_instances: int) -> list[Stream]:
    """The continuous jobs."""
    scoring = "Payments from pix.transactions to the decision service, in batches, each payer's in order."
    return [
        *(
            Stream(name, scoring, partial(score, member=member))
            for member, name in enumerate(names.score_names(scoring_instances), 1)
        ),
        Stream(names.LABEL, "Labels from pix.labels to the service, which folds them into states.", fold_labels),
        Stream(names.BRONZE, "Every topic into a Delta table of its own, by one Spark query.", write_bronze),
    ]


def stream_definitions(settings: Settings) -> dg.Definitions:
    """Jobs, keepers and external assets of the streams."""
    all_streams = streams(settings.scoring_instances)
    jobs = {stream.name: stream_job(stream) for stream in all_streams}
    return dg.Definitions(
        assets=external_assets(),
        jobs=list(jobs.values()),
        sensors=[keeper(stream.name, jobs[stream.name]) for stream in all_streams],
    )
