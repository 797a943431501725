"""The batch/v1 Job of one attempt: never retried by Kubernetes itself, restricted, with `job.json` as an annotation."""

from __future__ import annotations

from typing import Any

from vernacular.api import Stage
from vernacular_operator.config import OperatorConfig, Resources
from vernacular_operator.manifests.claim import is_shared
from vernacular_operator.manifests.common import attempt_metadata, labels_of
from vernacular_operator.manifests.inputs import stage_mounts
from vernacular_operator.manifests.job_config import Attempt, grace_period, job_config
from vernacular_operator.manifests.pod_overrides import merged, overrides_of
from vernacular_operator.manifests.queueing import held, queue_labels
from vernacular_trainer.contract import JOB_ANNOTATION, JOB_DIRECTORY, JOB_FILE, SUPERVISOR_ROOT, TERMINATION_LOG

CONTAINER_NAME = "stage"
_GRACE_SECONDS = 30
_UNREACHABLE_SECONDS = 10
_WITH_GPUS = frozenset({Stage.TRAIN, Stage.EVALUATE})


def stage_job(attempt: Attempt, config: OperatorConfig) -> dict[str, Any]:
    """The Job of one attempt. Training is an Indexed Job with one completion for each pod."""
    overrides = overrides_of(attempt.job, attempt.stage, shared=is_shared(attempt.job, config))
    metadata = attempt_metadata(attempt.job, attempt.stage, attempt.number)
    queued = queue_labels(attempt.job, attempt.stage, config.kueue)
    indexed = {"completionMode": "Indexed"} if attempt.stage == Stage.TRAIN else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "labels": {**metadata["labels"], **queued}},
        "spec": {
            **held(queued),
            **indexed,
            "parallelism": attempt.pods,
            "completions": attempt.pods,
            "backoffLimit": 0,
            "template": merged(_template(attempt, config), overrides),
        },
    }


def _template(attempt: Attempt, config: OperatorConfig) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": labels_of(attempt.job, attempt.stage, attempt.number),
            "annotations": {JOB_ANNOTATION: job_config(attempt, config).to_json()},
        },
        "spec": _pod_spec(attempt, config),
    }


def _pod_spec(attempt: Attempt, config: OperatorConfig) -> dict[str, Any]:
    mounts = stage_mounts(attempt.job, attempt.stage)
    train = attempt.stage == Stage.TRAIN
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_period(attempt.job, config) if train else _GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": config.run_as_user,
            "runAsGroup": config.run_as_user,
            "fsGroup": config.run_as_user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": _tolerations(attempt, config),
        "containers": [_container(attempt, config, list(mounts.mounts))],
        "volumes": [*mounts.volumes, *_own_volumes(train)],
    }
    if _foreign_image(attempt):
        spec["initContainers"] = [_supervisor(config)]
        spec["volumes"].append({"name": "supervisor", "emptyDir": {"sizeLimit": "16Mi"}})
    if config.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in config.images.pull_secrets]
    if attempt.pods > 1:
        spec |= {"subdomain": attempt.name, "affinity": _spread(attempt)}
    return spec


def _foreign_image(attempt: Attempt) -> str:
    """The image of the user's own trainer, "" when the stage runs in an image of this project."""
    trainer = attempt.job.spec.trainer
    return (trainer.image if trainer and attempt.stage == Stage.TRAIN else None) or ""


def _supervisor(config: OperatorConfig) -> dict[str, Any]:
    """Brings the supervisor into a pod whose image does not have it."""
    return {
        "name": "supervisor",
        "image": config.images.data,
        "imagePullPolicy": config.images.pull_policy,
        "command": ["python", "-m", "vernacular_trainer.inject", SUPERVISOR_ROOT],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": _container_security(),
        "volumeMounts": [{"name": "supervisor", "mountPath": SUPERVISOR_ROOT}],
    }


def _container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _container(attempt: Attempt, config: OperatorConfig, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    on_cpu_image = attempt.stage in (Stage.PREPARE, Stage.PUBLISH)
    own = [{"name": "job", "mountPath": JOB_DIRECTORY, "readOnly": True}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if attempt.stage == Stage.TRAIN:
        own.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    image = config.images.data if on_cpu_image else config.images.trainer
    start: dict[str, Any] = {}
    if foreign := _foreign_image(attempt):
        image, start = foreign, {"command": ["python3", "-m", "vernacular_trainer"]}
        own.append({"name": "supervisor", "mountPath": SUPERVISOR_ROOT, "readOnly": True})
    return {
        "name": CONTAINER_NAME,
        "image": image,
        "imagePullPolicy": config.images.pull_policy,
        **start,
        "args": [attempt.stage.lower(), "--config", JOB_FILE, "--termination-log", TERMINATION_LOG],
        "env": _environment(attempt, config),
        "resources": _resources(attempt, config),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": _container_security(),
        "volumeMounts": [*mounts, *own],
    }


def _environment(attempt: Attempt, config: OperatorConfig) -> list[dict[str, Any]]:
    environment: list[dict[str, Any]] = [
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    if attempt.stage == Stage.PREPARE:
        addresses = {
            "HF_ENDPOINT": config.hugging_face.endpoint,
            "AWS_ENDPOINT_URL_S3": config.s3.endpoint,
            "AWS_REGION": config.s3.region,
        }
        environment += [{"name": name, "value": value} for name, value in addresses.items() if value]
    if _foreign_image(attempt):
        environment += [{"name": "PYTHONPATH", "value": SUPERVISOR_ROOT}, {"name": "HOME", "value": "/tmp"}]  # noqa: S108
    return environment


def _resources(attempt: Attempt, config: OperatorConfig) -> dict[str, Any]:
    wanted: Resources = getattr(config.resources, attempt.stage.lower())
    limits = dict(wanted.limits)
    compute = attempt.job.spec.compute
    if attempt.stage in _WITH_GPUS and compute.gpus_per_pod:
        limits[compute.gpu_resource] = str(compute.gpus_per_pod)
    return {name: values for name, values in (("requests", dict(wanted.requests)), ("limits", limits)) if values}


def _tolerations(attempt: Attempt, config: OperatorConfig) -> list[dict[str, Any]]:
    tolerations: list[dict[str, Any]] = [
        {
            "key": f"node.kubernetes.io/{trouble}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": _UNREACHABLE_SECONDS,
        }
        for trouble in ("not-ready", "unreachable")
    ]
    compute = attempt.job.spec.compute
    beside_gpus = attempt.stage in _WITH_GPUS or not is_shared(attempt.job, config)
    if beside_gpus and compute.gpus_per_pod:
        # nodes with GPUs are often tainted with the resource's name to keep other pods away; a volume of one node
        # has to be made and used there
        tolerations.append({"key": compute.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    return tolerations


def _spread(attempt: Attempt) -> dict[str, Any]:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"batch.kubernetes.io/job-name": attempt.name}},
    }
    preferred = {"weight": 100, "podAffinityTerm": term}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}


def _own_volumes(train: bool) -> list[dict[str, Any]]:
    field = {"fieldPath": f"metadata.annotations['{JOB_ANNOTATION}']"}
    volumes: list[dict[str, Any]] = [
        {"name": "job", "downwardAPI": {"items": [{"path": JOB_FILE.rpartition("/")[2], "fieldRef": field}]}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if train:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    return volumes
