"""Changes to the pods of stages: where they run and what they get, never what they may do or what they run.

There is no field for a security context, a command, an image, a host path or a Secret on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from vernacular.api.affinity import Affinity
from vernacular.api.base import ATOMIC_LIST, BY_NAME, Checked, SpecModel, cel, rules
from vernacular.api.status import Stage
from vernacular.api.strings import (
    DNS_LABEL,
    LABEL_KEY,
    LabelKey,
    LabelMap,
    LabelValue,
    ObjectName,
    ResourceMap,
    StorageSize,
)

_OWN_VOLUMES = (
    r"workspace|job|tmp|shm|model-cache|supervisor|claim-[0-9]+|(tracking|model|wandb|judge|embeddings)-credentials"
    r"|(questions|glossary|chat-template|(train|validation)-[0-9]+)(-credentials)?"
)
_OWN_PATHS = "workspace|job|inputs|claims|secrets|model-cache|supervisor|tmp|dev|proc|sys|etc"


def _not_one_of(pattern: str) -> tuple[str, Callable[[str], bool]]:
    return f"!self.matches('^({pattern})$')", lambda value: not re.fullmatch(pattern, value)


EnvironmentName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Checked(r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of an environment variable: letters, digits and '_'"),
]
VolumeName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Checked(
        DNS_LABEL,
        "must be a name of lower-case letters, digits and '-' that the operator does not use itself,"
        " like scratch; not workspace, job, tmp, shm, questions, model-cache, supervisor, claim-0, train-0,"
        " train-0-credentials",
        also=_not_one_of(_OWN_VOLUMES),
    ),
]
MountPath = Annotated[
    str,
    Field(min_length=2, max_length=256),
    Checked(
        r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+",
        "must be an absolute path like /scratch, outside of /workspace, /job, /inputs, /claims, /secrets,"
        " /model-cache, /supervisor, /tmp, /dev, /proc, /sys and /etc",
        also=_not_one_of(f"/({_OWN_PATHS})(/.*)?"),
    ),
]

Annotations = Annotated[
    dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=1024)]],
    Field(
        max_length=16,
        json_schema_extra=rules(
            cel(
                f"self.all(key, key.matches('^{LABEL_KEY}$'))",
                "names of annotations consist of letters, digits, '-', '_' and '.', like example.com/note",
            )
        ),
    ),
]


class EmptyDirMedium(StrEnum):
    """What an empty folder is made of."""

    MEMORY = "Memory"


class TolerationOperator(StrEnum):
    """How a taint is compared."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(SpecModel):
    """A taint of nodes that the pod tolerates."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "without a key the toleration is for every taint: write operator: Exists, or a key"),
            cel("!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
                "value belongs to operator Equal; remove it, or set operator: Equal"),
            cel("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds belongs to effect NoExecute; remove it, or set effect: NoExecute"),
        )
    )  # fmt: skip

    key: LabelKey | None = Field(default=None, description="The taint. Absent, with operator Exists: every taint.")
    operator: TolerationOperator | None = Field(default=None, description="Exists, or Equal (default).")
    value: LabelValue | None = Field(default=None, description="Value of the taint, with operator Equal.")
    effect: TaintEffect | None = Field(default=None, description="Effect of the taint. Absent: every effect.")
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="How long a NoExecute taint is tolerated. Absent: for ever."
    )


class LocalSecret(SpecModel):
    """A Secret in the job's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class EnvironmentVariable(SpecModel):
    """One variable with its text; there is no reference to a Secret on purpose."""

    name: EnvironmentName = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=1024)] = Field(description="Its value.")


class EmptyDir(SpecModel):
    """A folder that lives as long as the pod."""

    medium: EmptyDirMedium | None = Field(default=None, description="Memory: in RAM. Absent: on the node's disk.")
    size_limit: StorageSize | None = Field(default=None, description="Most that it may hold, like 10Gi.")


