"""How far training is: written when it moved by a percent or a minute went by, so that many jobs cost few writes."""

from __future__ import annotations

from datetime import datetime, timedelta

from vernacular.api import Stage, StageState
from vernacular.api.base import timestamp
from vernacular.api.status import Progress
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.policies import results
from vernacular_operator.domain.snapshot import ProgressFacts

_PERIOD = timedelta(seconds=60)


def apply(draft: Draft) -> None:
    """Carry the reported progress of a running training into the status."""
    seen = draft.world.progress
    if seen is None or draft.record(Stage.TRAIN).state != StageState.RUNNING:
        return
    results.note_checkpoint_step(draft, seen.checkpoint_step, seen.checkpoint_seconds)
    if worth_writing(draft.status.progress, seen):
        draft.set(progress=_progress(seen))


def worth_writing(old: Progress | None, seen: ProgressFacts) -> bool:
    """Whether what training reported differs enough from what the status says."""
    new = _progress(seen)
    if old is None or old.reported_at is None or new.reported_at is None:
        return True
    moved = abs(new.percent - old.percent) >= 1 or new.total_steps != old.total_steps
    waited = datetime.fromisoformat(new.reported_at) - datetime.fromisoformat(old.reported_at) >= _PERIOD
    return moved or waited


def _progress(seen: ProgressFacts) -> Progress:
    return Progress(
        step=seen.step,
        total_steps=seen.total_steps,
        percent=results.percent_of(seen.step, seen.total_steps),
        loss=seen.loss or None,
        eval_loss=seen.eval_loss or None,
        tokens_per_second=seen.tokens_per_second,
        eta_seconds=seen.eta_seconds,
        reported_at=timestamp(seen.reported_at),
    )
