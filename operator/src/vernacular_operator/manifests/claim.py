"""The workspace: a claim of the job's own, or one that the user named and that is never owned."""

from __future__ import annotations

from typing import Any

from vernacular.api import FineTuneJob
from vernacular.api.names import job_labels, workspace_claim_name
from vernacular.api.spec import AccessMode, DeletionPolicy, WorkspaceSpec
from vernacular_operator.config import OperatorConfig
from vernacular_operator.manifests.common import owner_reference


def workspace_spec(job: FineTuneJob) -> WorkspaceSpec:
    """What the user wrote about the workspace, empty when nothing."""
    return (job.spec.storage.workspace if job.spec.storage else None) or WorkspaceSpec()


def claim_name(job: FineTuneJob) -> str:
    """Name of the claim that the stages share."""
    return workspace_spec(job).claim_name or workspace_claim_name(job.metadata.name, job.metadata.uid)


def access_mode(job: FineTuneJob, config: OperatorConfig) -> str:
    """Access mode of a claim of the job's own."""
    return workspace_spec(job).access_mode or config.storage.access_mode


def is_shared(job: FineTuneJob, config: OperatorConfig) -> bool:
    """Whether pods on any node may use the workspace. A claim that the user named lies where it lies already."""
    return bool(workspace_spec(job).claim_name) or access_mode(job, config) == AccessMode.READ_WRITE_MANY


def workspace_claim(job: FineTuneJob, config: OperatorConfig) -> dict[str, Any] | None:
    """The claim to create; None when the user named one. It goes with the job unless it is to be retained."""
    wanted = workspace_spec(job)
    if wanted.claim_name:
        return None
    metadata: dict[str, Any] = {
        "name": claim_name(job),
        "namespace": job.metadata.namespace,
        "labels": job_labels(job.metadata.name, job.metadata.uid),
    }
    if wanted.deletion_policy != DeletionPolicy.RETAIN:
        metadata["ownerReferences"] = [owner_reference(job)]
    storage_class = wanted.storage_class_name or config.storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {
            "accessModes": [str(access_mode(job, config))],
            "resources": {"requests": {"storage": wanted.size or config.storage.size}},
            **({"storageClassName": storage_class} if storage_class else {}),
        },
    }
