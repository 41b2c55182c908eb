"""Tables that tell of models."""

from pix.offline.declaration import Column, Table

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
