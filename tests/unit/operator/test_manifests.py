"""Manifests against golden YAML. `VERNACULAR_UPDATE_GOLDEN=1` writes the files again; read the difference then."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from support.worlds import config, fine_tune_job
from vernacular.api import FineTuneJob, Stage
from vernacular.api.pod_overrides import VolumeName
from vernacular_operator.manifests.claim import workspace_claim
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt, job_config
from vernacular_operator.manifests.service import headless_service
from vernacular_trainer.contract import JOB_ANNOTATION, JobConfig

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "operator"

SMALL = fine_tune_job()
FULL = fine_tune_job(
    model={"uri": "hf://org/model", "revision": "v1", "credentials": {"secretName": "hub"}},
    dataset={
        "teaches": "Skill",
        "train": [
            {"configMap": {"name": "rows", "key": "a.jsonl"}},
            {"uri": "pvc://rows/b.jsonl"},
            {"uri": "pvc://rows/c.jsonl"},
            {"uri": "pvc://mine/d.jsonl"},
            {"uri": "s3://rows/2026/", "endpoint": "https://minio", "credentials": {"secretName": "bucket"}},
            {"uri": "hf://acme/rows", "revision": "v2", "credentials": {"secretName": "hub"}, "sharePercent": 20},
            {"uri": "https://files.example.org:8443/a.jsonl", "credentials": {"secretName": "files"}},
        ],
        "validation": {"splitPercent": 20},
        "format": "PromptCompletion",
        "columns": {"frage": "prompt", "antwort": "completion"},
        "systemPrompt": "Answer in one sentence.",
        "chatTemplate": {"configMap": {"name": "templates", "key": "chat.jinja"}},
        "duplicates": "DropNear",
        "personalData": "Redact",
        "maxBadRowsPercent": 5,
    },
    method={"type": "LoRA", "lora": {"rank": 8, "targetModules": ["q_proj"], "variant": "DoRA"}},
    training={
        "maxSteps": 20,
        "learningRate": "2e-4",
        "precision": "BF16",
        "scheduler": "Cosine",
        "loss": "AllTokens",
        "gradientCheckpointing": "On",
        "evaluateEverySteps": 5,
        "optimizer": "AdamW8bit",
        "extraArguments": {"adam_beta2": "0.95"},
        "keep": "Best",
        "earlyStopping": {"patience": 2, "minDelta": "0.01"},
    },
    checkpoints={"everySteps": 4, "keep": 3, "gracePeriodSeconds": 300},
    compute={"pods": 2, "gpusPerPod": 4, "strategy": "ZeRO2", "offload": "Optimizer"},
    storage={"workspace": {"claimName": "mine"}},
    evaluation={
        "questions": {"configMap": {"name": "asked", "key": "q.jsonl"}},
        "glossary": {"configMap": {"name": "terms", "key": "terms.yaml"}},
        "gate": {
            "minCorrectPercent": 85,
            "maxWrongPercent": 3,
            "maxInventedPercent": 5,
            "minGainPoints": 10,
            "maxGeneralRegressionPercent": 4,
            "onMiss": "FailJob",
        },
        "judge": {
            "endpoint": "https://llm.example.com/v1",
            "model": "judge-1",
            "credentials": {"secretName": "judge"},
            "maxRequests": 40,
        },
        "embeddings": {"endpoint": "http://embedder/v1", "model": "e5"},
    },
    tracking={
        "mlflow": {"experiment": "bots", "credentialsSecretName": "mlflow"},
        "weightsAndBiases": {"project": "hr", "entity": "team", "mode": "Online", "secretName": "wandb"},
        "textInReports": "Masked",
    },
    publish={"registeredModel": "bot", "alias": "rc", "promotion": "Automatic", "promotedAlias": "prod"},
)
OVERRIDDEN = fine_tune_job(
    model={"uri": "hf://org/model"},
    storage={"modelCache": {"claimName": "models"}},
    podOverrides=[
        {
            "nodeSelector": {"example.com/pool": "batch"},
            "tolerations": [{"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
            "priorityClassName": "low",
            "schedulerName": "volcano",
            "imagePullSecrets": [{"name": "mirror"}],
            "labels": {"team": "hr"},
            "annotations": {"k8s.v1.cni.cncf.io/networks": "rdma"},
        },
        {
            "stages": ["Train"],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "gpu.memory", "operator": "Gt", "values": ["40"]}]}
                        ]
                    }
                }
            },
            "priorityClassName": "high",
            "resources": {"requests": {"memory": "64Gi", "example.com/nic": "1"}},
            "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
            "volumes": [
                {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
                {"name": "lookup", "persistentVolumeClaim": {"claimName": "tables", "readOnly": True}},
            ],
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}, {"name": "lookup", "mountPath": "/lookup"}],
            "serviceAccountName": "s3-reader",
        },
    ],
)
FULL_CONFIG = config(
    images={"data": "example.org/data:1", "trainer": "example.org/trainer:1", "pullSecrets": ["registry"]},
    resources={
        "prepare": {"requests": {"cpu": "500m"}, "limits": {"memory": "4Gi"}},
        "train": {"limits": {"memory": "64Gi"}},
    },
    huggingFace={"endpoint": "https://hub.example.org"},
    s3={"endpoint": "https://minio.example.org:9000", "region": "eu-central-1"},
    https={"hosts": ["files.example.org:8443", "*.example.com"], "maxFileGiB": 5},
    gracePeriodSeconds=90,
)
OWN_TRAINER = fine_tune_job(
    compute={"pods": 2, "gpusPerPod": 2},
    trainer={"command": ["torchrun", "/opt/train.py", "$(HOME)"], "image": "example.org/axolotl:1"},
    tracking={"mlflow": {"credentialsSecretName": "mlflow"}},
)
SIZES = (("small", SMALL, config()), ("full", FULL, FULL_CONFIG), ("overridden", OVERRIDDEN, FULL_CONFIG))


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        *(
            (
                f"{size}-{stage.lower()}",
                stage_job(Attempt(job, stage, 1, "" if stage == Stage.PREPARE else "run-1", "c-1"), conf),
            )
            for size, job, conf in SIZES
            for stage in Stage
        ),
        ("own-trainer", stage_job(Attempt(OWN_TRAINER, Stage.TRAIN, 1, "run-1", "c-1"), FULL_CONFIG)),
        ("service", headless_service(FULL, 2)),
        ("workspace", workspace_claim(SMALL, config())),
        (
            "workspace-retained",
            workspace_claim(
                fine_tune_job(
                    storage={
                        "workspace": {
                            "size": "5Gi",
                            "storageClassName": "efs",
                            "accessMode": "ReadWriteMany",
                            "deletionPolicy": "Retain",
                        }
                    }
                ),
                config(),
            ),
        ),
    ],
)
def test_golden(name: str, manifest: Mapping[str, Any]) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump(dict(manifest), sort_keys=True, width=120)
    if os.environ.get("VERNACULAR_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    assert path.read_text(encoding="utf-8") == text


def pod_spec(job: FineTuneJob, stage: Stage) -> dict[str, Any]:
    spec: dict[str, Any] = stage_job(Attempt(job, stage, 1, "run-1"), FULL_CONFIG)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("stage", list(Stage))
def test_job_json_in_the_annotation_follows_the_contract(stage: Stage) -> None:
    attempt = Attempt(FULL, stage, 3, "run-1", "c-1")
    manifest = stage_job(attempt, FULL_CONFIG)
    text = manifest["spec"]["template"]["metadata"]["annotations"][JOB_ANNOTATION]

    assert JobConfig.from_json(text) == job_config(attempt, FULL_CONFIG)


@pytest.mark.parametrize("stage", list(Stage))
def test_no_volume_is_mounted_twice_and_every_mount_has_its_volume(stage: Stage) -> None:
    spec = pod_spec(FULL, stage)
    volumes = [volume["name"] for volume in spec["volumes"]]
    claims = [
        volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume
    ]
    mounts = spec["containers"][0]["volumeMounts"]

    assert len(volumes) == len(set(volumes))
    assert len(claims) == len(set(claims))
    assert {mount["name"] for mount in mounts} == set(volumes)
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


def test_only_prepare_sees_the_models_credentials() -> None:
    seen = [stage for stage in Stage if "model-credentials" in str(pod_spec(FULL, stage))]

    assert seen == [Stage.PREPARE]


def test_only_prepare_sees_the_credentials_of_files_by_the_keys_that_it_reads() -> None:
    bucket = {"uri": "s3://rows/x", "credentials": {"secretName": "bucket"}}
    job = fine_tune_job(
        model={"uri": "s3://models/tiny", "credentials": {"secretName": "models"}},
        dataset={
            "train": [bucket, {"uri": "https://files/x", "credentials": {"secretName": "files"}}],
            "validation": {"sources": [bucket]},
        },
        evaluation={"questions": bucket, "glossary": bucket},
    )
    secrets = {
        stage: {
            volume["name"]: [item["key"] for item in volume["secret"]["items"]]
            for volume in pod_spec(job, stage)["volumes"]
            if "secret" in volume
        }
        for stage in Stage
    }

    keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "ca.crt"]
    names = ("model", "train-0", "validation-0", "questions", "glossary")
    assert secrets.pop(Stage.PREPARE) == {
        **{f"{name}-credentials": keys for name in names},
        "train-1-credentials": ["HTTPS_TOKEN", "HTTPS_USERNAME", "HTTPS_PASSWORD", "ca.crt"],
    }
    assert not any(secrets.values())


def test_rows_that_are_held_out_by_name_are_read_where_prepare_sees_them() -> None:
    kept_back = [{"configMap": {"name": "held", "key": "a.jsonl"}}, {"uri": "pvc://held/b.jsonl"}]
    job = fine_tune_job(dataset={"train": [{"uri": "pvc://rows/a"}], "validation": {"sources": kept_back}})
    found = job_config(Attempt(job, Stage.PREPARE, 1), config()).dataset
    mounts = pod_spec(job, Stage.PREPARE)["containers"][0]["volumeMounts"]

    assert [source.path for source in found.validation] == ["/inputs/validation-0/a.jsonl", "/claims/held/b.jsonl"]
    assert found.validation_split_percent == 0
    assert {"/inputs/validation-0", "/claims/held"} <= {mount["mountPath"] for mount in mounts}
    assert job_config(Attempt(SMALL, Stage.PREPARE, 1), config()).dataset.validation_split_percent == 10


def test_only_evaluate_sees_the_key_of_the_judge_and_knows_where_it_is() -> None:
    seen = [stage for stage in Stage if "judge-credentials" in str(pod_spec(FULL, stage))]
    (volume,) = (item for item in pod_spec(FULL, Stage.EVALUATE)["volumes"] if item["name"] == "judge-credentials")
    configs = {stage: job_config(Attempt(FULL, stage, 1), config()).evaluation for stage in Stage}

    assert seen == [Stage.EVALUATE]
    assert [item["key"] for item in volume["secret"]["items"]] == ["OPENAI_API_KEY", "ca.crt"]
    assert [stage for stage, found in configs.items() if found.judge or found.embeddings] == [Stage.EVALUATE]


def test_gpus_are_asked_for_by_training_and_evaluation_alone() -> None:
    asked = {
        stage: pod_spec(FULL, stage)["containers"][0]["resources"].get("limits", {}).get("nvidia.com/gpu")
        for stage in Stage
    }

    assert asked == {Stage.PREPARE: None, Stage.TRAIN: "4", Stage.EVALUATE: "4", Stage.PUBLISH: None}


def test_a_retained_workspace_has_no_owner_and_the_users_claim_is_never_made() -> None:
    retained = workspace_claim(fine_tune_job(storage={"workspace": {"deletionPolicy": "Retain"}}), config())

    assert retained is not None
    assert "ownerReferences" not in retained["metadata"]
    assert workspace_claim(FULL, config()) is None


def test_host_names_of_the_longest_job_fit() -> None:
    job = fine_tune_job(name="a" * 40)
    names = {stage: stage_job(Attempt(job, stage, 999), config())["metadata"]["name"] for stage in Stage}

    assert len(f"{names[Stage.TRAIN]}-1023") <= 63
    # the Job controller labels pods with the Job's name
    assert max(map(len, names.values())) <= 63


@pytest.mark.parametrize(
    ("claims", "mounted"),
    [
        pytest.param({}, {"model-cache": "models"}, id="a claim of its own"),
        pytest.param({"workspace": {"claimName": "models"}}, {"workspace": "models"}, id="the workspace's claim"),
        pytest.param({"dataset": "models"}, {"claim-0": "models"}, id="the data set's claim"),
    ],
)
def test_the_model_cache_is_written_by_prepare_and_read_by_those_that_use_the_model(
    claims: dict[str, Any], mounted: dict[str, str]
) -> None:
    rows = {"uri": f"pvc://{claims.get('dataset', 'rows')}/a.jsonl"}
    workspace = {"workspace": claims["workspace"]} if "workspace" in claims else {}
    storage = {**workspace, "modelCache": {"claimName": "models"}}
    job = fine_tune_job(model={"uri": "hf://org/model"}, dataset={"train": [rows]}, storage=storage)
    seen = {stage: _mounted_at(pod_spec(job, stage), "/model-cache") for stage in Stage}

    assert seen == {
        Stage.PREPARE: (mounted, False),
        Stage.TRAIN: ({"workspace": "models"} if workspace else {"model-cache": "models"}, True),
        Stage.EVALUATE: ({"workspace": "models"} if workspace else {"model-cache": "models"}, True),
        Stage.PUBLISH: None,
    }


def test_only_prepare_mounts_a_cache_for_files_alone() -> None:
    storage = {"modelCache": {"claimName": "shared"}}
    job = fine_tune_job(dataset={"train": [{"uri": "s3://rows/a.jsonl"}]}, storage=storage)
    caches = {}
    for stage in Stage:
        found = job_config(Attempt(job, stage, 1, "run-1"), config())
        caches[stage] = (found.model.cache, found.dataset.cache)

    assert [stage for stage in Stage if _mounted_at(pod_spec(job, stage), "/model-cache")] == [Stage.PREPARE]
    assert caches == {**dict.fromkeys(Stage, ("", "")), Stage.PREPARE: ("/model-cache", "/model-cache")}


def _mounted_at(spec: dict[str, Any], path: str) -> tuple[dict[str, str], bool] | None:
    """The volume and its claim that a pod sees at a path, and whether it is read-only there."""
    mount = next((item for item in spec["containers"][0]["volumeMounts"] if item["mountPath"] == path), None)
    if mount is None:
        return None
    sources = {item["name"]: item.get("persistentVolumeClaim", {}) for item in spec["volumes"]}
    source = sources[mount["name"]]
    read_only = bool(mount.get("readOnly") or source.get("readOnly"))
    return {mount["name"]: source["claimName"]}, read_only


def test_a_trainer_of_the_users_own_sees_no_credentials_and_changes_no_other_stage() -> None:
    with_secret = [stage for stage in Stage if "tracking-credentials" in str(pod_spec(OWN_TRAINER, stage))]
    images = {stage: pod_spec(OWN_TRAINER, stage)["containers"][0]["image"] for stage in Stage}

    assert with_secret == [Stage.PREPARE, Stage.PUBLISH]
    assert [stage for stage in Stage if "supervisor" in str(pod_spec(OWN_TRAINER, stage))] == [Stage.TRAIN]
    assert images[Stage.TRAIN] == "example.org/axolotl:1"
    assert images[Stage.EVALUATE] == "example.org/trainer:1"


def test_without_an_image_the_operators_own_runs_the_command() -> None:
    job = fine_tune_job(trainer={"command": ["torchrun", "train.py"]})
    spec = pod_spec(job, Stage.TRAIN)

    assert spec["containers"][0]["image"] == "example.org/trainer:1"
    assert "command" not in spec["containers"][0]
    assert "initContainers" not in spec


@pytest.mark.parametrize("stage", Stage)
def test_no_volume_of_a_stage_has_a_name_that_a_users_volume_may_have(stage: Stage) -> None:
    secret = {"credentials": {"secretName": "keys"}}
    held_out = {"uri": "s3://rows/held-out.jsonl", **secret}
    job = fine_tune_job(
        dataset={"train": [{"uri": "s3://rows/a.jsonl", **secret}], "validation": {"sources": [held_out]}},
        evaluation={"questions": held_out, "glossary": {"configMap": {"name": "words", "key": "glossary.yaml"}}},
    )
    names = {volume["name"] for one in (job, FULL) for volume in pod_spec(one, stage)["volumes"]}
    allowed = TypeAdapter(VolumeName)

    for name in names:
        with pytest.raises(ValueError, match="does not use itself"):
            allowed.validate_python(name)
