"""Every constraint of the spec: values that a real API server accepts, values that it refuses, and with which text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.apiserver import ApiError, ApiServer
from support.crd_cases import Accepted, Case, Refused, accepts, choice, integer, leaves, messages, refuses, text
from support.finetunejobs import at, both, finetunejob
from support.pod_override_cases import POD_OVERRIDES
from vernacular.api import FineTuneJob
from vernacular.api.crd import FINE_TUNE_JOB, structural_schema
from vernacular.cli.validation import check_job, job_schema
from vernacular.cli.yamlfile import documents

pytestmark = pytest.mark.integration

JOBS = "/apis/vernacular.dev/v1alpha1/namespaces/default/finetunejobs?dryRun=All&fieldValidation=Strict"


def file_source(field: str, wrap: Any) -> list[Case]:
    """A field that is a ConfigMap's key or a file on a claim; `wrap` makes its value from the reference."""
    one = "write exactly one of configMap and uri"
    claim_path = "must be pvc://CLAIM/PATH/FILE"
    bucket, hub = {"uri": "s3://rows/2026/a b.jsonl"}, {"uri": "hf://acme/rows/data/train.jsonl"}
    endpoint, for_buckets = (
        "must be an address like https://minio.example.com:9000",
        "credentials are for files of servers",
    )
    run_file = {"uri": f"mlflow://runs/{'0a' * 16}/reports/collect-next.jsonl"}
    web = {"uri": "https://files.example.com:8443/hr/a%20b~1.jsonl"}
    key, name = "must be a key of the ConfigMap", "must be the name of an object in this namespace"

    def config_map(**changes: Any) -> dict[str, Any]:
        return {"configMap": {"name": "rows", "key": "a.jsonl", **changes}}

    def plain(source: Any) -> Any:
        return at(field, wrap(source))

    return [
        Accepted(f"{field}.configMap", plain(config_map())),
        Accepted(f"{field}.configMap.name", plain(config_map(name="a.b-c"))),
        Accepted(f"{field}.configMap.key", plain(config_map(key="_A-b.jsonl"))),
        Accepted(f"{field}.uri", plain({"uri": "pvc://hr-data/2026/Überblick 1.jsonl"})),
        Accepted(f"{field}.uri", plain({"uri": "pvc://d/..data/.hidden/x"})),
        Accepted(f"{field}.uri", plain(bucket)),
        Accepted(f"{field}.uri", plain(hub)),
        Accepted(f"{field}.uri", plain({"uri": "hf://acme/rows/a--b..c.git"})),
        Accepted(f"{field}.uri", plain(web)),
        Accepted(f"{field}.uri", plain(run_file)),
        Refused(
            f"{field}.credentials",
            plain({**run_file, "credentials": {"secretName": "a"}}),
            "files of runs are read with the login of tracking.mlflow.credentialsSecretName",
        ),
        Accepted(f"{field}.credentials", plain({**web, "credentials": {"secretName": "files"}})),
        Refused(f"{field}.revision", plain({**web, "revision": "v1"}), "revision belongs to hf:// data sets"),
        Refused(f"{field}.endpoint", plain({**web, "endpoint": "https://a"}), "endpoint is the address of"),
        Accepted(f"{field}.revision", plain({**hub, "revision": "refs/pr/1"})),
        Accepted(f"{field}.credentials", plain({**hub, "credentials": {"secretName": "hf-token"}})),
        Refused(f"{field}.revision", plain({**hub, "revision": "-x"}), "must be a branch, tag or commit"),
        Refused(f"{field}.revision", plain({**hub, "revision": "a" * 257}), "may not be more than 256"),
        Refused(f"{field}.revision", plain({**bucket, "revision": "v1"}), "revision belongs to hf:// data sets"),
        Accepted(f"{field}.endpoint", plain({**bucket, "endpoint": "http://minio.team:9000/s3"})),
        Accepted(f"{field}.credentials.secretName", plain({**bucket, "credentials": {"secretName": "bucket"}})),
        *(
            Refused(f"{field}.endpoint", plain({**bucket, "endpoint": address}), endpoint)
            for address in ("minio:9000", "https://user:key@minio", "ftp://minio", "https://a b")
        ),
        Refused(f"{field}.endpoint", plain({**bucket, "endpoint": "https://" + "a" * 505}), "may not be more than 512"),
        Refused(
            f"{field}.endpoint", plain({"uri": "pvc://d/x", "endpoint": "https://a"}), "endpoint is the address of"
        ),
        Refused(f"{field}.credentials", plain({**config_map(), "credentials": {"secretName": "a"}}), for_buckets),
        Refused(f"{field}.credentials", plain({"uri": "pvc://d/x", "credentials": {"secretName": "a"}}), for_buckets),
        Refused(f"{field}.credentials", plain({**bucket, "credentials": {}}), "secretName: Required value"),
        Refused(f"{field}.credentials.secretName", plain({**bucket, "credentials": {"secretName": "A"}}), name),
        Refused(field, plain({}), one),
        Refused(field, plain({**config_map(), "uri": "pvc://d/x.jsonl"}), one),
        Refused(f"{field}.configMap", plain({"configMap": {"name": "rows"}}), "configMap.key: Required value"),
        Refused(f"{field}.configMap.name", plain(config_map(name="Rows_1")), name),
        Refused(f"{field}.configMap.name", plain(config_map(name="")), "at least 1 chars long"),
        Refused(f"{field}.configMap.name", plain(config_map(name="a" * 254)), "may not be more than 253"),
        Refused(f"{field}.configMap.key", plain(config_map(key="a/b")), key),
        *(Refused(f"{field}.configMap.key", plain(config_map(key=dots)), key) for dots in (".", "..", "..a")),
        Refused(f"{field}.configMap.key", plain(config_map(key="a" * 254)), "may not be more than 253"),
        *(
            Refused(f"{field}.uri", plain({"uri": uri}), claim_path)
            for uri in (
                "pvc://data",
                "pvc://data/",
                "pvc://data/a/../b",
                "pvc://data/.",
                "hf://a",
                "hf://a/b/../c",
                "hf://datasets/a/b.jsonl",
                "/data/x",
                "pvc://A/x",
                "s3://rows",
                "s3://Rows/x",
                "s3://ab/x",
                "s3://rows//x",
                "s3://rows/a//x",
                "s3://rows/a/../x",
                "hf://acme/my--rows/a.jsonl",
                "hf://acme/rows.git/a.jsonl",
                "mlflow://runs/abc/a.jsonl",
                f"mlflow://runs/{'0a' * 16}",
                f"mlflow://runs/{'0a' * 16}/a/../b",
                "mlflow://hr-bot@champion",
                "http://files.example.com/a.jsonl",
                "https://files.example.com",
                "https://files.example.com/",
                "https://files.example.com/a/",
                "https://files.example.com//a",
                "https://files.example.com/a?token=b",
                "https://files.example.com/a#b",
                "https://user:key@files.example.com/a",
                "https://files.example.com:0/a",
                "https://FILES.example.com/a",
                "https://[::1]/a",
            )
        ),
        Refused(f"{field}.uri", plain({"uri": "pvc://d/" + "a" * 1017}), "may not be more than 1024"),
    ]


