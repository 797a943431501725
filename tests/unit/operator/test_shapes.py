"""What is skipped while lists and watches are read is nothing that a decision needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from vernacular.api import Stage
from vernacular.api.names import attempt_labels
from vernacular_operator.domain.facts import job_facts, pod_facts
from vernacular_operator.kube.api import EVENTS, JOBS, PODS, Kind
from vernacular_operator.kube.shapes import read_event, read_list, read_stored

MOMENT = "2026-03-01T12:00:05Z"
LABELS = attempt_labels("hr-bot", "uid-1", Stage.TRAIN, 2)
OWNER = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u2", "controller": True}


def child(name: str, spec: dict[str, Any], status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    base = {
        "name": name, "namespace": "demo", "uid": f"uid-{name}", "resourceVersion": "12", "generation": 1,
        "creationTimestamp": MOMENT, "labels": LABELS, "ownerReferences": [OWNER], "managedFields": [{"manager": "x"}],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "X", "metadata": base | metadata, "spec": spec, "status": status}


def true(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": MOMENT} | more


TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "stage", "image": "i", "env": []}]}}
DELETED: dict[str, Any] = {"deletionTimestamp": MOMENT, "deletionGracePeriodSeconds": 30}
JOB_DOCUMENTS = [
    child("live", {"template": TEMPLATE, "suspend": True}, {"active": 1}, **DELETED),
    child(
        "held", {"template": TEMPLATE, "suspend": True}, {"conditions": [true("Suspended", message="held")]},
        labels={**LABELS, "kueue.x-k8s.io/queue-name": "hr"},
    ),
    child("done", {"template": TEMPLATE}, {"completionTime": MOMENT, "conditions": [true("Complete", message="m")]}),
    child("failed", {"template": TEMPLATE}, {"conditions": [true("FailureTarget"), true("Failed", message="backoff")]}),
]  # fmt: skip
SPEC = {"nodeName": "n1", "containers": [{"name": "stage", "image": "i", "resources": {}}], "volumes": []}
ENDED = {"exitCode": 1, "reason": "Error", "message": "{}", "startedAt": MOMENT, "finishedAt": MOMENT}
POD_DOCUMENTS = [
    child(
        "ended", SPEC,
        {
            "phase": "Failed", "reason": "Evicted", "message": "disk", "podIP": "10.0.0.1",
            "conditions": [true("PodScheduled"), true("DisruptionTarget", reason="Evicted", message="by x")],
            "containerStatuses": [{"name": "stage", "image": "i", "ready": False, "state": {"terminated": ENDED}}],
        },
        annotations={"batch.kubernetes.io/job-completion-index": "1"}, **DELETED,
    ),
    child(
        "runs", SPEC,
        {
            "conditions": [true("Ready", lastTransitionTime=None)],
            "containerStatuses": [{"name": "stage", "state": {"running": {"startedAt": MOMENT}}}],
        },
    ),
    child(
        "waits", {"containers": []},
        {
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "x", "lastTransitionTime": MOMENT}],
            "containerStatuses": [{"name": "stage", "state": {"waiting": {"reason": "r", "message": "m"}}}],
        },
        ownerReferences=[],
    ),
]  # fmt: skip
# read from the cache, or the same for all documents here
ELSEWHERE = {"gone", "stage", "attempt"}


@pytest.mark.parametrize(
    ("kind", "facts", "documents"),
    [(JOBS, job_facts, JOB_DOCUMENTS), (PODS, pod_facts, POD_DOCUMENTS)],
    ids=["Job", "Pod"],
)
def test_facts_of_what_was_read_are_those_of_the_whole(
    kind: Kind, facts: Callable[[dict[str, Any]], Any], documents: list[dict[str, Any]]
) -> None:
    page = read_list(kind, json.dumps({"metadata": {"continue": "c"}, "items": documents}).encode())
    events = [read_event(kind, json.dumps({"type": "ADDED", "object": each}).encode())[1] for each in documents]
    stored = [read_stored(kind, json.dumps(each).encode()) for each in documents]
    expected = [facts(each) for each in documents]

    assert page["metadata"] == {"continue": "c"}
    assert [facts(each) for each in page["items"]] == expected
    assert [facts(each) for each in events] == expected
    assert [facts(each) for each in stored] == expected
    for field in fields(expected[0]):
        told = {getattr(each, field.name) for each in expected}
        assert field.name in ELSEWHERE or len(told) > 1, f"no document here tells {field.name}"


def test_what_is_no_child_is_read_whole() -> None:
    bookmark = {"metadata": {"resourceVersion": "7"}, "spec": {"containers": None}, "status": {}}
    error = {"kind": "Status", "status": "Failure", "code": 410, "message": "too old"}
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "claim"}}

    assert read_event(PODS, json.dumps({"type": "BOOKMARK", "object": bookmark}).encode()) == ("BOOKMARK", bookmark)
    assert read_event(JOBS, json.dumps({"type": "ERROR", "object": error}).encode()) == ("ERROR", error)
    assert read_list(EVENTS, json.dumps({"metadata": {}, "items": [event]}).encode())["items"] == [event]


def test_of_what_was_written_the_metadata_is_read() -> None:
    document = {"metadata": {"name": "hr-bot", "resourceVersion": "7"}, "spec": {"model": {}}, "status": {}}

    assert read_stored(EVENTS, json.dumps(document).encode()) == {"metadata": document["metadata"]}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"type": "ADDED"}'])
def test_a_broken_line_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_event(PODS, text)
