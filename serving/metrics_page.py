"""``docs/observability.md``, made from the catalogue of metrics."""

from pix.metrics import table
from serving.correlation import LINES_PER_SECOND, SLOW_SECONDS
from serving.metrics import CATALOGUE
from serving.stopwatch import PUBLISH, STAGES

_HEAD = """\
# Observability

Written by `make contracts` from `serving/metrics.py`.

Three views of the same payment: metrics say *that* something is wrong, traces *where*, logs *what*. A decision's
record, an answer's `traceparent` and a log line carry the same `trace_id`. What an alert of `monitoring/alerts.yaml`
means and what to do stands in the [runbook](runbook.md); `monitoring/dashboard.json` is a dashboard for Grafana.

## Logs

One JSON object a line: `time` (UTC), `level`, `process`, `event`, and as far as there is one `trace_id`, `request_id`,
`route`, `status`, `duration_ms`, `exception`. `sentinela logs NAME` shows them readable on a terminal, and as they are
into a pipe. Requests are logged when they end in a server's error or take longer than {slow:.0f} s, at most {lines} a
second (`left_out` counts the others); all requests are in the metrics. The lines of BentoML's own parent process, which
answers no requests, are its own.

Lines hold no bodies and no clear identifiers. As a second line of defence, whatever looks like a CPF, a CNPJ (both with
valid check digits), an e-mail, a phone, an EVP or an account becomes the name of its kind (`[CPF]`), in every process,
exceptions and libraries included. `sentinela leaks` searches the logs, too.

## Traces

OpenTelemetry, off until `SENTINELA_OTLP_ENDPOINT` names a collector (OTLP over HTTP). `SENTINELA_TRACE_SHARE` (0.01) of
the traces that begin in the service are kept; one that came with a `traceparent` is kept as its sender says.

    POST /v1/decisions                     the request
    ├── decide                             action, mode, model and policy version
    │   ├── {stages}
    │   └── ...
    └── publish                            to Kafka, linked to the other payments of a batch

`traceparent` travels with the payment, whether tracing is on or not: a header of the request, or of the message on
`pix.transactions` or `pix.labels`, is taken over, and the messages on `pix.decisions` and `pix.folds` carry it on. A
message that a sweep delivers later has no header; a decision's record has the trace id all the same. Spans hold nothing
of a payment, not even its id.

## Metrics

`/metrics` is Prometheus' text, of all workers together. Counts reach it once a second; a worker that is killed loses
the last second of them. Labels are names from closed lists: routes are templates, versions are those that served.
BentoML's own request metrics are off, because their label is the raw path.

Stages: {all_stages}.

"""


def page() -> str:
    """The page's text."""
    all_stages = ", ".join(f"`{stage}`" for stage in (*STAGES, PUBLISH))
    head = _HEAD.format(slow=SLOW_SECONDS, lines=LINES_PER_SECOND, stages=", ".join(STAGES[:4]), all_stages=all_stages)
    return head + table(CATALOGUE)
