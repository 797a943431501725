"""Names of everything that belongs to a job: deterministic, so that a crash between any two calls is harmless."""

from __future__ import annotations

from vernacular.api import constants
from vernacular.api.status import Stage


def child_name(job: str, uid: str, stage: Stage | str, attempt: int) -> str:
    """Name of an attempt's Job and of its headless Service: `<job>-<uid5>-<stage>-<attempt>`.

    At most 40 + 6 + 9 characters and the attempt's number, so that pod host names stay below 63.
    """
    return f"{_stem(job, uid)}-{stage.lower()}-{attempt}"


def workspace_claim_name(job: str, uid: str) -> str:
    """Name of the claim that the operator makes for a job."""
    return f"{_stem(job, uid)}-workspace"


def tracking_name(namespace: str, name: str) -> str:
    """Name of an experiment or registered model in MLflow, which knows no namespaces of its own."""
    return f"{namespace}.{name}"


def job_labels(job: str, uid: str) -> dict[str, str]:
    """Labels of everything that belongs to a job."""
    return {
        constants.LABEL_MANAGED_BY: constants.MANAGED_BY,
        constants.LABEL_JOB_NAME: job,
        constants.LABEL_JOB_UID: uid,
    }


def attempt_labels(job: str, uid: str, stage: Stage | str, attempt: int) -> dict[str, str]:
    """Labels of one attempt's Job, Service and pods."""
    return {
        **job_labels(job, uid),
        constants.LABEL_STAGE: stage.lower(),
        constants.LABEL_ATTEMPT: str(attempt),
    }


def _stem(job: str, uid: str) -> str:
    return f"{job}-{uid[:5]}"
