"""Dashboards and alerts of the chart: what is installed, that each alert is tested, and told in the runbook."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.finetunejobs import both
from support.helm import Helm, find, names
from support.prometheus import DASHBOARDS, RULES, promtool
from vernacular.api import FailureCode

VALUES: dict[str, Any] = {"mlflow": {"trackingUri": "http://127.0.0.1:9"}}
RUNBOOK = Path(__file__).parents[2] / "docs" / "operations" / "alerts.md"
TESTS = Path(__file__).with_name("alerts.test.yaml")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_nothing_is_made_unless_asked_for(helm: Helm) -> None:
    off = {"metrics": {"enabled": False, "alerts": {"enabled": True}, "dashboards": {"enabled": True}}}

    for values in (VALUES, both(VALUES, off)):
        manifests = helm.render(values)
        assert not names(manifests, "PrometheusRule")
        assert "vernacular-dashboards" not in names(manifests, "ConfigMap")


def test_the_rule_holds_the_alerts_as_they_are(helm: Helm) -> None:
    values = {"metrics": {"alerts": {"enabled": True, "labels": {"release": "prometheus"}}}}
    rule = find(helm.render(both(VALUES, values)), "PrometheusRule")

    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


def test_the_dashboards_are_found_by_grafanas_sidecar(helm: Helm) -> None:
    manifests = helm.render(both(VALUES, {"metrics": {"dashboards": {"enabled": True}}}))
    (found,) = [
        item for item in manifests if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("-dashboards")
    ]

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in found["data"].items()} == {
        f"vernacular-{path.name}": json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS
    }


def test_the_panels_of_a_dashboard_do_not_overlap() -> None:
    for path in DASHBOARDS:
        places: set[tuple[int, int]] = set()
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            grid = panel["gridPos"]
            own = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not own & places, panel["title"]
            assert max(x for x, _ in own) < 24, panel["title"]
            places |= own


def test_the_runbook_tells_of_every_alert_and_of_no_other() -> None:
    told = re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)

    assert told == [rule["alert"] for rule in alerts()]


def test_failures_that_an_alert_names_exist() -> None:
    (rule,) = [rule for rule in alerts() if rule["alert"] == "VernacularJobsFail"]
    (codes,) = re.findall(r'code=~"([^"]+)"', rule["expr"])

    assert set(codes.split("|")) <= set(FailureCode)


@pytest.mark.integration
def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    for path in (RULES, TESTS):
        shutil.copy(path, tmp_path / path.name)
    promtool("check", "rules", RULES.name, folder=tmp_path)
    promtool("test", "rules", TESTS.name, folder=tmp_path)

    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == {rule["alert"] for rule in alerts()}
