"""What users get wrong, on real pods: a job ends Failed in prepare with a stable code, before any training pod."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from demo.shell import REPOSITORY
from demo.target import Target
from support.cluster_jobs import TINY, ClusterJobs

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

ROWS = [
    {"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": f"a {i}"}]} for i in range(20)
]
GOOD_ROWS = "\n".join(json.dumps(row) for row in ROWS)


def spec_with(**changes: Any) -> dict[str, Any]:
    return {**TINY, **changes}


def rows_from(key: str, name: str = "rows") -> dict[str, Any]:
    return {"train": [{"configMap": {"name": name, "key": key}}]}


def rows_on(uri: str) -> dict[str, Any]:
    return {"train": [{"uri": uri}]}


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing-key": (spec_with(dataset=rows_from("nothing.jsonl")), "DatasetNotFound", "nothing.jsonl"),
    "missing-config-map": (spec_with(dataset=rows_from("a.jsonl", "absent")), "DatasetNotFound", "absent"),
    "broken-line": (spec_with(dataset=rows_from("broken.jsonl")), "DatasetSchema", "line 3"),
    "empty-file": (spec_with(dataset=rows_from("empty.jsonl")), "DatasetTooSmall", "empty.jsonl"),
    "no-assistant": (spec_with(dataset=rows_from("no-assistant.jsonl")), "DatasetSchema", "line 1"),
    "missing-model-path": (spec_with(model={"uri": "pvc://tiny/other"}), "ModelNotFound", "other"),
    "missing-model-claim": (spec_with(model={"uri": "pvc://nowhere/tiny"}), "ModelNotFound", "nowhere"),
    "missing-data-claim": (spec_with(dataset=rows_on("pvc://nodata/t.jsonl")), "DatasetNotFound", "nodata"),
    "missing-secret": (
        spec_with(model={"uri": "hf://org/model", "credentials": {"secretName": "no-token"}}),
        "SecretMissing",
        "no-token",
    ),
    "unreadable-questions": (
        spec_with(evaluation={"questions": {"configMap": {"name": "rows", "key": "broken.jsonl"}}}),
        "QuestionsUnreadable",
        "broken.jsonl",
    ),
    "two-pods-one-writer": (spec_with(compute={"pods": 2, "gpusPerPod": 0}), "StorageNotShared", "ReadWriteMany"),
}


@pytest.fixture(scope="module")
def failed_jobs(target: Target, jobs: ClusterJobs, tiny_model: Path) -> dict[str, Any]:
    """All the bad jobs at once, each followed to its end."""
    jobs.give_model(target, tiny_model, "tiny")
    lines = GOOD_ROWS.splitlines()
    jobs.give_rows(
        train=GOOD_ROWS,
        broken="\n".join([*lines[:2], '{"messages": [', *lines[2:]]),
        empty="",
        no_assistant="\n".join([json.dumps({"messages": [{"role": "user", "content": "q"}]}), *lines]),
    )
    for name, (spec, _, _) in CASES.items():
        jobs.apply(name, spec)
    return {name: jobs.end(name, 300) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_fails_in_prepare_with_code_place_and_advice(failed_jobs: dict[str, Any], name: str) -> None:
    _, code, place = CASES[name]
    status = failed_jobs[name]["status"]

    assert status["state"] == "Failed"
    assert status["failure"]["code"] == code
    assert place in status["failure"]["message"] + status["failure"].get("evidence", "")
    assert status["failure"]["advice"]


def test_no_training_pod_was_ever_asked_for(failed_jobs: dict[str, Any], jobs: ClusterJobs) -> None:
    names = [job["metadata"]["name"] for job in jobs.list("jobs")]

    assert len(failed_jobs) == len(CASES)
    assert [name for name in names if "-train-" in name] == []


def test_broken_row_is_reported_within_a_minute(
    target: Target, jobs: ClusterJobs, base_model: Path, failed_jobs: dict[str, Any]
) -> None:
    """A job of its own, so that the others do not share the processor with it."""
    jobs.give_model(target, base_model, "models")
    started = time.monotonic()
    jobs.apply_example(REPOSITORY / "examples/hr-bot-broken")
    status = jobs.end_status("hr-bot-broken", 120)

    assert failed_jobs
    assert status["failure"]["code"] == "DatasetSchema"
    assert "line 7" in status["failure"]["message"]
    assert time.monotonic() - started < 60
