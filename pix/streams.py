"""Names of the continuous jobs: of their runs, locks, metrics, and as ``sentinela status`` lists them."""

SCORE, LABEL, BRONZE = "score_stream", "label_stream", "bronze_stream"
SCORING_GROUP = "sentinela-scoring"
"""Kafka group under which the scoring job commits what it finished; others ask how far it is."""


def score_names(instances: int) -> tuple[str, ...]:
    """The scoring job's instances; the first has no number."""
    return (SCORE, *(f"{SCORE}_{number}" for number in range(2, instances + 1)))


def names(scoring_instances: int) -> tuple[str, ...]:
    """Every stream of an instance of the platform."""
    return (*score_names(scoring_instances), LABEL, BRONZE)
