"""How a model is fit: what, together with the rows, determines its predictions."""

from dataclasses import dataclass

MEMBERS = ("catboost", "scorecard", "histogram")
"""Algorithms that an ensemble may have; ``learning.members`` fits them."""

SEARCHED = ("iterations", "depth", "learning_rate", "l2_leaf_reg")
"""Settings of the trees that ``learning.search`` tries; fields of the recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The recipe; together with the rows it determines the model's predictions.

    Attributes:
        iterations: Trees.
        depth: Depth of each tree.
        learning_rate: Shrinkage of each tree.
        l2_leaf_reg: Pulls the values of leaves to 0.
        seed: Seed of samples, of CatBoost and of the bootstrap.
        threads: Threads of CatBoost.
        border_count: Split candidates per feature, half of them at equal distances, half at quantiles.
        members: Algorithms; see ``learning.members``.
        folds: How many times members are fit on the past and judged on what came after, before they are fit on all.
        test_share: Share of the newest rows that the folds judge.
        newest_days: The last fold judges so many of the newest days, and learns by whatever label there is
            (``learning.folds.growing``): for fraud that has just changed. None: all folds judge equally many payments.
        gap_ms: Rows this close before a fold are left out, because their labels came after it.
        leave_out: Whether members that add nothing on the folds are left out of the final fit.
        honest_rows: At most about so many rows without a fraud are fit on, at random; weights stand for the others.
    """

    iterations: int = 300
    depth: int = 6
    learning_rate: float = 0.06
    l2_leaf_reg: float = 3.0
    seed: int = 7
    threads: int = 2
    border_count: int = 254
    members: tuple[str, ...] = MEMBERS
    folds: int = 3
    test_share: float = 0.4
    newest_days: float | None = None
    gap_ms: int = 0
    leave_out: bool = True
    honest_rows: int = 300_000

    def __post_init__(self) -> None:
        for name in ("iterations", "depth", "threads", "border_count", "honest_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, one to blend on and one to judge, got {self.folds}")
        if unknown := sorted(set(self.members) - set(MEMBERS)):
            raise ValueError(f"members {', '.join(unknown)} are not known; there are {', '.join(MEMBERS)}")
        if not self.members:
            raise ValueError(f"members must name at least one of {', '.join(MEMBERS)}")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must lie in (0, 1], got {self.learning_rate}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie between 0 and 1, got {self.test_share}")
        if self.newest_days is not None and not self.newest_days > 0:
            raise ValueError(f"newest_days must be above 0, or null for folds of one size, got {self.newest_days}")
        if self.gap_ms < 0:
            raise ValueError(f"gap_ms must not be negative, got {self.gap_ms}")