def beside_rows(share: Any) -> dict[str, Any]:
    """A spec in which a second source has a share."""
    return at("dataset.train", [{"uri": "pvc://d/x"}, {"uri": "hf://acme/rows", "sharePercent": share}])


MODEL_URI = (
    "must be pvc://CLAIM/PATH (a model folder on a PersistentVolumeClaim of this namespace), hf://ORGANISATION/MODEL or"
    " s3://BUCKET/PATH (a model folder in a bucket)"
)
OBJECT_NAME = "must be the name of an object in this namespace"
ON_CLAIM = at("model.uri", "pvc://models/base")
IN_BUCKET = at("model.uri", "s3://models/base")
ON_CPU = at("compute.gpusPerPod", 0)
FOUR_BITS = {"method": {"type": "QLoRA"}}
TRACKING_NAME = "must start with a letter or digit, followed by letters, digits, spaces, '.', '_' and '-'"
ALIAS = "must consist of letters, digits, '_' and '-'; MLflow keeps 'latest' and names like 'v3' for itself"
LEARNING_RATE = 'must be a decimal number above 0 and at most 1, in quotes, like "2e-4"'
WEIGHT_DECAY = 'must be a decimal number from 0 to 1, in quotes, like "0.01"'
MAX_GRAD_NORM = 'must be a decimal number above 0, in quotes, like "1.0"'
MIN_DELTA = 'must be a decimal number from 0 to 10, in quotes, like "0.001"'
TAGS = "tag names consist of letters, digits, spaces, '_', '.', '/' and '-'; vernacular.dev/ and mlflow. are kept"
CLAIM_NAME = (
    "claimName uses a claim that exists; remove it, or remove size, storageClassName, accessMode and deletionPolicy"
)
WORKSPACE = "storage.workspace"
LORA = "method.lora"

