"""The FineTuneRuntime of a job: waited for until it exists, taken over once, and never looked at again."""

from __future__ import annotations

from vernacular.api import FineTuneRuntime
from vernacular_operator.domain.draft import Draft


def missing(draft: Draft) -> str:
    """Why the runtime that the job names cannot be had, "" when it can or none is named."""
    wanted, choice = draft.world.job.spec.runtime_ref, draft.world.runtime
    if wanted is None or choice.runtime is not None:
        return ""
    if not choice.readable:
        return (
            f"spec.runtimeRef names the FineTuneRuntime {wanted.name}, but this operator is installed for single"
            " namespaces and reads none; remove runtimeRef, or ask the platform team to install it for the cluster"
        )
    return (
        f"the FineTuneRuntime {wanted.name} of spec.runtimeRef does not exist; the job starts once it does:"
        " kubectl get ftr lists those that exist"
    )


def over_the_limits(draft: Draft, runtime: FineTuneRuntime) -> str:
    """What the job asks for beyond the runtime's limits, with both figures; "" when nothing."""
    limits, name = runtime.spec.limits, runtime.metadata.name
    if limits is None:
        return ""
    compute, hours = draft.world.job.spec.compute, draft.world.job.spec.run_policy.max_gpu_hours
    if limits.max_gpus is not None and compute.gpus > limits.max_gpus:
        asked = f"the job trains on {compute.gpus} GPUs ({compute.pods} pods x {compute.gpus_per_pod})"
        return f"{asked}, the FineTuneRuntime {name} allows {limits.max_gpus}"
    if limits.max_gpu_hours is not None and hours is not None and hours > limits.max_gpu_hours:
        asked = f"spec.runPolicy.maxGpuHours is {hours}"
        return f"{asked}, the FineTuneRuntime {name} allows {limits.max_gpu_hours}"
    return ""
