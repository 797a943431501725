"""How a training uses memory, as the status says: what prepare planned, and what repairs changed since."""

from __future__ import annotations

from vernacular.api import FineTuneJobStatus
from vernacular.api.status import Plan
from vernacular_trainer.contract import RepairConfig

MICRO_BATCH = "microBatchSize"
ACCUMULATION = "accumulation"
CHECKPOINTING = "gradientCheckpointing"
ON, OFF = "On", "Off"


def settings_of(plan: Plan | None) -> RepairConfig | None:
    """The settings in a plan; None when the plan does not have them."""
    values = {item.name: item.value for item in plan.values} if plan else {}
    micro, accumulation = values.get(MICRO_BATCH, ""), values.get(ACCUMULATION, "")
    if not (micro.isdecimal() and accumulation.isdecimal()):
        return None
    return RepairConfig(int(micro), int(accumulation), values.get(CHECKPOINTING) == ON)


def repair_of(status: FineTuneJobStatus) -> RepairConfig | None:
    """What the next attempt of training is to change in the plan of prepare; None when nothing was repaired."""
    repaired = status.usage is not None and status.usage.repairs > 0
    return settings_of(status.plan) if repaired else None