CLUSTER_OBJECT = "must be the name of an object of the cluster: lower-case letters, digits, '-' and '.'"
MODEL: list[Case] = [
    *text("runtimeRef.name", 253, ("h100", "a.b-c"), ("H100", "a/b"), CLUSTER_OBJECT),
    *refuses("runtimeRef", "runtimeRef.name: Required value", {}),
    *text(
        "model.uri",
        1024,
        (
            *("pvc://models/smollm2-135m-instruct", "pvc://m/a/b/", "pvc://m.n/.cache/x"),
            *(f"hf://a_b.c-d/{'x' * 96}", "s3://bucket/a..b/.c/...", "s3://bucket/a--b"),
            *("hf://HuggingFaceTB/SmolLM2-1.7B", "s3://bucket/model", "s3://bucket/models/7b/", "s3://bucket/"),
        ),
        (
            "",
            "model",
            "s3://bucket",
            "s3://b/model",
            "hf://gpt2",
            "hf://a/b/c",
            *("hf://acme/my--model", "hf://a..b/c", "hf://acme/x.git", "hf://acme/x.", "hf://acme/x-", "hf://-a/b"),
            f"hf://acme/{'x' * 97}",
            *("s3://bucket/a//b", "s3://bucket/a/../b", "s3://bucket/./b", "s3://bucket/a/.."),
            "pvc://models",
            "pvc://m/../x",
            "https://a/b",
        ),
        "spec.model.uri",
    ),
    *refuses("model.uri", MODEL_URI, "hf://gpt2"),
    *text("model.revision", 256, ("main", "refs/pr/1", "a1b2c3"), ("-x", "a b"), "must be a branch, tag or commit"),
    *refuses("model.revision", "revision belongs to hf:// models; remove it", "main", given=ON_CLAIM),
    *text("model.credentials.secretName", 253, ("hf-token", "a.b"), ("HF_TOKEN", "a..b", "a.-b"), OBJECT_NAME),
    *refuses("model.credentials", "secretName: Required value", {}),
    *refuses("model.credentials", "credentials are for hf:// and s3:// models", {"secretName": "a"}, given=ON_CLAIM),
    *text(
        "model.endpoint",
        512,
        ("https://minio:9000",),
        ("minio", "https://a:b@c"),
        "must be an address",
        given=IN_BUCKET,
    ),
    *refuses("model.endpoint", "endpoint is the address of an s3:// server", "https://a", given=ON_CLAIM),
    *accepts("model.credentials", {"secretName": "hf-token"}),
    *refuses("model", "spec.model: Required value", None),
    *refuses("model", "must be of type object", "hf://org/model"),
    *accepts("model", {"uri": "pvc://models/base"}),
]
DATASET: list[Case] = [
    *choice("dataset.teaches", "Facts", "Skill"),
    *integer("dataset.validation.splitPercent", 0, 50),
    *refuses(
        "dataset.validation",
        "sources are the rows that are kept back; remove splitPercent, or sources",
        {"splitPercent": 10, "sources": [{"uri": "pvc://d/x"}]},
    ),
    *refuses("dataset.validation.sources", "should have at least 1 items", []),
    *refuses("dataset.validation.sources", "must have at most 8 items", [{"uri": "pvc://d/x"}] * 9),
    *accepts("dataset.train", [{"uri": "pvc://d/x"}] * 16),
    *refuses("dataset.train", "must have at most 16 items", [{"uri": "pvc://d/x"}] * 17),
    *refuses("dataset.train", "should have at least 1 items", []),
    *refuses("dataset.train", "must be of type array", "pvc://d/x"),
    *refuses("dataset", "spec.dataset.train: Required value", {"train": None}),
    *file_source("dataset.train", lambda source: [source]),
    *file_source("dataset.validation.sources", lambda source: [source]),
    *accepts("dataset.train", [{"uri": "s3://rows/2026/"}], [{"uri": "s3://rows/"}], [{"uri": "hf://acme/rows"}]),
    *accepts("dataset.train", [{"uri": "hf://acme/rows/main/"}], [{"uri": "hf://acme/rows/"}]),
    *refuses("evaluation.questions", "this is one file; a folder, which ends with '/'", {"uri": "s3://rows/2026/"}),
    *refuses("evaluation.questions", "this is one file", {"uri": "hf://acme/rows"}, {"uri": "hf://acme/rows/"}),
    *refuses("evaluation.glossary", "this is one file; a folder, which ends with '/'", {"uri": "s3://rows/"}),
    *(Accepted("dataset.train.sharePercent", beside_rows(share)) for share in (1, 99)),
    Refused("dataset.train.sharePercent", beside_rows(0), "should be greater than or equal to 1"),
    Refused("dataset.train.sharePercent", beside_rows(100), "should be less than or equal to 99"),
    Refused("dataset.train.sharePercent", beside_rows("9"), "must be of type integer"),
    *refuses("dataset.train", "at least one source has no sharePercent", [{"uri": "pvc://d/x", "sharePercent": 10}]),
    *refuses(
        "dataset.train",
        "all sharePercent together must stay below 100",
        [{"uri": "pvc://d/x"}, *[{"uri": "hf://acme/rows", "sharePercent": 50}] * 2],
    ),
    *choice("dataset.format", "Auto", "Messages", "PromptCompletion", "Instruction"),
    *accepts("dataset.format", "Conversations", "Text", "Preference"),
    *accepts("dataset.columns", {}, {"frage": "question", "antwort": "answer"}, {"Frage 1": "messages", "": "tools"}),
    *refuses("dataset.columns", "a column stands for one of messages, tools, prompt", {"a": "best"}, {"a": ""}),
    *refuses("dataset.columns", "two columns cannot stand for the same name", {"a": "prompt", "b": "prompt"}),
    *refuses("dataset.columns", "must have at most 16 items", {f"k{i}": "text" for i in range(17)}),
    *refuses("dataset.columns", "may not be more than 32", {"a": "t" * 33}),
    *refuses("dataset.columns", "must be of type string", {"a": 1}),
    *accepts("dataset.systemPrompt", "Be brief.", "ä" * 8192),
    *refuses("dataset.systemPrompt", "at least 1 chars long", ""),
    *refuses("dataset.systemPrompt", "may not be more than 8192", "a" * 8193),
    *refuses("dataset.systemPrompt", "must be of type string", 7),
    *file_source("dataset.chatTemplate", lambda source: source),
    *refuses("dataset.chatTemplate", "this is one file; a folder, which ends with '/'", {"uri": "s3://rows/"}),
    *choice("dataset.duplicates", "Report", "DropExact", "DropNear"),
    *choice("dataset.personalData", "Report", "Redact", "Fail"),
    *integer("dataset.maxBadRowsPercent", 0, 100),
]
METHOD: list[Case] = [
    *choice("objective", "SFT", "DPO"),
    *text(
        "dpo.beta",
        32,
        ("0.1", "10", "1e-2"),
        ("0", "-1", "10.1", "x"),
        "must be a decimal number above 0, at most 10",
        given={"objective": "DPO"},
    ),
    *refuses("dpo", "dpo is for objective: DPO", {}, {"beta": "0.1"}),
    *refuses("training.loss", "training.loss AllTokens does not go with", "AllTokens", given={"objective": "DPO"}),
    *refuses("trainer.command", "a trainer of your own has its own objective", ["a"], given={"objective": "DPO"}),
    *choice("method.type", "LoRA", "QLoRA", "Full"),
    *accepts("method", {"type": "QLoRA", "lora": {"rank": 8}}),
    *integer(f"{LORA}.rank", 1, 1024),
    *integer(f"{LORA}.alpha", 1, 4096),
    *integer(f"{LORA}.dropoutPercent", 0, 90),
    *accepts(f"{LORA}.targetModules", ["all-linear"], ["q_proj"] * 64, ["layers.0.mlp"]),
    *refuses(
        f"{LORA}.targetModules", 'must be the name of a module of the model, like "q_proj", or "all-linear"', ["a b"]
    ),
    *refuses(f"{LORA}.targetModules", "must have at most 64 items", ["q_proj"] * 65),
    *refuses(f"{LORA}.targetModules", "should have at least 1 items", []),
    *refuses(f"{LORA}.targetModules", "may not be more than 128", ["a" * 129]),
    *choice(f"{LORA}.variant", "Standard", "RSLoRA", "DoRA"),
    *refuses(
        "method", "lora is the shape of an adapter; remove it, or set type: LoRA", {"type": "Full", "lora": {"rank": 8}}
    ),
]
TRAINING: list[Case] = [
    *integer("training.epochs", 1, 1000),
    *integer("training.maxSteps", 1, 10_000_000),
    *refuses("training", "write epochs or maxSteps, not both", {"epochs": 1, "maxSteps": 10}),
    *text(
        "training.learningRate",
        32,
        ("2e-4", "1", "0.00001", "5E-05"),
        ("0", "1.01", "-1", "2e", "0,1", "1e+0"),
        LEARNING_RATE,
    ),
    *integer("training.effectiveBatchSize", 1, 65536),
    *integer("training.microBatchSize", 1, 4096),
    *refuses(
        "training",
        "microBatchSize is a part of effectiveBatchSize and cannot be larger",
        {"microBatchSize": 8, "effectiveBatchSize": 4},
    ),
    *accepts("training", {"microBatchSize": 8, "effectiveBatchSize": 8}, {}),
    *integer("training.maxSequenceLength", 16, 1_048_576),
    *choice("training.precision", "Auto", "BF16", "FP16", "FP32"),
    *choice("training.scheduler", "Cosine", "Linear", "Constant"),
    *integer("training.warmupPercent", 0, 100),
    *text("training.weightDecay", 32, ("0", "0.0", "1"), ("1.1", "-0.1", "x", ".1"), WEIGHT_DECAY),
    *text("training.maxGradNorm", 32, ("1.0", "0.3", "100"), ("0", "0.0", "-1", "inf"), MAX_GRAD_NORM),
    *integer("training.seed", 0, 2**31 - 1),
    *choice("training.loss", "AnswersOnly", "AllTokens"),
    *choice("training.gradientCheckpointing", "Auto", "On", "Off"),
    *choice("training.packing", "Auto", "Off"),
    *integer("training.evaluateEverySteps", 1, 10_000_000),
    *choice("training.optimizer", "Auto", "AdamW", "AdamW8bit", "PagedAdamW8bit"),
    *accepts("training.extraArguments", {}, {"neftune_noise_alpha": "5"}, {f"a{i}": "v" * 64 for i in range(16)}),
    *refuses("training.extraArguments", "names are those of transformers.TrainingArguments", {"Adam": "1"}, {"": "1"}),
    *refuses("training.extraArguments", "must have at most 16 items", {f"a{i}": "v" for i in range(17)}),
    *refuses("training.extraArguments", "must be of type string", {"neftune_noise_alpha": 5}),
    *choice("training.keep", "Best", "Last"),
    *integer("training.earlyStopping.patience", 1, 1000),
    *text("training.earlyStopping.minDelta", 32, ("0", "0.001", "1e-3", "10"), ("10.1", "-0.1", "x"), MIN_DELTA),
    *accepts("training.earlyStopping", {}),
    *integer("checkpoints.everySteps", 1, 10_000_000),
    *integer("checkpoints.keep", 1, 100),
    *integer("checkpoints.gracePeriodSeconds", 30, 86_400),
]
COMPUTE: list[Case] = [
    *refuses("compute.strategy", "ZeRO3 cannot divide the four-bit weights of QLoRA", "ZeRO3", given=FOUR_BITS),
    *accepts("compute.strategy", "DDP", "ZeRO1", "ZeRO2", given=FOUR_BITS),
    *accepts("compute.offload", "None"),
    *accepts("compute.offload", "Optimizer", "OptimizerAndParameters", given=at("compute.strategy", "ZeRO3")),
    *accepts("compute.offload", "Optimizer", given=at("compute.strategy", "ZeRO1")),
    *refuses("compute.offload", "Unsupported value", "CPU"),
    *refuses("compute", "offload is DeepSpeed's; write strategy ZeRO3", {"offload": "Optimizer"}),
    *refuses(
        "compute",
        "or with offload Optimizer ZeRO1 or ZeRO2",
        {"offload": "OptimizerAndParameters", "strategy": "ZeRO2"},
    ),
    *integer("compute.pods", 1, 1024),
    *integer("compute.gpusPerPod", 0, 64),
    *integer("compute.cpuProcessesPerPod", 1, 64, given=ON_CPU),
    *refuses(
        "compute", "cpuProcessesPerPod is for training without GPUs; set gpusPerPod: 0", {"cpuProcessesPerPod": 2}
    ),
    *refuses("compute", "cpuProcessesPerPod is for training without GPUs", {"cpuProcessesPerPod": 2, "gpusPerPod": 1}),
    *text(
        "compute.gpuResource",
        317,
        ("nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.5gb"),
        ("gpu", "nvidia.com/", "a/b/c"),
        "must be the name of an extended resource of the nodes, like nvidia.com/gpu",
    ),
    *choice("compute.strategy", "DDP", "ZeRO1", "ZeRO2", "ZeRO3"),
]
STORAGE: list[Case] = [
    *text(
        f"{WORKSPACE}.size",
        32,
        ("20Gi", "1", "1.5T"),
        ("0", "-1Gi", "20GiB", "big"),
        "must be a size above 0, like 20Gi",
    ),
    *text(f"{WORKSPACE}.storageClassName", 253, ("local", "gp3.eu"), ("Local_1",), OBJECT_NAME),
    *choice(f"{WORKSPACE}.accessMode", "ReadWriteOnce", "ReadWriteMany"),
    *choice(f"{WORKSPACE}.deletionPolicy", "Delete", "Retain"),
    *text("storage.modelCache.claimName", 253, ("models",), ("Models",), OBJECT_NAME),
    *refuses("storage.modelCache", "storage.modelCache.claimName: Required value", {}),
    *refuses(
        "storage",
        "modelCache is for models and rows of servers",
        {"modelCache": {"claimName": "models"}},
        given=ON_CLAIM,
    ),
    *accepts("storage", {"modelCache": {"claimName": "models"}}, given=both(ON_CLAIM, beside_rows(10))),
    *accepts("storage", {"modelCache": {"claimName": "models"}, "workspace": {"claimName": "mine"}}, given=IN_BUCKET),
    *refuses(
        "storage",
        "all jobs read modelCache, and training writes to workspace: name two claims",
        {"modelCache": {"claimName": "models"}, "workspace": {"claimName": "models"}},
        given=IN_BUCKET,
    ),
    *text(f"{WORKSPACE}.claimName", 253, ("my-claim",), ("My Claim",), OBJECT_NAME),
    *refuses(
        WORKSPACE,
        CLAIM_NAME,
        {"claimName": "c", "size": "1Gi"},
        {"claimName": "c", "storageClassName": "s"},
        {"claimName": "c", "accessMode": "ReadWriteMany"},
        {"claimName": "c", "deletionPolicy": "Retain"},
    ),
]
JUDGE = at("evaluation.judge", {"endpoint": "https://llm.example.com/v1", "model": "judge"})


