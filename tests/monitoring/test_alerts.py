"""The alert rules: they fire on what they are for, speak of metrics that exist, and lead to a page that helps."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraud_streaming import keeping, meters
from serving import metrics

CATALOGUE = (*metrics.CATALOGUE, *meters.CATALOGUE, *keeping.CATALOGUE)
OF_TARGETS = {"job", "stream"}

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "monitoring"
STEPS = ("**Symptom.**", "**Check.**", "**Fix.**", "**Escalate.**")


def promtool(*told: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(REPOSITORY / ".venv" / "bin"), os.environ["PATH"]])
    found = shutil.which("promtool", path=path)
    assert found is not None, "promtool is missing; `make setup` brings it"
    return subprocess.run([found, *told], cwd=FOLDER, capture_output=True, text=True)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_are_valid_and_fire_on_what_they_are_for() -> None:
    checked = promtool("check", "rules", "alerts.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    whole = promtool("check", "config", "prometheus.yaml")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    tested = promtool("test", "rules", "alerts.test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested_firing_and_silent() -> None:
    cases = [
        case
        for test in yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_leads_to_a_paragraph_that_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    sections = re.split(r"^## ", (REPOSITORY / page).read_text(), flags=re.MULTILINE)[1:]
    (section,) = [each for each in sections if each.partition("\n")[0].lower() == anchor]
    places = [section.find(step) for step in STEPS]
    assert -1 not in places
    assert places == sorted(places)
    assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("name", ["alerts.yaml", "alerts.test.yaml", "dashboard.json"])
def test_only_metrics_that_exist_are_spoken_of(name: str) -> None:
    text = (FOLDER / name).read_text()
    used = {re.sub(r"_(bucket|count|sum)$", "", each) for each in re.findall(r"\bsentinela_[a-z_]+", text)}
    assert used
    assert used <= {metric.name for metric in CATALOGUE}
    bounds = {f"{bound}" for metric in CATALOGUE for bound in metric.bounds} | {"+Inf"}
    assert set(re.findall(r'\ble=\\?"([^"\\]+)', text)) <= bounds
    labels = {label for metric in CATALOGUE for label in metric.labels} | {"le", *OF_TARGETS}
    assert set(re.findall(r"[{,]\s*([a-z_]+)(?==|!=)", text)) <= labels
