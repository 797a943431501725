"""plan.json, as prepare wrote it."""

from __future__ import annotations

import json
from pathlib import Path

from vernacular_trainer.contract import ContractError, JobConfig, StageFailure, build_strictly
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ResolvedPlan, repaired


def load_plan(path: Path, config: JobConfig) -> ResolvedPlan:
    """Read the plan, repair it as the job says, and check it against the job.

    Raises ContractError, and StageError (WorldSizeMismatch).
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ContractError("plan: not a JSON object")
    plan = repaired(build_strictly(ResolvedPlan, document, "plan"), config.repair)
    if plan.world_size != config.compute.world_size:
        raise StageError(
            StageFailure.WORLD_SIZE_MISMATCH,
            f"the plan is for {plan.world_size} processes, the job has {config.compute.world_size}",
            "start a new job for changed compute settings",
        )
    room = plan.micro_batch_size * plan.accumulation * plan.world_size
    if room < plan.effective_batch_size:
        raise ContractError(f"plan: {room} rows fit into a step, effective_batch_size is {plan.effective_batch_size}")
    return plan
