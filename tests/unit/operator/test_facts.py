"""Facts from Kubernetes objects as the API server writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from vernacular.api import Stage
from vernacular.api.names import attempt_labels
from vernacular_operator.domain.facts import job_facts, pod_facts

LABELS = attempt_labels("hr-bot", "uid-1", Stage.TRAIN, 2)
END = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


def document(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    base = {"name": "child", "namespace": "demo", "uid": "u", "labels": LABELS}
    return {"metadata": base | metadata, "spec": {"nodeName": "n1"}, "status": status}


def test_a_failed_job() -> None:
    conditions = [
        {"type": "FailureTarget", "status": "True", "message": "pod failed"},
        {"type": "Failed", "status": "True", "message": "backoff limit", "lastTransitionTime": "2026-03-01T12:00:05Z"},
    ]
    facts = job_facts(document({"conditions": conditions}))

    assert facts is not None
    assert (facts.stage, facts.attempt) == (Stage.TRAIN, 2)
    assert (facts.failed, facts.failing, facts.complete, facts.live) == (True, True, False, False)
    assert (facts.message, facts.finished_at) == ("backoff limit", END)


def test_a_job_that_a_queue_took_its_pods_from() -> None:
    suspended = {"type": "Suspended", "status": "True", "message": "held", "lastTransitionTime": "2026-03-01T12:00:05Z"}
    held = document({"conditions": [suspended]})
    held["spec"] = {"suspend": True}
    facts = job_facts(held)

    assert facts is not None
    assert (facts.suspended, facts.suspended_at, facts.message, facts.finished_at) == (True, END, "held", None)


def test_a_condition_that_is_false_does_not_count() -> None:
    facts = job_facts(document({"conditions": [{"type": "Complete", "status": "False"}]}))

    assert facts is not None
    assert facts.live


def test_a_pod_that_was_told_to_end_and_did() -> None:
    terminated = {"exitCode": 85, "reason": "Error", "message": "{}", "finishedAt": "2026-03-01T12:00:05Z"}
    status = {
        "phase": "Failed",
        "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
        ],
        "containerStatuses": [
            {"name": "sidecar", "state": {"running": {}}},
            {"name": "stage", "state": {"terminated": terminated}},
        ],
    }
    facts = pod_facts(
        document(
            status,
            deletionTimestamp="2026-03-01T12:00:30Z",
            deletionGracePeriodSeconds=30,
            annotations={"batch.kubernetes.io/job-completion-index": "1"},
        )
    )

    assert facts is not None
    assert facts.terminated is not None
    assert (facts.terminated.exit_code, facts.terminated.finished_at) == (85, END)
    assert (facts.index, facts.node, facts.disruption) == (1, "n1", "EvictionByEvictionAPI")
    assert facts.deletion_time == END + timedelta(seconds=25)
    assert facts.marked_at == END - timedelta(seconds=5)
    assert not facts.live


def test_a_pod_that_no_node_takes() -> None:
    scheduled = {
        "type": "PodScheduled", "status": "False", "message": "no nodes", "lastTransitionTime": "2026-03-01T12:00:05Z",
    }  # fmt: skip
    facts = pod_facts(document({"phase": "Pending", "conditions": [scheduled]}))

    assert facts is not None
    assert (facts.unschedulable, facts.unschedulable_since, facts.scheduled_at) == ("no nodes", END, None)


def test_objects_of_others_are_no_facts() -> None:
    assert pod_facts(document({}, labels={"app": "else"})) is None
    assert job_facts(document({}, labels=LABELS | {"vernacular.dev/attempt": "x"})) is None
