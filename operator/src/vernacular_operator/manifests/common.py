"""What all children of a job share: labels, owner, name."""

from __future__ import annotations

from typing import Any

from vernacular.api import FineTuneJob, Stage
from vernacular.api.constants import API_VERSION, KIND
from vernacular.api.names import attempt_labels, child_name

_RECOMMENDED = {"app.kubernetes.io/name": "vernacular"}


def owner_reference(job: FineTuneJob) -> dict[str, Any]:
    """The reference that makes Kubernetes delete a child with its job."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def labels_of(job: FineTuneJob, stage: Stage, attempt: int) -> dict[str, str]:
    """Labels of an attempt's Job, Service and pods."""
    name = job.metadata.name
    return {
        **_RECOMMENDED,
        "app.kubernetes.io/instance": name,
        **attempt_labels(name, job.metadata.uid, stage, attempt),
    }


def attempt_metadata(job: FineTuneJob, stage: Stage, attempt: int) -> dict[str, Any]:
    """Metadata of an attempt's Job and Service, which have the same name."""
    return {
        "name": child_name(job.metadata.name, job.metadata.uid, stage, attempt),
        "namespace": job.metadata.namespace,
        "labels": labels_of(job, stage, attempt),
        "ownerReferences": [owner_reference(job)],
    }
