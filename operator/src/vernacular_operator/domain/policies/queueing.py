"""A Job that a queue holds back: what it waits for, and why it had to leave."""

from __future__ import annotations

from vernacular.api import FailureCode, Reason
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.snapshot import Admission, JobFacts
from vernacular_operator.manifests.queueing import QUEUE_NAME

_PREEMPTED = "Preempted"


def explain(draft: Draft, job: JobFacts) -> tuple[str, str]:
    """Reason and message of a Job that is suspended; a Job that was evicted says so once as an event."""
    admission = draft.world.admission
    if admission is None:
        return Reason.WAITING_FOR_QUOTA, _without_workload(draft, job)
    if not admission.workload.evicted:
        return Reason.WAITING_FOR_QUOTA, f"Job {job.name} {_place(admission)}"
    workload = admission.workload
    reason = Reason.PREEMPTED if workload.evicted == _PREEMPTED else FailureCode.EVICTED
    left = f"Job {job.name} had to leave its nodes ({workload.evicted}: {workload.evicted_message.rstrip('.')})"
    if draft.record(job.stage).reason != reason:
        draft.event("Warning", reason, f"{left}; it goes on when its queue admits it again.")
    if any(pod.live for pod in draft.world.pods_of(job.stage, job.attempt)):
        return reason, f"{left}; its pods save their work"
    return reason, f"{left}; it {_place(admission)}"


def _place(admission: Admission) -> str:
    workload = admission.workload
    before = f", {admission.ahead} before it" if admission.ahead else ""
    if not workload.waiting:
        return f"is admitted by queue {workload.queue} and about to start"
    return f"waits in queue {workload.queue}{before}: {workload.message or 'its turn has not come'}"


def _without_workload(draft: Draft, job: JobFacts) -> str:
    if not job.queue:
        return (
            f"Job {job.name} is held back and names no queue: set the label {QUEUE_NAME} of the FineTuneJob, then"
            " spec.runPolicy.suspend to true and to false again"
        )
    if not draft.world.config.kueue.enabled:
        return f"Job {job.name} waits in queue {job.queue}: {job.message or 'it is suspended'}"
    return f"Job {job.name} names queue {job.queue}, and Kueue has not taken it up yet; is Kueue running?"
