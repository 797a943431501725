"""A job whose gate says FailJob fails when a demand was missed, after the evidence is published."""

from __future__ import annotations

from vernacular.api.spec import OnMiss
from vernacular_operator.domain.draft import Draft


def missed(draft: Draft) -> str:
    """What was missed, in a sentence; "" when nothing was, or when a miss only holds the version back."""
    gate, evaluation = draft.world.job.spec.evaluation.gate, draft.status.evaluation
    if gate is None or gate.on_miss is not OnMiss.FAIL_JOB:
        return ""
    promoted = draft.status.mlflow.promoted_alias if draft.status.mlflow else None
    if evaluation is None and promoted:
        # only a model that missed nothing is promoted
        return ""
    if evaluation is None:
        return "the evaluation's report was lost before it was read, and a gate passes nothing without proof"
    return f"the gate was missed: {'; '.join(evaluation.gate_missed)}" if evaluation.gate_missed else ""
