"""What GPU time costs, by the price of the runtime that the job was accepted with."""

from __future__ import annotations

from decimal import Decimal

from vernacular.api import Stage, StageState
from vernacular.api.status import FineTuneJobStatus, UsageStatus
from vernacular_operator.domain.draft import evolve
from vernacular_operator.manifests.runtime import runtime_spec

_HOUR = 3600
_CENT = Decimal("0.01")


def priced(status: FineTuneJobStatus, usage: UsageStatus, gpus: int) -> UsageStatus:
    """The usage with its goodput and, where the runtime has a price, its cost. `gpus`: those of the training.

    What is expected in all is known while the training tells its pace, and goes up to its end.
    """
    used = usage.gpu_seconds - usage.lost_gpu_seconds - usage.waiting_gpu_seconds
    usage = evolve(usage, goodput_percent=round(100 * used / usage.gpu_seconds) if usage.gpu_seconds else None)
    cost = runtime_spec(status.runtime).cost
    if cost is None:
        return usage
    left = _seconds_left(status)
    price = Decimal(cost.gpu_price_per_hour) / _HOUR
    return evolve(
        usage,
        cost=str((usage.gpu_seconds * price).quantize(_CENT)),
        expected_cost=None if left is None else str(((usage.gpu_seconds + left * gpus) * price).quantize(_CENT)),
        currency=cost.currency,
    )


def recorded(usage: UsageStatus) -> dict[str, float]:
    """The usage as metrics of the job's MLflow run; empty for a job without GPUs."""
    if not usage.gpu_seconds:
        return {}
    hours = {
        "gpu_hours": usage.gpu_seconds,
        "productive_gpu_hours": usage.productive_gpu_seconds,
        "lost_gpu_hours": usage.lost_gpu_seconds,
        "waiting_gpu_hours": usage.waiting_gpu_seconds,
    }
    metrics = {f"usage/{name}": round(seconds / _HOUR, 4) for name, seconds in hours.items()}
    metrics["usage/goodput_percent"] = float(usage.goodput_percent or 0)
    return metrics | ({"usage/cost": float(usage.cost)} if usage.cost else {})


def _seconds_left(status: FineTuneJobStatus) -> int | None:
    if status.terminal or status.stage(Stage.TRAIN).state != StageState.RUNNING or status.progress is None:
        return None
    return status.progress.eta_seconds
