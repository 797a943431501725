"""Pods that should be gone: their node does not answer, so they are removed by force and the attempt can end."""

from __future__ import annotations

from datetime import timedelta

from vernacular_operator.domain.draft import Draft

PATIENCE = timedelta(seconds=30)


def apply(draft: Draft) -> None:
    """Remove pods that are this much past the end of their grace period."""
    for pod in draft.world.live_pods():
        if pod.deletion_time is None:
            continue
        if draft.now >= pod.deletion_time + PATIENCE:
            draft.remove_pod(pod)
        else:
            draft.requeue((pod.deletion_time + PATIENCE - draft.now).total_seconds())
