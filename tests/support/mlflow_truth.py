"""What MLflow must say of a job in the end."""

from __future__ import annotations

from support.fake_mlflow import FakeMlflow
from support.job_life import Life


def untrue_runs(life: Life, server: FakeMlflow) -> list[str]:
    """What is wrong with the runs of a job that has ended or was deleted; empty: nothing."""
    runs = server.runs_of(life.uid)
    # of a job that is gone nobody can tell which run was meant
    if len(runs) > 1 and not life.deleted:
        return [f"{life.name} ({life.uid}) has {len(runs)} runs"]
    allowed = {"FINISHED"} if life.is_true("Complete") else {"FAILED"} if life.is_true("Failed") else set()
    if life.deleted:
        # how a job ended is forgotten with it when MLflow was away until then
        allowed.add("KILLED")
    return [f"run of {life.name} is {run.status}, not {sorted(allowed)}" for run in runs if run.status not in allowed]
