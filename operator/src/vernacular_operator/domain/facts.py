"""Facts from Kubernetes objects: the few fields that decisions need, so that nothing else is kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from vernacular.api import Stage
from vernacular.api.constants import LABEL_ATTEMPT, LABEL_STAGE
from vernacular_operator.domain.snapshot import JobFacts, PodFacts, Terminated, WorkloadFacts
from vernacular_operator.manifests.job import CONTAINER_NAME
from vernacular_operator.manifests.queueing import QUEUE_NAME

_STAGES = {stage.lower(): stage for stage in Stage}
_INDEX = "batch.kubernetes.io/job-completion-index"
_LONGEST_TEXT = 4096


def parse_time(text: str | None) -> datetime | None:
    """A moment from RFC 3339 text; None for none."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def attempt_of(document: Mapping[str, Any]) -> tuple[Stage, int] | None:
    """Stage and attempt from an object's labels; None when it is not a child of a stage."""
    labels = document["metadata"].get("labels") or {}
    stage = _STAGES.get(labels.get(LABEL_STAGE, ""))
    attempt = labels.get(LABEL_ATTEMPT, "")
    return (stage, int(attempt)) if stage and attempt.isdecimal() else None


def job_facts(document: Mapping[str, Any]) -> JobFacts | None:
    """Facts of a Job; None when it is no stage's Job."""
    if (found := attempt_of(document)) is None:
        return None
    metadata, status = document["metadata"], document.get("status") or {}
    conditions = _true_conditions(status)
    end = conditions.get("Complete") or conditions.get("Failed")
    held = conditions.get("Suspended") or {}
    last = end or conditions.get("FailureTarget") or held
    return JobFacts(
        name=metadata["name"],
        uid=metadata["uid"],
        stage=found[0],
        attempt=found[1],
        deleting=bool(metadata.get("deletionTimestamp")),
        suspended=bool((document.get("spec") or {}).get("suspend")),
        suspended_at=parse_time(held.get("lastTransitionTime")),
        queue=(metadata.get("labels") or {}).get(QUEUE_NAME, ""),
        complete="Complete" in conditions,
        failed="Failed" in conditions,
        failing="FailureTarget" in conditions,
        message=last.get("message", "")[:_LONGEST_TEXT],
        finished_at=parse_time(status.get("completionTime") or (end or {}).get("lastTransitionTime")),
    )


def workload_facts(document: Mapping[str, Any]) -> WorkloadFacts | None:
    """Facts of a Workload; None when it is no Job's, or has ended."""
    metadata, spec = document["metadata"], document.get("spec") or {}
    owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    conditions = {item["type"]: item for item in (document.get("status") or {}).get("conditions") or ()}
    if owner is None or owner.get("kind") != "Job" or _is_true(conditions.get("Finished", {})):
        return None
    reserved, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    waiting = not _is_true(reserved)
    return WorkloadFacts(
        job_uid=owner["uid"],
        namespace=metadata["namespace"],
        queue=spec.get("queueName", ""),
        priority=spec.get("priority") or 0,
        created=metadata.get("creationTimestamp", ""),
        waiting=waiting,
        message=reserved.get("message", "")[:_LONGEST_TEXT] if waiting else "",
        evicted=evicted.get("reason", "") if _is_true(evicted) else "",
        evicted_message=evicted.get("message", "")[:_LONGEST_TEXT] if _is_true(evicted) else "",
    )


def _is_true(condition: Mapping[str, Any]) -> bool:
    return bool(condition.get("status") == "True")


def pod_facts(document: Mapping[str, Any], *, gone: bool = False) -> PodFacts | None:
    """Facts of a pod; None when it is no stage's pod."""
    if (found := attempt_of(document)) is None:
        return None
    metadata, status = document["metadata"], document.get("status") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    scheduled, disruption = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    rejected = scheduled.get("status") == "False"
    state = _container_state(status)
    deletion = parse_time(metadata.get("deletionTimestamp"))
    grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return PodFacts(
        name=metadata["name"],
        uid=metadata["uid"],
        stage=found[0],
        attempt=found[1],
        index=_index(metadata),
        phase=status.get("phase", "Pending"),
        node=(document.get("spec") or {}).get("nodeName", ""),
        gone=gone,
        orphaned=not any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()),
        deletion_time=deletion,
        marked_at=deletion - grace if deletion else None,
        running="running" in state,
        terminated=_terminated(state.get("terminated")),
        image=_image(document),
        waiting_reason=(state.get("waiting") or {}).get("reason", ""),
        waiting_message=(state.get("waiting") or {}).get("message", "")[:_LONGEST_TEXT],
        unschedulable=scheduled.get("message", "")[:_LONGEST_TEXT] if rejected else "",
        unschedulable_since=parse_time(scheduled.get("lastTransitionTime")) if rejected else None,
        disruption=disruption.get("reason", "") if disruption.get("status") == "True" else "",
        disruption_message=disruption.get("message", "")[:_LONGEST_TEXT],
        status_reason=status.get("reason", ""),
        status_message=status.get("message", "")[:_LONGEST_TEXT],
        scheduled_at=parse_time(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
    )


def _true_conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {item["type"]: item for item in status.get("conditions") or () if item.get("status") == "True"}


def _container_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("containerStatuses") or ():
        if container.get("name") == CONTAINER_NAME:
            state: Mapping[str, Any] = container.get("state") or {}
            return state
    return {}


def _image(document: Mapping[str, Any]) -> str:
    containers = (document.get("spec") or {}).get("containers") or ()
    return next((item.get("image", "") for item in containers if item.get("name") == CONTAINER_NAME), "")


def _terminated(state: Mapping[str, Any] | None) -> Terminated | None:
    if not state:
        return None
    return Terminated(
        exit_code=int(state.get("exitCode", 0)),
        reason=state.get("reason", ""),
        message=state.get("message", "")[:_LONGEST_TEXT],
        finished_at=parse_time(state.get("finishedAt")) or datetime.fromtimestamp(0, UTC),
    )


def _index(metadata: Mapping[str, Any]) -> int:
    for source in (metadata.get("labels"), metadata.get("annotations")):
        if (text := (source or {}).get(_INDEX, "")).isdecimal():
            return int(text)
    return 0
