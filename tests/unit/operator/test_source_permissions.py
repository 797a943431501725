"""Which web servers a job may name: what the platform team lists, and nothing by default."""

from __future__ import annotations

from typing import Any

import pytest

from support.worlds import NOW, config, fine_tune_job, world
from vernacular.api import ConditionType, FailureCode
from vernacular_operator.domain.reconcile import reconcile

ROWS = {"configMap": {"name": "rows", "key": "a.jsonl"}}
FILE = {"uri": "https://files.example.com/a.jsonl"}
OTHER_PORT = {"uri": "https://files.example.com:8443/a.jsonl"}


@pytest.mark.parametrize(
    ("spec", "field", "server"),
    [
        ({"dataset": {"train": [ROWS, FILE]}}, "spec.dataset.train[1]", "files.example.com"),
        (
            {"dataset": {"train": [ROWS], "validation": {"sources": [ROWS, FILE]}}},
            "spec.dataset.validation.sources[1]",
            "files.example.com",
        ),
        ({"evaluation": {"questions": FILE}}, "spec.evaluation.questions", "files.example.com"),
        (
            {"dataset": {"train": [ROWS], "chatTemplate": OTHER_PORT}},
            "spec.dataset.chatTemplate",
            "files.example.com:8443",
        ),
        ({"evaluation": {"glossary": OTHER_PORT}}, "spec.evaluation.glossary", "files.example.com:8443"),
    ],
)
@pytest.mark.parametrize("hosts", [[], ["example.com", "files.example.com:9443", "*.files.example.com"]])
def test_a_server_that_is_not_listed_is_refused_with_what_to_ask_for(
    spec: dict[str, Any], field: str, server: str, hosts: list[str]
) -> None:
    plan = reconcile(world(fine_tune_job(**spec), config=config(https={"hosts": hosts})), NOW)

    accepted = next(item for item in plan.status.conditions if item.type == ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", "SourceNotAllowed")
    assert accepted.message == (
        f"{field}.uri: files of {server} are not allowed here; ask the platform team to add it to the chart's value"
        " config.https.hosts"
    )
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.SOURCE_NOT_ALLOWED
    assert plan.create == ()


def test_servers_that_are_listed_are_accepted() -> None:
    job = fine_tune_job(dataset={"train": [FILE]}, evaluation={"questions": OTHER_PORT, "glossary": ROWS})
    hosts = ["*.example.com", "files.example.com:8443"]
    plan = reconcile(world(job, config=config(https={"hosts": hosts})), NOW)

    assert [item["kind"] for item in plan.create if item["kind"] == "Job"] == ["Job"]
