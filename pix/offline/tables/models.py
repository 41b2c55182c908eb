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
