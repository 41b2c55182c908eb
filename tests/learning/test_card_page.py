"""The card of a really trained model says what its figures say."""

import dataclasses
from datetime import UTC, datetime

import pytest

from learning.artefact import ModelCard, write_artefact
from learning.card_page import Standing, page
from learning.recipe import TrainingConfig
from learning.signing import PRIVATE_KEY_FILE, ensure_signing_keys
from learning.training import fit

TAGS = {
    "history": "bank-2025",
    "git_commit": "abc123",
    "promoted_at": "2026-11-23T01:00:00+00:00",
    "promotion_reasons": "it beats raw fields\nit is better than v3",
    "promotion_by": "Ana",
}


@pytest.fixture(scope="module")
def card(training_frame, feature_names, tmp_path_factory):
    folder, keys = tmp_path_factory.mktemp("artefact"), tmp_path_factory.mktemp("keys")
    ensure_signing_keys(keys)
    trained = fit(
        training_frame(),
        feature_names,
        TrainingConfig(iterations=30, depth=4),
        rules=lambda rows: rows["raw_hour"].to_numpy(float) % 2,
    )
    model, _ = write_artefact(
        trained,
        folder,
        fingerprint="f" * 16,
        data_versions={"features/training_set": 7},
        now=datetime(2026, 11, 23, tzinfo=UTC),
        private_key=keys / PRIVATE_KEY_FILE,
    )
    return model


def standing(serves=True, **tags):
    return Standing(name="pix_fraud", version="4", serves=serves, tags={**TAGS, **tags})


def section(text, title):
    return text.split(f"## {title}\n\n")[1].split("\n\n## ")[0]


def test_it_says_how_fast_labels_came_into_it(card):
    told = section(
        page(card, standing(labels_new="1200", label_to_service_hours_p50="30.5", label_to_service_hours_p95="170.25")),
        "Data",
    )
    assert "| labels new to it | 1,200 |" in told
    assert "| from a new label to service, half of them within | 30.5 h |" in told
    assert "| from a new label to service, 95 of 100 of them within | 170.2 h |" in told
    assert "new label" not in section(page(card, standing()), "Data")


def test_every_part_is_there_with_the_figures_of_the_model(card):
    text = page(card, standing())
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "Intended use",
        "Data",
        "How it was made",
        "What it can do",
        "For whom it errs",
        "Limits",
    ]
    assert "| `features/training_set` | version 7 |" in section(text, "Data")
    assert "| history | bank-2025 |" in section(text, "Data")
    assert "| commit | `abc123` |" in section(text, "How it was made")
    able = section(text, "What it can do")
    assert f"{card.metrics['average_precision']:.4f} [{card.metrics['average_precision_low']:.4f}, " in able
    assert "| later payments | ensemble | raw fields | rules only |" in able
    assert f"| {card.metrics['raw_fields_average_precision']:.4f} |" in able


def test_errors_are_told_by_group_with_intervals(card):
    errs = section(page(card, standing()), "For whom it errs")
    (scam,) = [line for line in errs.splitlines() if line.startswith("| SCAM |")]
    rows = {row["metric"]: row for row in card.judgement if (row["split"], row["part"]) == ("fraud_type", "SCAM")}
    recall = rows["recall"]
    assert f"| {recall['value']:.2%} [{recall['low']:.2%}, {recall['high']:.2%}] |" in scam
    assert "| How the payment was begun |" in errs


def test_how_it_came_to_serve_is_told_with_person_and_reasons(card):
    text = page(card, standing())
    assert "**Serves as champion.**" in text
    assert "Promoted at 2026-11-23T01:00:00+00:00 by Ana" in text
    assert "- it is better than v3" in text
    other = page(card, standing(serves=False, rolled_back_at="2026-11-24", rolled_back_reason="blocks salaries"))
    assert "Does not serve." in other
    assert "- blocks salaries" in other


def found(card, recall_high, frauds):
    judgement = [dict(row) for row in card.judgement]
    for row in judgement:
        if (row["split"], row["part"]) == ("fraud_type", "SCAM"):
            if row["metric"] == "recall":
                row.update(value=recall_high / 2, low=0.0, high=recall_high)
            if row["metric"] == "frauds":
                row["value"] = frauds
    return section(page(dataclasses.replace(card, judgement=judgement), standing()), "Limits")


def test_what_is_weak_or_unknown_is_named(card):
    assert "Weak, less than 30% found: SCAM (10.00% [0.00%, 20.00%])" in found(card, 0.2, 100)
    assert "Weak" not in found(card, 0.4, 100)
    few = found(card, 0.2, 12)
    assert "nothing is known: " in few
    assert "SCAM" in few
    assert "Weak" not in few


def test_a_challenger_of_changed_fraud_says_that_its_figures_are_somewhat_too_good(card):
    changed = dataclasses.replace(card, config={**card.config, "newest_days": 3.0})
    told = section(page(changed, standing()), "Limits")
    assert "Trained because fraud had changed: the newest 3 days judge" in told
    assert "figures are somewhat too good" in told
    assert "newest" not in section(page(card, standing()), "Limits")


def test_a_card_is_read_back_from_its_file(card, tmp_path):
    card.write(tmp_path)
    assert page(ModelCard.read(tmp_path), standing()) == page(card, standing())
