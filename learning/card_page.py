"""A model card as a page: what a version was made from, what it can do and cannot, and how it came to serve. Pure.

The parts are those of M. Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from learning.artefact import ModelCard
from learning.groups import FEW_FRAUDS, RATE, WEAK_RECALL
from learning.label_news import COUNT
from learning.training import ENSEMBLE

SPLITS = {
    "fraud_type": "Kind of fraud",
    "payer": "Payer is a person (PF) or a company (PJ)",
    "payer_age": "Age of the payer",
    "payer_account_age": "Age of the payer's account",
    "payer_region": "Region of the payer",
    "initiation": "How the payment was begun",
}
METRICS = {
    "average_precision": "average precision",
    "roc_auc": "area under the ROC curve",
    "recall_at_fpr_1e-04": "frauds found, 1 of 10,000 honest payments flagged",
    "recall_at_fpr_1e-03": "frauds found, 1 of 1,000 honest payments flagged",
    "recall_at_fpr_1e-02": "frauds found, 1 of 100 honest payments flagged",
    "value_recall_at_fpr_1e-03": "their value, 1 of 1,000 honest payments flagged",
    "precision_at_100_a_day": "frauds among a day's 100 most suspicious payments",
    "account_precision_at_100_a_day": "guilty accounts among a day's 100 most suspicious ones",
    "saved_reais": "R$ saved, less what alerts cost",
    "calibration_error": "calibration error (share of the frauds; 0 is perfect)",
}
INTENDED = """\
Probability of fraud of a Pix payment at the moment when it waits for its decision, one input of a policy beside rules
and lists; people review what the policy holds. Not made for judging persons, for credit, for other means of payment,
or for payments whose features another build computed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the registry says of a version.

    Attributes:
        name: Registered model.
        version: Its number.
        serves: Whether it is the champion.
        tags: Of the version; see ``learning.succession`` and ``learning.provenance``.
    """

    name: str
    version: str
    serves: bool
    tags: Mapping[str, str]


def page(card: ModelCard, standing: Standing) -> str:
    """The card in Markdown.

    Args:
        card: What training left.
        standing: What became of the version since.
    """
    parts = [
        f"# {standing.name} version {standing.version}",
        _standing(standing),
        "## Intended use\n\n" + INTENDED,
        "## Data\n\n" + _data(card, standing),
        "## How it was made\n\n" + _recipe(card, standing),
        "## What it can do\n\n" + _metrics(card),
        "## For whom it errs\n\n" + _groups(card),
        "## Limits\n\n" + _limits(card),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _standing(standing: Standing) -> str:
    tags = standing.tags
    told = ["**Serves as champion.**" if standing.serves else "Does not serve."]
    for tag, said in (
        ("promotion_proposed_at", "Proposed at {}; waits for a person's approval."),
        ("promoted_at", "Promoted at {}"),
        ("rolled_back_at", "Taken out of service at {}"),
        ("promotion_refused_at", "Refused at {}"),
    ):
        if at := tags.get(tag):
            person = tags.get({"promoted_at": "promotion_by", "rolled_back_at": "rolled_back_by"}.get(tag, ""), "")
            told.append(said.format(at) + (f" by {person}" if person else ""))
    why = {"promotion_reasons": "Why it may serve", "promotion_refusals": "Why it was refused"}
    why["rolled_back_reason"] = "Why it was taken out of service"
    for tag, title in why.items():
        if reasons := tags.get(tag):
            told.append(f"{title}:\n\n" + "\n".join(f"- {reason}" for reason in reasons.split("\n")))
    return "\n\n".join(told)


def _data(card: ModelCard, standing: Standing) -> str:
    metrics = card.metrics
    rows = [
        ("history", standing.tags.get("history", "unknown")),
        ("rows", f"{metrics['training_rows']:,.0f}"),
        ("frauds among them", f"{metrics['training_frauds']:,.0f}"),
        *_news(standing.tags),
        ("payments judged, by weight", f"{metrics['payments']:,.0f}, {metrics['frauds']:,.0f} of them frauds"),
        ("share of frauds where it was judged", f"{metrics['base_rate']:.4%}"),
        ("the evaluation ensemble learnt until", _instant(card.cut_ms)),
        ("the served one learnt until", _instant(card.until_ms)),
        ("inputs", f"{len(card.feature_names)} features, fingerprint `{card.fingerprint}`"),
        *((f"`{table}`", f"version {version}") for table, version in sorted(card.data_versions.items())),
    ]
    return _table(("", ""), rows)


def _news(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """How fast what people said came into this version."""
    rows = [("labels new to it", f"{int(tags[COUNT]):,}")] if COUNT in tags else []
    for name, said in (("p50", "half"), ("p95", "95 of 100")):
        if hours := tags.get(f"label_to_service_hours_{name}"):
            rows.append((f"from a new label to service, {said} of them within", f"{float(hours):,.1f} h"))
    return rows


def _recipe(card: ModelCard, standing: Standing) -> str:
    tags = standing.tags
    rows = [(name, f"`{_setting(value)}`") for name, value in sorted(card.config.items())]
    made = [("trained at", card.trained_at)]
    for tag, label in (
        ("git_commit", "commit"),
        ("lock_sha256", "lock file, SHA-256"),
        ("dagster_run_id", "Dagster run"),
    ):
        made.append((label, f"`{tags.get(tag, 'unknown')}`"))
    worth = [row for row in card.judgement if row["split"] == "member"]
    adds = _table(
        ("member", "adds to the average precision of the others"), [(row["part"], _interval(row)) for row in worth]
    )
    return _table(("", ""), [*made, *rows]) + ("\n\n" + adds if worth else "")


def _metrics(card: ModelCard) -> str:
    judged = list(dict.fromkeys(row["judged"] for row in card.judgement))
    values = {(row["judged"], row["metric"]): row["value"] for row in card.judgement if not row["split"]}
    rows = [
        (label, *(_number(metric, values.get((name, metric))) for name in judged))
        for metric, label in METRICS.items()
        if (ENSEMBLE, metric) in values
    ]
    against = [row for row in card.judgement if row["split"] == "against"]
    over = [(f"{_said(row['metric'])} over {row['part']}", _interval(row)) for row in against]
    low, high = card.metrics["average_precision_low"], card.metrics["average_precision_high"]
    over.insert(0, ("average precision", f"{card.metrics['average_precision']:.4f} [{low:.4f}, {high:.4f}]"))
    return _table(("later payments", *judged), rows) + "\n\n" + _table(("with its 95 % interval", ""), over)


def _groups(card: ModelCard) -> str:
    """Recall and false positives at one threshold for all."""
    told = [f"At one threshold for all, which flags {RATE:.1%} of the honest payments; shares with 95 % intervals."]
    for split, title in SPLITS.items():
        groups = _of_split(card.judgement, split)
        rows = [
            (
                name,
                f"{found['payments']['value']:,.0f}",
                f"{found['frauds']['value']:,.0f}",
                _share(found.get("recall")),
                _share(found.get("false_positive_rate")),
            )
            for name, found in groups.items()
        ]
        if rows:
            told.append(_table((title, "payments", "frauds", "frauds found", "honest flagged"), rows))
    return "\n\n".join(told)


def _limits(card: ModelCard) -> str:
    weak, unknown = [], []
    for name, found in _of_split(card.judgement, "fraud_type").items():
        recall = found.get("recall")
        if recall is None or found["frauds"]["value"] < FEW_FRAUDS:
            unknown.append(name)
        elif recall["high"] is not None and recall["high"] < WEAK_RECALL:
            weak.append(f"{name} ({_share(recall)})")
    newest = card.config.get("newest_days")
    told = [
        f"- Trained because fraud had changed: the newest {newest:g} days judge, or as many as hold enough frauds. If "
        "that fold is shorter than the others, what it judges learnt by all labels there are, fresher ones than there "
        "will be in service; then figures are somewhat too good."
        if newest
        else "",
        f"- Weak, less than {WEAK_RECALL:.0%} found: {', '.join(weak)}." if weak else "",
        f"- Judged on fewer than {FEW_FRAUDS} frauds, so nothing is known: {', '.join(unknown)}." if unknown else "",
        "- A payment counts as honest when its label's time is over; a fraud that nobody reports is learnt as honest.",
        "- Payments that were held or blocked and that nobody judged are not learnt from. Where the policy has a "
        "control group, what it let go on by chance stands for those that the score alone had stopped; what rules "
        "stop, and amounts above the group's limit, nobody stands for.",
        "- Figures in R$ rest on assumed costs of alerts (`learning/costs.py`).",
        "- Where groups' intervals do not overlap, the model treats them differently; whether that is justified is a "
        "person's judgement.",
    ]
    return "\n".join(line for line in told if line)


def _of_split(judgement: Sequence[Mapping[str, Any]], split: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in judgement:
        if row["split"] == split:
            found.setdefault(row["part"], {})[row["metric"]] = row
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _share(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{row['value']:.2%} [{row['low']:.2%}, {row['high']:.2%}]"


def _interval(row: Mapping[str, Any]) -> str:
    form = "{:+,.0f}" if "reais" in row["metric"] else "{:+.4f}"
    return f"{form.format(row['value'])} [{form.format(row['low'])}, {form.format(row['high'])}]"


def _setting(value: object) -> str:
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _number(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if "reais" in metric else f"{value:.4f}"


def _said(metric: str) -> str:
    return {"average_precision_over": "average precision", "saved_reais_over": "R$ saved"}.get(metric, metric)


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="minutes")
