"""Jobs for the command line to show, as an API server returns them."""

from __future__ import annotations

from typing import Any

from support.apiserver import MERGE_PATCH, ApiServer
from support.finetunejobs import Json, both, finetunejob

NOW = "2026-01-02T04:00:00+00:00"
CREATED = "2026-01-02T03:00:00Z"


def condition(kind: str, status: str, reason: str) -> Json:
    """A condition as it is stored."""
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": CREATED}


def job(name: str, status: Json, **spec: Any) -> Json:
    """A job with a status."""
    defaults = {"method": {"type": "LoRA"}, "objective": "SFT", "compute": {"pods": 1, "gpusPerPod": 1}}
    made = finetunejob(name, both(defaults, spec))
    made["metadata"] |= {"namespace": "demo", "uid": f"uid-{name}", "creationTimestamp": CREATED, "generation": 1}
    return {**made, "status": status}


TRAINING_STATUS: Json = {
    "state": "Training",
    "reason": "Training",
    "startTime": "2026-01-02T03:10:00Z",
    "conditions": [condition("Accepted", "True", "Accepted")],
    "stages": [
        {
            "name": "Prepare", "state": "Succeeded", "attempt": 1, "reason": "StageSucceeded",
            "startTime": "2026-01-02T03:10:00Z", "completionTime": "2026-01-02T03:10:40Z",
        },
        {"name": "Train", "state": "Running", "attempt": 2, "startTime": "2026-01-02T03:11:00Z", "reason": "Training"},
    ],
    "progress": {
        "step": 120, "totalSteps": 300, "percent": 40, "loss": "0.412", "evalLoss": "0.48", "etaSeconds": 540,
        "tokensPerSecond": 15_300,
    },
    "dataset": {
        "rows": 812, "dropped": 9, "duplicates": 14, "train": 720, "validation": 78, "tokens": 102_400,
        "problems": [
            {
                "code": "LongRow", "severity": "Warning", "count": 2, "advice": "Shorten it.",
                "firstRows": ["train.jsonl line 7", "train.jsonl line 19"],
            }
        ],
        "readiness": {"verdict": "MendFirst", "reasons": ["20 rows contradict another"]},
    },
    "plan": {
        "summary": "LoRA rank 16 over 8 GPUs",
        "values": [{"name": "learningRate", "value": "2e-4", "reason": "usual for LoRA"}],
    },
    "mlflow": {"url": "https://mlflow.example.org/#/experiments/3/runs/abc", "runID": "abc"},
}  # fmt: skip
BROKEN_STATUS: Json = {
    "state": "Failed",
    "reason": "DatasetSchema",
    "message": "ConfigMap rows, key train.jsonl, line 7: a message has an unknown role",
    "startTime": "2026-01-02T03:10:00Z",
    "completionTime": "2026-01-02T03:10:20Z",
    "conditions": [condition("Failed", "True", "DatasetSchema")],
    "failure": {
        "stage": "Prepare",
        "code": "DatasetSchema",
        "message": "ConfigMap rows, key train.jsonl, line 7: a message has an unknown role",
        "advice": "Use system, user, assistant or tool.",
        "evidence": "train.jsonl line 7",
    },
}
TRAINING = job("hr-bot", TRAINING_STATUS, compute={"pods": 2, "gpusPerPod": 4})
BROKEN = job("hr-bot-broken", BROKEN_STATUS)


class StoredJobs:
    """Jobs of one namespace whose status the test writes."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server = server
        self._path = f"/apis/vernacular.dev/v1alpha1/namespaces/{namespace}/finetunejobs"

    def make(self, name: str, status: Json | None = None, **spec: Any) -> None:
        self._server.request("POST", self._path, finetunejob(name, spec))
        if status is not None:
            self.report(name, status)

    def report(self, name: str, status: Json) -> None:
        self._server.request("PATCH", f"{self._path}/{name}/status", {"status": status}, MERGE_PATCH)

    def read(self, name: str) -> Json:
        return self._server.request("GET", f"{self._path}/{name}")

    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self._server.request("GET", self._path)["items"]]

    def delete(self, name: str) -> None:
        self._server.request("DELETE", f"{self._path}/{name}")
