"""What runs now: GPUs by namespace and stage, and how far each training is. Series go when their stage ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vernacular.api import FineTuneJob, Stage, StageState
from vernacular.api.status import Progress
from vernacular_operator.manifests.runtime import stage_gpus


@dataclass(frozen=True)
class Training:
    """One running training. `progress` from 0 to 1; None: not reported. `report_age`: how many seconds it says nothing,
    None while it waits for its nodes.
    """

    namespace: str
    name: str
    progress: float
    loss: float | None
    eval_loss: float | None
    tokens_per_second: int | None
    eta_seconds: int | None
    report_age: float | None


@dataclass(frozen=True)
class Running:
    """`gpus` by namespace and stage."""

    gpus: Counter[tuple[str, str]] = field(default_factory=Counter)
    trainings: Sequence[Training] = ()


def running(jobs: Iterable[FineTuneJob], now: datetime) -> Running:
    """What these jobs run at this moment, as far as their status says."""
    gpus: Counter[tuple[str, str]] = Counter()
    trainings = []
    for job in jobs:
        for record in job.status.stages:
            if record.state != StageState.RUNNING:
                continue
            held = stage_gpus(job, record.name)
            if held and record.running_since:
                gpus[job.metadata.namespace, record.name] += held
            if record.name == Stage.TRAIN and job.status.progress:
                trainings.append(_training(job, job.status.progress, record.running_since, now))
    return Running(gpus, tuple(trainings))


def _training(job: FineTuneJob, progress: Progress, since: str | None, now: datetime) -> Training:
    """`since`: when it got its nodes, None while it waits for them."""
    return Training(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        progress=progress.step / progress.total_steps if progress.total_steps else 0.0,
        loss=float(progress.loss) if progress.loss else None,
        eval_loss=float(progress.eval_loss) if progress.eval_loss else None,
        tokens_per_second=progress.tokens_per_second,
        eta_seconds=progress.eta_seconds,
        report_age=_report_age(progress.reported_at, since, now),
    )


def _report_age(reported: str | None, since: str | None, now: datetime) -> float | None:
    """What an earlier attempt reported says nothing of this one: it has been silent since it got its nodes."""
    if reported is None or since is None:
        return None
    latest = max(datetime.fromisoformat(reported), datetime.fromisoformat(since))
    return (now - latest).total_seconds()