def service(field: str) -> list[Case]:
    """A field that is a model behind a server."""
    whole = {"endpoint": "http://vllm.team:8000/v1", "model": "org/judge:1@x"}
    addresses = ("vllm:8000", "https://user:key@vllm/v1", "ftp://vllm", "https://vllm/v1?key=x")
    rest = at(field, whole)
    return [
        *accepts(field, whole, {**whole, "credentials": {"secretName": "judge-key"}}),
        *refuses(field, f"{field}.model: Required value", {"endpoint": "http://vllm"}),
        *refuses(field, f"{field}.endpoint: Required value", {"model": "a"}),
        *text(f"{field}.endpoint", 512, ("https://a/v1",), addresses, "must be an address like", given=rest),
        *text(
            f"{field}.model",
            256,
            ("gpt-x",),
            ("-a", "a\nb", "ä"),
            "must be the name of a model",
            given=rest,
        ),
        *refuses(f"{field}.credentials", "secretName: Required value", {}, given=rest),
        *text(f"{field}.credentials.secretName", 253, ("a.b",), ("A",), OBJECT_NAME, given=rest),
    ]


GATE = "a gate without a demand lets everything pass"
WANDB = "tracking.weightsAndBiases"
TRACKING: list[Case] = [
    *file_source("evaluation.questions", lambda source: source),
    *file_source("evaluation.glossary", lambda source: source),
    *text("tracking.mlflow.experiment", 128, ("hr-bot", "HR Bot 2.1_x"), ("a/b", "-a", "a:b", "ä"), TRACKING_NAME),
    *accepts("tracking.mlflow.tags", {}, {"team": "hr", "a/b c.d_e-f": ""}, {f"k{i}": "v" * 500 for i in range(32)}),
    *refuses(
        "tracking.mlflow.tags", TAGS, {"vernacular.dev/uid": "x"}, {"mlflow.runName": "x"}, {"a:b": "x"}, {"": "x"}
    ),
    *refuses("tracking.mlflow.tags", "must have at most 32 items", {f"k{i}": "v" for i in range(33)}),
    *refuses("tracking.mlflow.tags", "may not be more than 500", {"a": "v" * 501}),
    *refuses("tracking.mlflow.tags", "must be of type string", {"a": True}),
    *text("tracking.mlflow.credentialsSecretName", 253, ("mlflow",), ("ML_FLOW",), OBJECT_NAME),
    *choice("tracking.textInReports", "Full", "Masked", "None"),
    *text(f"{WANDB}.project", 128, ("hr", "HR Bot"), ("a/b",), TRACKING_NAME),
    *text(f"{WANDB}.entity", 128, ("team",), ("a/b",), TRACKING_NAME, given=at(f"{WANDB}.project", "hr")),
    *text(f"{WANDB}.secretName", 253, ("wandb",), ("W_B",), OBJECT_NAME, given=at(f"{WANDB}.project", "hr")),
    *choice(f"{WANDB}.mode", "Offline", "Online", given=at(WANDB, {"project": "hr", "secretName": "wandb"})),
    *accepts(WANDB, {"project": "hr"}, {"project": "hr", "mode": "Online", "secretName": "wandb"}),
    *refuses(WANDB, "mode Online needs secretName", {"project": "hr", "mode": "Online"}),
    *refuses(WANDB, "project: Required value", {"mode": "Offline"}),
    *text("publish.registeredModel", 128, ("hr-bot",), ("a/b", "a:1"), TRACKING_NAME),
    *integer("evaluation.gate.minCorrectPercent", 0, 100),
    *integer("evaluation.gate.maxWrongPercent", 0, 100),
    *integer("evaluation.gate.maxInventedPercent", 0, 100),
    *integer("evaluation.gate.minGainPoints", 0, 100),
    *integer("evaluation.gate.maxGeneralRegressionPercent", 0, 100),
    *choice("evaluation.gate.onMiss", "Hold", "FailJob", given=at("evaluation.gate.maxWrongPercent", 3)),
    *refuses("evaluation.gate", GATE, {}, {"onMiss": "FailJob"}),
    *service("evaluation.judge"),
    *service("evaluation.embeddings"),
    *integer("evaluation.judge.maxRequests", 2, 10_000, given=JUDGE),
    *choice("publish.promotion", "Manual", "Automatic"),
    *text(
        "publish.promotedAlias",
        128,
        ("champion", "prod_1"),
        ("latest", "v3"),
        ALIAS,
        given=at("publish.promotion", "Automatic"),
    ),
    *refuses("publish", "promotedAlias is for promotion: Automatic", {"promotedAlias": "champion"}),
    *refuses(
        "publish",
        "alias and promotedAlias are the same",
        {"promotion": "Automatic", "alias": "champion"},
        {"promotion": "Automatic", "alias": "a", "promotedAlias": "a"},
    ),
    *text("publish.alias", 128, ("candidate", "v3-rc", "V", "prod_1"), ("latest", "Latest", "v3", "V12", "a.b"), ALIAS),
]
COMMAND = ["torchrun", "train.py"]
WITH_COMMAND = at("trainer.command", COMMAND)
IMAGE = "must be the name of an image, like registry.example.com/vernacular/trainer:1.0"
TRAINER: list[Case] = [
    *accepts("trainer.command", COMMAND, ["a"] * 64, ["a", "", "$(B); `c` 'd'"]),
    *refuses("trainer.command", "the first entry of command is the program to start", ["", "a"]),
    *refuses("trainer.command", "must have at most 64 items", ["a"] * 65),
    *refuses("trainer.command", "should have at least 1 items", []),
    *refuses("trainer.command", "may not be more than 1024", ["a" * 1025]),
    *refuses("trainer", "trainer.command: Required value", {"image": "a:1"}),
    *text("trainer.image", 512, ("r.example.com:5000/a:1",), ("https://a", "a b"), IMAGE, given=WITH_COMMAND),
]
RUN_POLICY: list[Case] = [
    *accepts("runPolicy.suspend", True, False),
    *refuses("runPolicy.suspend", "must be of type boolean", "true", 1),
    *integer("runPolicy.maxRestarts", 0, 100),
    *integer("runPolicy.activeDeadlineSeconds", 0, 2**31 - 1),
    *integer("runPolicy.ttlSecondsAfterFinished", 0, 2**31 - 1),
    *integer("runPolicy.maxGpuHours", 0, 1_000_000),
    *choice("runPolicy.onOutOfMemory", "Repair", "Fail"),
]
CASES = [*MODEL, *DATASET, *METHOD, *TRAINING, *COMPUTE, *STORAGE, *TRACKING, *RUN_POLICY, *POD_OVERRIDES, *TRAINER]


