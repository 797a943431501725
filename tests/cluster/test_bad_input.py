"""What users get wrong, on real pods: a job ends Failed in prepare with a stable code, before any training pod."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from demo import install
from demo.follow import follow
from demo.shell import REPOSITORY, Shell
from demo.target import Target
from support.tiny_model import build_tiny_model

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

ROWS = [
    {"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": f"a {i}"}]} for i in range(20)
]
GOOD_ROWS = "\n".join(json.dumps(row) for row in ROWS)
SPEC: dict[str, Any] = {
    "model": {"uri": "pvc://tiny/tiny"},
    "dataset": {"train": [{"configMap": {"name": "rows", "key": "good.jsonl"}}]},
    "compute": {"pods": 1, "gpusPerPod": 0},
}


def spec_with(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SPEC), **changes}


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
def failed_jobs(
    target: Target, shell: Shell, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """All the bad jobs at once, each followed to its end."""
    tiny = build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    install.ensure_model_claim(target, namespace, Path(tiny), claim="tiny")
    lines = GOOD_ROWS.splitlines()
    data = {
        "good.jsonl": GOOD_ROWS,
        "broken.jsonl": "\n".join([*lines[:2], '{"messages": [', *lines[2:]]),
        "empty.jsonl": "",
        "no-assistant.jsonl": "\n".join([json.dumps({"messages": [{"role": "user", "content": "q"}]}), *lines]),
    }
    shell.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": data}, namespace)
    for name, (spec, _, _) in CASES.items():
        shell.apply(
            {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec},
            namespace,
        )
    return {name: follow(shell, name, namespace, timeout=300) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_fails_in_prepare_with_code_place_and_advice(failed_jobs: dict[str, Any], name: str) -> None:
    _, code, place = CASES[name]
    status = failed_jobs[name]["status"]

    assert status["state"] == "Failed"
    assert status["failure"]["code"] == code
    assert place in status["failure"]["message"] + status["failure"].get("evidence", "")
    assert status["failure"]["advice"]


def test_no_training_pod_was_ever_asked_for(failed_jobs: dict[str, Any], shell: Shell, namespace: str) -> None:
    jobs = json.loads(shell.kubectl("get", "jobs", "-n", namespace, "-o", "json"))["items"]

    assert len(failed_jobs) == len(CASES)
    assert [job["metadata"]["name"] for job in jobs if "-train-" in job["metadata"]["name"]] == []


def test_broken_row_is_reported_within_a_minute(
    target: Target, shell: Shell, namespace: str, base_model: Path, failed_jobs: dict[str, Any]
) -> None:
    """A job of its own, so that the others do not share the processor with it."""
    install.ensure_model_claim(target, namespace, base_model)
    started = time.monotonic()
    install.apply_example(shell, REPOSITORY / "examples/hr-bot-broken", namespace)
    job = follow(shell, "hr-bot-broken", namespace, timeout=120)

    assert failed_jobs
    assert job["status"]["failure"]["code"] == "DatasetSchema"
    assert "line 7" in job["status"]["failure"]["message"]
    assert time.monotonic() - started < 60
