"""``python -m fraud_streaming``: write the page of the streams anew from the catalogues of their metrics."""

from pathlib import Path

from fraud_streaming import keeping
from fraud_streaming.meters import CATALOGUE
from pix.metrics import table

PAGE = Path(__file__).parents[1] / "docs" / "streams.md"
_HEAD = """\
# Streams

Written by `make contracts` from `fraud_streaming/meters.py` and `fraud_streaming/keeping.py`.

| Stream | From | To | Code |
|---|---|---|---|
| `score_stream`, `score_stream_2`, ... | `pix.transactions` | the decision service (`pix.decisions`) | `scoring.py` |
| `label_stream` | `pix.labels` | the decision service (`pix.folds`) | `labels.py` |
| `bronze_stream` | every topic | one Delta table a topic, under `bronze/` | `bronze.py` |

Each is one long-lived run of Dagster. A keeper sensor keeps it alive, the lock that its process holds in
`$SENTINELA_HOME/locks` makes it the only one. It ends by itself when it is asked to (SIGTERM, SIGINT, the terminate
button), when its code server is gone, or when it has lived for `SENTINELA_STREAM_LIFETIME_SECONDS`; it finishes its
batch first.

## The scoring job

**Order.** A sender's key is the payer's account, so a payer's payments lie in one partition. Each partition has a lane,
which asks for its payments in order, at most {batch} a request; within a request the service decides none of a payer
past one that it could not decide. Lanes work beside each other, at most {turns} requests at once.

**Nothing is lost.** Offsets are committed after the service acknowledged the decision or the broker confirmed the dead
letter, at most {commit:.0f} ms later. What was not committed is asked for again, and gets the decision that it has.

**More instances.** `SENTINELA_SCORING_INSTANCES` starts several, up to the number of partitions; each has its keeper,
its lock and its place in the group (static membership). Partitions move one by one (cooperative rebalancing): the one
that gives a partition up finishes its request, waits at most {give_up:.0f} s for that, and commits. A killed instance's
partitions wait for its successor, {session:.0f} s at most; then the others take them over. `dagster.yaml` allows six
runs at once, so for more than two instances raise `max_concurrent_runs`.

**While the service is away** lanes ask again after 0.2 s, doubling up to {longest:.0f} s; a partition is paused when
{held} MB of its messages wait.

## Metrics

Every stream answers Prometheus on a free port of the loopback, which `sentinela status` shows, and leaves its address
in `$SENTINELA_HOME/metrics/<stream>.json`, as Prometheus' file-based discovery reads it (`monitoring/prometheus.yaml`).
The label `stream` is the target's. An address stays when its stream ends, so that `up == 0` says that a stream is not
kept alive.

"""
_SUPERVISION = """
## What brings back what

| What dies | Who brings it back |
|---|---|
| a stream: its process, or Spark's JVM | its keeper, a sensor that looks every 5 s |
| broker, service, MLflow, webserver, daemon, code server | the supervisor, a process that `sentinela up` starts |
| a worker of the service | the service's parent process |
| the supervisor | nobody: `SentinelaUnsupervised` says that it is missing, `sentinela up` starts it |

A stream whose run had lived for {healthy} s is started again at once, another one after 10 s, and after twice as long
with each further failure in a row, up to {longest} s. A part that had lived for a minute, or died before that for the
first time, is started again at once; else after 2 s, and after twice as long each time, up to a minute.

A part that lives is never ended, even if it does not answer: `sentinela up` replaces it. With its code server a stream
ends by itself, because nobody could end it any more; the keeper starts it on the next one. Two runs of a stream cannot
be: the second finds the lock held. A run whose process is dead is marked failed by Dagster's monitoring, or by the
keeper, which sees that the lock is free. How long all this takes under load stands in [faults.md](faults.md).

The keeper leaves a note of what it saw in `$SENTINELA_HOME/run/keepers/<stream>.json`. From it `sentinela status` says
why a stream is not kept alive: what it waits for, with what sentence its last run failed, or that the keeper has not
looked for a minute. After {flapping} failures in a row a stream is `unhealthy`, also while its next run is up.

The supervisor answers Prometheus, too (`$SENTINELA_HOME/metrics/supervisor/`), when daemon, code server and run are
dead:

"""


def page() -> str:
    """The page's text."""
    from fraud_streaming.kafka import SESSION_TIMEOUT_MS
    from fraud_streaming.lanes import BATCH
    from fraud_streaming.scoring import COMMIT_SECONDS, GIVE_UP_SECONDS, MOST_HELD_BYTES, TURNS
    from fraud_streaming.service import LONGEST_PAUSE_SECONDS

    head = _HEAD.format(
        batch=BATCH,
        turns=TURNS,
        commit=COMMIT_SECONDS * 1000,
        give_up=GIVE_UP_SECONDS,
        session=SESSION_TIMEOUT_MS / 1000,
        longest=LONGEST_PAUSE_SECONDS,
        held=MOST_HELD_BYTES >> 20,
    )
    supervision = _SUPERVISION.format(
        healthy=keeping.HEALTHY_SECONDS, longest=keeping.LONGEST_BACK_OFF_SECONDS, flapping=keeping.FLAPPING
    )
    return head + table(CATALOGUE) + supervision + table(keeping.CATALOGUE)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