class ClaimVolume(SpecModel):
    """A PersistentVolumeClaim of the job's namespace."""

    claim_name: ObjectName = Field(description="Name of the claim.")
    read_only: bool = Field(default=False, description="true: nothing can be written.")


class Volume(SpecModel):
    """A volume of the pod: an empty folder or a claim."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.emptyDir) != has(self.persistentVolumeClaim)",
                "write exactly one of emptyDir and persistentVolumeClaim; other kinds of volumes cannot be set here"),
        )
    )  # fmt: skip

    name: VolumeName = Field(description="Name for volumeMounts.")
    empty_dir: EmptyDir | None = Field(default=None, description="A folder that lives as long as the pod.")
    persistent_volume_claim: ClaimVolume | None = Field(default=None, description="A claim of the job's namespace.")


class VolumeMount(SpecModel):
    """Where the stage sees a volume."""

    name: VolumeName = Field(description="A volume of the same override.")
    mount_path: MountPath = Field(description="Where it appears, like /scratch.")
    read_only: bool = Field(default=False, description="true: nothing can be written.")


class PodResources(SpecModel):
    """Resources of the stage's container; GPUs are asked for with compute.gpusPerPod."""

    requests: ResourceMap | None = Field(default=None, description="What the pod is sure to get.")
    limits: ResourceMap | None = Field(default=None, description="The most it may use.")


class PodOverride(SpecModel):
    """Changes to the pods of some stages, merged like a strategic merge patch.

    Maps are merged by key, named lists by name, mounts by path; tolerations are added; other values are replaced.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes)"
                " && self.volumes.exists(volume, volume.name == mount.name))",
                "a mount names a volume of the same override; add it to volumes"),
            cel("!has(self.labels) || self.labels.all(key, !key.matches("
                "'^((vernacular[.]dev|app[.]kubernetes[.]io|batch[.]kubernetes[.]io)/.*|job-name|controller-uid)$'))",
                "labels of vernacular.dev, app.kubernetes.io and batch.kubernetes.io are the operator's; use others"),
            cel("!has(self.annotations) || self.annotations.all(key,"
                " !key.matches('^(vernacular[.]dev/|.*(apparmor|seccomp)[.]security[.])'))",
                "annotations of vernacular.dev are the operator's, and those of AppArmor and seccomp cannot be set"),
        )
    )  # fmt: skip

    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=4), ATOMIC_LIST] | None = Field(
        default=None, description="Stages whose pods are changed. Absent: all."
    )
    node_selector: LabelMap | None = Field(default=None, description="Labels of the nodes that the pod may run on.")
    tolerations: Annotated[tuple[Toleration, ...], Field(min_length=1, max_length=16), ATOMIC_LIST] | None = Field(
        default=None, description="Taints of nodes that the pod tolerates, besides the operator's own."
    )
    affinity: Affinity | None = Field(default=None, description="Where the pod may and should run.")
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pod.")
    scheduler_name: ObjectName | None = Field(default=None, description="Scheduler of the pod.")
    image_pull_secrets: Annotated[tuple[LocalSecret, ...], Field(min_length=1, max_length=8), BY_NAME] | None = Field(
        default=None, description="Secrets with credentials of registries, besides the operator's own."
    )
    resources: PodResources | None = Field(default=None, description="Resources of the stage's container.")
    labels: LabelMap | None = Field(default=None, description="Labels of the pod.")
    annotations: Annotations | None = Field(default=None, description="Annotations of the pod.")
    env: Annotated[tuple[EnvironmentVariable, ...], Field(min_length=1, max_length=32), BY_NAME] | None = Field(
        default=None, description="Environment of the stage, where the platform team allows it."
    )
    volumes: Annotated[tuple[Volume, ...], Field(min_length=1, max_length=8), BY_NAME] | None = Field(
        default=None, description="Volumes of the pod, where the platform team allows them."
    )
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None = Field(
        default=None, description="Where the stage sees the volumes."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount of the pod, where the platform team allows it; no token is mounted."
    )
