"""A job that ended goes by itself after the time that its user set."""

from __future__ import annotations

from datetime import datetime, timedelta

from vernacular.api import ConditionType
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.policies import ending
from vernacular_operator.domain.snapshot import RunClosed

_AGAIN_SECONDS = 10


def apply(draft: Draft) -> None:
    """Delete the job once its time is over; never one whose trained result was not published.

    It waits until its run is closed in MLflow: nobody could tell afterwards how the job ended.
    """
    seconds = draft.world.job.spec.run_policy.ttl_seconds_after_finished
    ended = draft.status.completion_time
    unpublished = draft.status.is_true(ConditionType.TRAINED) and not draft.status.is_true(ConditionType.PUBLISHED)
    if seconds is None or ended is None or unpublished:
        return
    over = datetime.fromisoformat(ended) + timedelta(seconds=seconds)
    if draft.now < over:
        draft.requeue((over - draft.now).total_seconds())
    elif isinstance(draft.world.run, RunClosed) or not ending.close_run(draft):
        draft.delete_job_itself = True
    else:
        draft.requeue(_AGAIN_SECONDS)