def case_id(case: Case) -> str:
    return case.field


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case, Accepted)], ids=case_id)
def test_accepted_and_parsed_by_the_models(api_server: ApiServer, case: Accepted) -> None:
    stored = api_server.request("POST", JOBS, finetunejob(patch=case.patch))

    FineTuneJob.model_validate(stored)


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case, Refused)], ids=case_id)
def test_refused_with_a_message(api_server: ApiServer, case: Refused) -> None:
    with pytest.raises(ApiError) as refusal:
        api_server.request("POST", JOBS, finetunejob(patch=case.patch))

    assert refusal.value.status == 422
    assert case.says in refusal.value.message


def test_the_command_line_says_the_same_without_a_server() -> None:
    schema, said = job_schema(), set(messages(spec_schema()))
    wrong = []
    for case in CASES:
        (document,) = documents(json.dumps(finetunejob(patch=case.patch)))
        found = [problem.message for problem in check_job(document, schema)]
        if isinstance(case, Accepted):
            right = not found
        elif any(message.startswith(case.says) for message in said):
            right = any(message.startswith(case.says) for message in found)
        else:
            right = bool(found)
        if not right:
            wrong.append((case, found))

    assert wrong == []


def spec_schema() -> dict[str, Any]:
    schema: dict[str, Any] = structural_schema(FINE_TUNE_JOB)["properties"]["spec"]
    return schema


def test_every_field_has_both_kinds_of_cases() -> None:
    fields = set(leaves(spec_schema()))

    assert fields - {case.field for case in CASES if isinstance(case, Accepted)} == set()
    assert fields - {case.field for case in CASES if isinstance(case, Refused)} == set()


def test_every_rule_is_seen_to_refuse_something() -> None:
    seen = [case.says for case in CASES if isinstance(case, Refused)]
    silent = {message for message in messages(spec_schema()) if not any(message.startswith(says) for says in seen)}

    assert silent == set()
