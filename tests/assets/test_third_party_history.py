"""A third party's history beside live traffic: imported, turned into features and a training set, kept apart.

The data are not ours to copy; where they are not beside the project, these tests are skipped.
"""

import io
import tarfile
from pathlib import Path

import pytest
import yaml

from fraud_assets import folding, imports
from pix.offline.tables import (
    BASE_STATES,
    HISTORY_IMPORTS,
    HISTORY_LABELS,
    HISTORY_PAYMENTS,
    HISTORY_REFUSED,
    LABELS_SILVER,
    PAYMENTS_SILVER,
    QUARANTINE_SILVER,
    TRAINING_SET,
)

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data" / "amlsim" / "20K_fanin200cycle200.tgz"
ROWS, ITSELF = 6_000, 1
IMPORTED = (HISTORY_PAYMENTS.name, HISTORY_LABELS.name, HISTORY_REFUSED.name, HISTORY_IMPORTS.name)
SILVER = ("silver/decisions", PAYMENTS_SILVER.name, LABELS_SILVER.name, QUARANTINE_SILVER.name)
FEATURES = (*(table.name for table in folding.TABLES), TRAINING_SET.name)

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason=f"AMLSim's sample is not at {DATA.name} beside the project")


def first_rows(target: Path) -> Path:
    """The archive with the first rows of its transactions only."""
    with tarfile.open(DATA) as source, tarfile.open(target, "w:gz") as small:
        for entry in source.getmembers():
            if not entry.name.endswith(".csv"):
                continue
            content = source.extractfile(entry).read()
            if entry.name.endswith("transactions.csv"):
                content = b"".join(content.splitlines(keepends=True)[: ROWS + 1])
            entry.size = len(content)
            small.addfile(entry, io.BytesIO(content))
    return target


@pytest.fixture(scope="module")
def both(trained, tmp_path_factory):
    """The home with the live past, and AMLSim beside it, each with its training set."""
    folder = tmp_path_factory.mktemp("amlsim")
    mapping = yaml.safe_load((REPOSITORY / "config" / "mappings" / "amlsim.yaml").read_text())
    config = {
        "imported_history": {
            "config": {"file": str(first_rows(folder / "small.tgz")), "history": "amlsim", "mapping": mapping}
        },
        "features__training_set": {"config": {"history": "amlsim"}},
    }
    result = trained.run(*IMPORTED, *SILVER, *FEATURES, config={"ops": config})
    assert result.success, trained.told(result)
    return trained


def test_every_transfer_becomes_a_payment_or_is_quarantined(both):
    payments = both.lake.read(PAYMENTS_SILVER.name)
    assert payments.where("history = 'amlsim'").count() == ROWS - ITSELF
    refused = both.lake.read(QUARANTINE_SILVER.name).where("history = 'amlsim'").collect()
    assert [(row.kind, row.reason, row.offset) for row in refused] == [("history", "invalid_fields", 4896)]
    assert payments.where("history = 'amlsim' and initiation is not null").count() == 0


def test_its_accounts_meet_nobody_elses(both):
    payments = both.lake.read(PAYMENTS_SILVER.name)
    accounts = {
        name: {row[0] for row in payments.where(f"history = '{name}'").select("payer_account").distinct().collect()}
        for name in ("live", "amlsim")
    }
    assert len(accounts["live"]) > 50
    assert len(accounts["amlsim"]) > 1_000
    assert not accounts["live"] & accounts["amlsim"]


def test_the_online_store_gets_only_the_past_of_live_traffic(both):
    states = both.lake.read(BASE_STATES.name)
    assert states.count() > 1_000
    assert states.where("key like '%@%'").count() == 0


def test_each_history_has_its_training_set(both):
    rows = both.lake.read(TRAINING_SET.name).groupBy("history", "is_fraud").count().collect()
    counts = {(row.history, row.is_fraud): row["count"] for row in rows}
    assert counts["amlsim", True] + counts["amlsim", False] == ROWS - ITSELF
    labels = both.lake.read(HISTORY_LABELS.name).where("history = 'amlsim'")
    assert counts["amlsim", True] == labels.count() > 50
    assert counts["live", False] > 500
    assert both.newest(TRAINING_SET.name)["history"] == "amlsim"


def test_when_a_fraud_began_is_no_input(both):
    stored = both.lake.read(HISTORY_PAYMENTS.name).where("history = 'amlsim'").limit(5).collect()
    assert all("fraudStep" not in row.payment and "step" not in row.payment.lower() for row in stored)
    (ledger,) = both.lake.read(HISTORY_IMPORTS.name).where("history = 'amlsim'").collect()
    assert "fraudStep" not in ledger.mapping


def test_half_a_configuration_says_what_is_missing(both):
    result = both.run(*IMPORTED, config={"ops": {"imported_history": {"config": {"history": "x"}}}})
    assert list(both.told(result).values()) == [str(imports.ImportIncomplete(imports.BOTH_OR_NEITHER))]
