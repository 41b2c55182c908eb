"""How long labels wait for a model: those that its champion could not learn from, from when they became known."""

import pandas as pd
import pytest

from learning.label_news import LabelNews, hours_until
from pix.contracts import DAY_MS, HOUR_MS

NOW_MS = 1_780_315_200_000


def rows(*payments):
    """(age in days, days since it was known as fraud, days since it was cleared)."""
    return pd.DataFrame(
        {
            "event_time_ms": [NOW_MS - age * DAY_MS for age, _, _ in payments],
            "fraud_known_at_ms": [None if at is None else NOW_MS - at * DAY_MS for _, at, _ in payments],
            "cleared_at_ms": [None if at is None else NOW_MS - at * DAY_MS for _, _, at in payments],
        }
    ).astype({"fraud_known_at_ms": "float64", "cleared_at_ms": "float64"})


PAST = rows(
    (30, 20, None),  # the champion learnt from it
    (30, 2, None),  # known since
    (30, 20, 1),  # found honest since
    (9, 8, None),  # known before, and the payment was too young
    (30, None, None),  # nobody spoke of it
)


def news(frame, since_ms):
    return LabelNews.of(frame, since_ms=since_ms, until_ms=NOW_MS, maturity_ms=7 * DAY_MS)


def test_new_is_what_the_champion_could_not_learn_from():
    found = news(PAST, NOW_MS - 4 * DAY_MS)
    assert (found.labels, found.until_ms) == (3, NOW_MS)
    assert found.known_ms == NOW_MS - 2 * DAY_MS
    assert NOW_MS - 8 * DAY_MS < found.slow_ms < NOW_MS - 7 * DAY_MS


def test_without_a_champion_every_label_is_new():
    assert news(PAST, None).labels == 4


@pytest.mark.parametrize("since", [None, NOW_MS])
def test_no_new_label_has_no_times(since):
    found = news(PAST.iloc[:0] if since is None else PAST, since)
    assert found.tags() == {"labels_until_ms": str(NOW_MS), "labels_new": "0"}
    assert hours_until(found.tags(), NOW_MS) == {}


def test_hours_count_from_when_a_label_became_known():
    tags = news(PAST.iloc[[1]], None).tags()
    assert hours_until(tags, NOW_MS + 6 * HOUR_MS) == {
        "label_to_model_hours_p50": 54.0,
        "label_to_model_hours_p95": 54.0,
    }
    assert set(hours_until(tags, NOW_MS, of="service")) == {
        "label_to_service_hours_p50",
        "label_to_service_hours_p95",
    }
