"""What hands an attempt's Job over to Kueue: the labels of the FineTuneJob, and that the queue starts it."""

from __future__ import annotations

from typing import Any

from vernacular.api import FineTuneJob, Stage
from vernacular_operator.config import Kueue

PREFIX = "kueue.x-k8s.io/"
QUEUE_NAME = f"{PREFIX}queue-name"
PRIORITY_CLASS = f"{PREFIX}priority-class"
_FOLLOW_UPS = frozenset({Stage.EVALUATE, Stage.PUBLISH})


def queue_labels(job: FineTuneJob, stage: Stage, kueue: Kueue) -> dict[str, str]:
    """Kueue's labels of the job, for the Job of a stage. What follows a training may have a priority of its own: the
    GPU hours are spent, and only their result is missing.
    """
    labels = {name: value for name, value in job.metadata.labels.items() if name.startswith(PREFIX)}
    if QUEUE_NAME in labels and stage in _FOLLOW_UPS and kueue.follow_up_priority_class:
        labels[PRIORITY_CLASS] = kueue.follow_up_priority_class
    return labels


def held(labels: dict[str, str]) -> dict[str, Any]:
    """The part of a Job's spec that lets a queue start it. Nobody writes it again but the queue."""
    return {"suspend": True} if QUEUE_NAME in labels else {}
