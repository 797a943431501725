"""The FineTuneRuntime: what the platform team owns. Cluster-scoped and optional; what it leaves out, the operator's
configuration says.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vernacular.api.base import ATOMIC_LIST, ApiModel, SpecModel
from vernacular.api.constants import ANNOTATION_DEFAULT
from vernacular.api.finetunejob import ObjectMeta
from vernacular.api.pod_overrides import PodOverride
from vernacular.api.spec import AccessMode, ModelCacheSpec
from vernacular.api.strings import Currency, ImageName, ObjectName, Price, StorageSize


class RuntimeImages(SpecModel):
    """Images of the stages."""

    data: ImageName | None = Field(default=None, description="Image of prepare and publish.")
    trainer: ImageName | None = Field(default=None, description="Image of train and evaluate.")


class RuntimeWorkspace(SpecModel):
    """Defaults of spec.storage.workspace of jobs."""

    size: StorageSize | None = Field(default=None, description="Size of the claim, like 200Gi.")
    storage_class_name: ObjectName | None = Field(default=None, description="StorageClass of the claim.")
    access_mode: AccessMode | None = Field(default=None, description="More than one pod needs ReadWriteMany.")


class RuntimeStorage(SpecModel):
    """Defaults of the volumes of jobs."""

    workspace: RuntimeWorkspace | None = Field(default=None, description="The volume that stages share.")
    model_cache: ModelCacheSpec | None = Field(
        default=None,
        description="Where hf:// and s3:// models and files are kept; the claim must exist in the jobs' namespaces.",
    )


class RuntimeLimits(SpecModel):
    """The most that one job may use."""

    max_gpus: int | None = Field(
        default=None, ge=0, le=65_536, description="GPUs that a job may train on: compute.pods x compute.gpusPerPod."
    )
    max_gpu_hours: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="GPU hours of a job, all attempts together; the most that runPolicy.maxGpuHours may say.",
    )


class RuntimeCost(SpecModel):
    """What GPU time costs; jobs tell in status.usage what they cost."""

    gpu_price_per_hour: Price = Field(description="Price of one GPU for an hour, a decimal number in quotes.")
    currency: Currency = Field(default="USD", description="Its currency, three letters as in ISO 4217.")


class FineTuneRuntimeSpec(SpecModel):
    """What jobs that name this runtime get."""

    images: RuntimeImages | None = Field(default=None, description="Images of the stages.")
    gpu_memory_gib: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Memory of each GPU. With it a training that does not fit is refused before a GPU is asked for.",
    )
    pod_overrides: Annotated[tuple[PodOverride, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None = Field(
        default=None, description="Changes to the pods of stages, merged before those of the job; all are allowed."
    )
    storage: RuntimeStorage | None = Field(default=None, description="Defaults of the volumes of jobs.")
    limits: RuntimeLimits | None = Field(default=None, description="The most that one job may use.")
    cost: RuntimeCost | None = Field(default=None, description="What GPU time costs.")


class FineTuneRuntime(ApiModel):
    """Where fine-tuning jobs run and what they may use, as the platform team decides.

    A job takes it over when it is accepted; a later change is for later jobs.
    """

    api_version: Literal["vernacular.dev/v1alpha1"] = "vernacular.dev/v1alpha1"
    kind: Literal["FineTuneRuntime"] = "FineTuneRuntime"
    metadata: ObjectMeta
    spec: FineTuneRuntimeSpec = Field(description="What jobs that name this runtime get.")

    @property
    def is_default(self) -> bool:
        """Whether jobs without runtimeRef get this runtime."""
        return self.metadata.annotations.get(ANNOTATION_DEFAULT) == "true"
