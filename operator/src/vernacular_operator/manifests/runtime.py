"""What a job took over from its FineTuneRuntime, laid over the operator's configuration."""

from __future__ import annotations

from vernacular.api import FineTuneJob, FineTuneRuntime, FineTuneRuntimeSpec, Stage
from vernacular.api.status import RuntimeStatus
from vernacular_operator.config import OperatorConfig


def snapshot_of(runtime: FineTuneRuntime) -> RuntimeStatus:
    """What a job keeps of a runtime: what it says, and nothing of what the operator's configuration says.

    Images of the configuration change with the operator and must: `job.json` is a contract between the two.
    """
    return RuntimeStatus(
        name=runtime.metadata.name, generation=runtime.metadata.generation, spec=runtime.spec.to_dict()
    )


def runtime_spec(runtime: RuntimeStatus | None) -> FineTuneRuntimeSpec:
    """The runtime's spec as the job took it over, empty when there is none.

    Fields of a newer operator are ignored: one that was rolled back must still read its jobs.
    """
    return FineTuneRuntimeSpec.model_validate(runtime.spec if runtime else {}, extra="ignore")


def gpu_hours(job: FineTuneJob) -> tuple[int, str] | None:
    """The GPU hours that a job may use and who says so; None: as many as it likes.

    A job that raises its own limit after it was accepted stays below that of its runtime.
    """
    runtime = job.status.runtime
    limits = runtime_spec(runtime).limits
    said = {
        "spec.runPolicy.maxGpuHours": job.spec.run_policy.max_gpu_hours,
        f"the FineTuneRuntime {runtime.name if runtime else ''}": limits.max_gpu_hours if limits else None,
    }
    return min(((hours, who) for who, hours in said.items() if hours is not None), default=None)


def stage_gpus(job: FineTuneJob, stage: Stage) -> int:
    """How many GPUs an attempt of the stage holds."""
    compute = job.spec.compute
    return {Stage.TRAIN: compute.gpus, Stage.EVALUATE: compute.gpus_per_pod}.get(stage, 0)


def settings(config: OperatorConfig, runtime: RuntimeStatus | None) -> OperatorConfig:
    """The configuration with the images and storage defaults of the runtime."""
    if runtime is None:
        return config
    spec = runtime_spec(runtime)
    images = spec.images.model_dump(exclude_none=True) if spec.images else {}
    workspace = spec.storage.workspace if spec.storage else None
    storage = workspace.model_dump(mode="json", exclude_none=True) if workspace else {}
    return config.model_copy(
        update={
            "images": config.images.model_copy(update=images),
            "storage": config.storage.model_copy(update=storage),
        }
    )
