"""The one MLflow run of a job: asked for from the start, waited for by training alone."""

from __future__ import annotations

from datetime import datetime, timedelta

from vernacular.api import FailureCode, JobState, Reason, Stage, StageState
from vernacular.api.status import MLflowStatus
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.domain.plan import RunRequest
from vernacular_operator.domain.policies import ending
from vernacular_operator.domain.snapshot import RunOpened, TrackingProblem
from vernacular_operator.manifests.job_config import experiment_name, registered_model_name

TAG_PREFIX = "vernacular.dev/"
_AGAIN_SECONDS = 10
NAMED_ALONE_AFTER = timedelta(minutes=2)


def apply(draft: Draft) -> None:
    """Note the run, or ask for it."""
    if draft.run_id:
        return
    match draft.world.run:
        case RunOpened() as run:
            _note(draft, run)
        case TrackingProblem(message=message, denied=True):
            text = f"MLflow refuses the operator: {message}"
            advice = "Let the operator's MLflow account create experiments and runs; see the chart's mlflow values."
            ending.fail(draft, Stage.PREPARE, FailureCode.TRACKING_ACCESS_DENIED, text, advice=advice)
        case _:
            draft.open_run = _request(draft)
            draft.requeue(_AGAIN_SECONDS)


def postpone(draft: Draft) -> None:
    """A run that has just been opened is no reason to write a status: the next change, if one comes soon, names it.

    Once a pod runs it is: what the pod tells of itself is read from the run that the status names.
    """
    stored = draft.world.job.status
    if stored.mlflow is not None or draft.status.mlflow is None or stored.start_time is None:
        return
    if evolve(draft.status, mlflow=None) != stored:
        return
    if any(pod.running for pod in draft.world.pods):
        return
    left = NAMED_ALONE_AFTER - (draft.now - datetime.fromisoformat(stored.start_time))
    if left > timedelta(0):
        draft.set(mlflow=None)
        draft.requeue(left.total_seconds())


def hold(draft: Draft, stage: Stage) -> bool:
    """Whether a stage that writes to the run must wait for it; says so if it must."""
    if draft.run_id:
        return False
    problem = draft.world.run
    if isinstance(problem, TrackingProblem):
        reason: str = FailureCode.TRACKING_UNAVAILABLE
        message = f"{stage} waits for MLflow, which is tried again all the time: {problem.message}"
    else:
        reason, message = Reason.WAITING_FOR_TRACKING, f"{stage} waits for the MLflow run to be opened"
    draft.write(stage, state=StageState.PENDING, reason=reason, message=message)
    draft.say(JobState.PENDING, reason, message)
    return True


def _note(draft: Draft, run: RunOpened) -> None:
    job = draft.world.job
    url = f"{draft.world.config.mlflow.people_url}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    mlflow = evolve(
        draft.status.mlflow or MLflowStatus(),
        experiment_id=run.experiment_id,
        run_id=run.run_id,
        url=url,
        registered_model=registered_model_name(job),
    )
    draft.set(mlflow=mlflow)


def _request(draft: Draft) -> RunRequest:
    job = draft.world.job
    mlflow = job.spec.tracking.mlflow if job.spec.tracking else None
    own = (mlflow.tags if mlflow else None) or {}
    identity = {
        "uid": job.metadata.uid,
        "cluster": draft.world.cluster,
        "namespace": job.metadata.namespace,
        "name": job.metadata.name,
        "attempt": str(max(1, draft.record(Stage.TRAIN).attempt)),
    }
    return RunRequest(
        uid=job.metadata.uid,
        name=job.metadata.name,
        experiment=experiment_name(job),
        start_ms=round(draft.now.timestamp() * 1000),
        tags=own | {TAG_PREFIX + key: value for key, value in identity.items()},
    )
