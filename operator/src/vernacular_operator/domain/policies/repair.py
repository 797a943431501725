"""A training that ran out of memory: the next attempt takes the rows of a step in smaller portions."""

from __future__ import annotations

from vernacular.api.spec import GradientCheckpointing
from vernacular.api.status import Plan, PlanValue
from vernacular_operator.domain.draft import Draft, evolve
from vernacular_operator.manifests.repair import ACCUMULATION, CHECKPOINTING, MICRO_BATCH, OFF, ON, settings_of
from vernacular_trainer.contract import RepairConfig

MAX_REPAIRS = 3


def smaller(now: RepairConfig, *, checkpointing: bool = True) -> RepairConfig | None:
    """Half the rows at a time (the next divisor below), with gradient checkpointing unless the user does not want it;
    None when nothing is left to do.

    The rows of an optimizer step, portion x accumulation, stay the same.
    """
    rows = now.micro_batch_size * now.accumulation
    half = max(1, now.micro_batch_size // 2)
    micro = max(size for size in range(1, half + 1) if rows % size == 0)
    found = RepairConfig(micro, rows // micro, gradient_checkpointing=checkpointing or now.gradient_checkpointing)
    return None if found == now else found


def possible(draft: Draft) -> RepairConfig | None:
    """What the next attempt trains with; None when there is no repair left.

    A trainer of the user's own does not follow the plan.
    """
    if draft.world.job.spec.trainer:
        return None
    now = settings_of(draft.status.plan)
    if now is None or draft.usage.repairs >= MAX_REPAIRS:
        return None
    training = draft.world.job.spec.training
    unwanted = training is not None and training.gradient_checkpointing is GradientCheckpointing.OFF
    return smaller(now, checkpointing=not unwanted)


def write(draft: Draft, repair: RepairConfig, attempt: int, code: str) -> str:
    """Note the repair in the plan; returns what was changed, for people."""
    plan = draft.status.plan or Plan()
    before = {item.name: item.value for item in plan.values}
    after = {
        MICRO_BATCH: str(repair.micro_batch_size),
        ACCUMULATION: str(repair.accumulation),
        CHECKPOINTING: ON if repair.gradient_checkpointing else OFF,
    }
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    reason = f"after attempt {attempt} ended with {code}"
    kept = tuple(item for item in plan.values if item.name not in changed)
    values = (*kept, *(PlanValue(name=name, value=value, reason=reason) for name, value in changed.items()))
    draft.set(
        plan=evolve(plan, values=values),
        usage=evolve(draft.usage, repairs=draft.usage.repairs + 1),
    )
    return ", ".join(f"{name} {before.get(name, '')} -> {value}" for name, value in changed.items())
