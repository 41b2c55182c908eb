"""What a table's log says of its making, as of the version at hand and whatever came after it."""

import json
from datetime import date

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from fraud_assets import learning_rows, notes


def write(path, note):
    said = CommitProperties(custom_metadata={"userMetadata": json.dumps(note)}) if note else None
    write_deltalake(path, pa.table({"n": [1]}), mode="append", commit_properties=said)


@pytest.fixture
def path(tmp_path):
    """Four versions: a day each, the second without a note."""
    for day in ("2026-11-01", None, "2026-11-03", "2026-11-04"):
        write(str(tmp_path / "table"), day and {"days": [day]})
    return str(tmp_path / "table")


def test_an_older_version_has_the_notes_up_to_it(path):
    at = {version: notes.newest(DeltaTable(path, version=version)) for version in range(4)}
    assert {version: note["days"] for version, note in at.items()} == {
        0: ["2026-11-01"],
        1: ["2026-11-01"],
        2: ["2026-11-03"],
        3: ["2026-11-04"],
    }
    assert notes.newest_at(DeltaTable(path, version=1)) == 0


def test_what_others_write_meanwhile_moves_nothing(path):
    held = DeltaTable(path)
    for _ in range(3):
        write(path, {"days": ["2026-11-09"]})
    assert notes.newest(held) == {"days": ["2026-11-04"]}
    assert notes.changes(held, 2).days == {date(2026, 11, 4)}
    assert notes.changed_at(held, date(2026, 11, 4)) == 3
    assert notes.changes(held, 0).days is None


def test_a_log_that_never_rests_is_told(path, monkeypatch):
    history = DeltaTable.history

    def disturbed(table, *limit):
        write(path, None)
        return history(table, *limit)

    monkeypatch.setattr(DeltaTable, "history", disturbed)
    with pytest.raises(notes.LogRunsAway, match="was written 20 times while its log was read"):
        notes.newest(DeltaTable(path))


def test_each_history_has_the_recipe_that_made_its_rows(tmp_path):
    path = str(tmp_path / "sets")
    for history, labels in (("live", 4), ("amlsim", 7)):
        recipe = {"history": history, "as_of_ms": 1, "maturity_ms": 0, "honest_rows": 9, "seed": 7}
        write(path, {"history": history, "recipe": {**recipe, "made_from": {"silver/labels": labels}}})
    log = DeltaTable(path)
    found = {name: learning_rows.newest_recipe(log, name).made_from for name in ("live", "amlsim")}
    assert found == {"live": {"silver/labels": 4}, "amlsim": {"silver/labels": 7}}
    with pytest.raises(learning_rows.NotRecorded, match="the history nobody in features/training_set does not say"):
        learning_rows.newest_recipe(log, "nobody")
