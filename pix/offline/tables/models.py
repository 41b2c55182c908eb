"""Tables that tell of models."""

from pix.offline.declaration import Column, Table
from pix.offline.tables.columns import EVENT_DAY, EVENT_TIME, ID, TENANT
from pix.offline.tables.gold import KPI_DAY

EVALUATION = Table(
    "model/evaluation",
    "One number of the newest challenger, or of what it is judged beside, on days later than either was fit on.",
    (
        Column("model_version", "string", "The challenger's registered version."),
        Column("judged", "string", "Whose number it is: ensemble, raw fields (a CatBoost on them) or rules only."),
        Column("split", "string", "Empty for all payments; against, for a difference; else what parts are told by."),
        Column("part", "string", "Which part, such as SCAM; of a difference the other side; empty for all payments."),
        Column("metric", "string", "Which number; docs/models.md says what it means."),
        Column("value", "double", "The number."),
        Column("low", "double", "Lower end of its bootstrap interval; null without one."),
        Column("high", "double", "Upper end of its bootstrap interval; null without one."),
    ),
)

SEARCH = Table(
    "model/search",
    "One trial of the newest search of a history: settings of the trees, and the average precision that they reached.",
    (
        Column("history", "string", "Whose payments were learnt from: live, or an import's name."),
        Column("study", "string", "The search: the same rows under the same recipe are the same one."),
        Column("number", "bigint", "Of the trial in its study, from 0; the first tries the recipe's own settings."),
        Column("state", "string", "done, pruned (ended early, it fell behind) or stopped (time was up)."),
        Column("is_best", "boolean", "Whether model/challenger takes these settings where it is told none."),
        Column("average_precision", "double", "Mean over the folds; null unless done."),
        Column("seconds", "double", "How long it took."),
        Column("iterations", "bigint", "Trees."),
        Column("depth", "bigint", "Depth of each tree."),
        Column("learning_rate", "double", "Shrinkage of each tree."),
        Column("l2_leaf_reg", "double", "Pulls the values of leaves to 0."),
    ),
)

MODEL_DAILY = Table(
    "gold/model_daily",
    "One model's decisions of one day in Brasília whose labels have matured, by what was known when they had.",
    (
        KPI_DAY,
        Column("model_name", "string", "Name of the model that decided."),
        Column("model_version", "string", "Its registered version."),
        Column("payments", "bigint", "Payments that it decided."),
        Column("outcomes_known", "bigint", "Of these, known to be fraud or honest; silence after an ALLOW is honest."),
        Column("frauds_known", "bigint", "Frauds among those."),
        Column("frauds_cents", "bigint", "Their sum."),
        Column("average_probability", "double", "Mean probability of fraud of all its payments."),
        Column("expected_frauds", "double", "Sum of the probabilities of payments whose outcome is known."),
        Column("expected_variance", "double", "Sum of p (1 - p) of those: how far found may scatter around expected."),
        Column("brier_score", "double", "Mean squared distance of probability and outcome; null without outcomes."),
        Column("calibration_error", "double", "As in docs/models.md; null with fewer than 10 frauds."),
        Column("average_precision", "double", "As in docs/models.md; null with fewer than 10 frauds."),
        Column("alerts", "bigint", "Payments that were not simply allowed."),
        Column("alerts_judged", "bigint", "Of these with a known outcome."),
        Column("frauds_caught", "bigint", "Frauds among those."),
        Column("caught_cents", "bigint", "Their sum."),
        Column("alert_precision", "double", "Caught frauds ÷ judged alerts; null while none is judged."),
        Column("alert_recall", "double", "Caught frauds ÷ known frauds; null without any."),
        Column("value_recall", "double", "The same of their amounts."),
        Column("made_from", "bigint", "Version of gold/decisions that the row was made from."),
    ),
)

BATCH_SCORES = Table(
    "gold/batch_scores",
    "One past payment as one model version scores it, beside what was decided then.",
    (
        ID,
        TENANT,
        Column("history", "string", "The history it belongs to: live, or the name of an import kept apart from it."),
        Column("source", "string", "live or history."),
        EVENT_TIME,
        Column("model_name", "string", "Registered model."),
        Column("model_version", "string", "The version that scores."),
        Column("model_sha256", "string", "SHA-256 of its artefact."),
        Column("raw_score", "double", "Its log-odds before calibration."),
        Column("fraud_probability", "double", "Its calibrated probability."),
        Column("threshold_action", "string", "What thresholds ask for then; rules and lists may ask for more."),
        Column("policy_version", "string", "Hash of the policy whose thresholds these are."),
        Column("decided_action", "string", "The decision's own action; null where it was imported."),
        Column("decided_probability", "double", "The decision's own probability; null in degraded modes."),
        Column("decided_model_version", "string", "Version of the model that decided; null in degraded modes."),
        Column("decided_mode", "string", "normal, or degraded: and what was missing."),
        EVENT_DAY,
    ),
    partitions=("event_day", "history", "model_version"),
)
