"""``docs/add-a-feature.md``, followed to the letter on a copy of the project."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pix.engines.layout import STATE_LAYOUT
from pix.features import FEATURE_NAMES, FINGERPRINT

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = (REPOSITORY / "docs" / "add-a-feature.md").read_text(encoding="utf-8")
PACKAGES = ("pix", "quality", "learning", "serving", "sentinela", "config")
LOOK = """
import json
from pix.contracts import Payment
from pix.engines import kernel, oracle
from pix.engines.events import OUT, Paid
from pix.engines.layout import STATE_LAYOUT
from pix.features import FEATURE_NAMES, FINGERPRINT
from serving.reasons import REASON_OF_FEATURE

at_ms = 1_790_000_000_000
payment = Payment(end_to_end_id="E1", tenant="default", payer_account="a", payee_account="b",
                  initiated_at_ms=at_ms, amount_cents=1)
past = [Paid(at_ms - 1000, OUT, 4_200, 7, is_allowed=True)]
state = kernel.fold(None, "account", past[0])
vector = kernel.listed(kernel.features(payment, at_ms, {"payee_account": state}))
print(json.dumps({
    "layout": STATE_LAYOUT, "fingerprint": FINGERPRINT, "vector": dict(zip(FEATURE_NAMES, vector)),
    "equal": vector == oracle.vector(payment, at_ms, {"payee_account": past}), "reasons": REASON_OF_FEATURE,
}))
"""


def block(name: str) -> str:
    """The code block that the page marks with a word."""
    found = re.findall(rf"```\w+ {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(found) == 1, f"docs/add-a-feature.md has {len(found)} blocks marked {name}"
    return str(found[0])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The packages and what stands around them, without what is fetched or generated."""
    for name in (*PACKAGES, "docs"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy2(REPOSITORY / "Makefile", tmp_path)
    return tmp_path


def declare(project: Path, name: str) -> None:
    source = project / "pix" / "features" / "entities.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(block("after")) == 1
    source.write_text(text.replace(block("after"), block("after") + block(name)), encoding="utf-8")


def run(project: Path, *command: str) -> str:
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


def python(project: Path, code: str, *words: str) -> str:
    return run(project, sys.executable, "-c", code, *words)


def test_the_page_adds_a_feature_that_needs_no_refold(project: Path) -> None:
    declare(project, "declaration")
    command = shlex.split(block("command"))
    # Set up already: by whoever runs this test.
    run(project, *command, "-o", "setup", f"VENV={Path(sys.executable).parent}")
    _, *look = shlex.split(block("look"))
    name = look[1]
    assert name not in FEATURE_NAMES
    (row,) = json.loads(python(project, "from sentinela.cli import main; main()", *look))
    assert (row["name"], row["group"], row["population"]) == (name, "payee", "allowed")
    page = (project / "docs" / "features.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in page
    assert f"{len(FEATURE_NAMES) + 1} features" in page
    seen = json.loads(python(project, LOOK))
    assert seen["vector"][name] == 4_200
    assert seen["equal"]
    assert seen["fingerprint"] != FINGERPRINT
    assert seen["layout"] == STATE_LAYOUT
    assert name in seen["reasons"]


def test_a_new_measure_needs_a_new_generation(project: Path) -> None:
    declare(project, "new-measure")
    code = "from pix.engines.layout import STATE_LAYOUT; print(STATE_LAYOUT)"
    assert python(project, code).strip() != STATE_LAYOUT
