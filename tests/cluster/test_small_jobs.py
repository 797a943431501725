"""Small jobs on real pods: strategies over two pods, jobs at once, suspend and resume, MLflow and GPUs away."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from demo import install
from demo.follow import follow
from demo.install import OPERATOR_NAMESPACE
from demo.shell import DemoError, Shell
from demo.target import Target
from support.tiny_model import build_tiny_model

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = [
    {"messages": [{"role": "user", "content": f"where is room {i}"}, {"role": "assistant", "content": f"floor {i}"}]}
    for i in range(40)
]
SHARED = {"workspace": {"size": "1Gi", "storageClassName": "shared", "accessMode": "ReadWriteMany"}}


@pytest.fixture(scope="module")
def prepared(target: Target, shell: Shell, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A namespace with a tiny model on the claim `tiny` and rows in the ConfigMap `rows`."""
    model = build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    install.ensure_model_claim(target, namespace, Path(model), claim="tiny")
    data = {"train.jsonl": "\n".join(json.dumps(row) for row in ROWS)}
    shell.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": data}, namespace)
    return namespace


def apply_job(shell: Shell, namespace: str, name: str, **spec: Any) -> None:
    base = {
        "model": {"uri": "pvc://tiny/tiny"},
        "dataset": {"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]},
        "storage": SHARED,
        "training": {"epochs": 1},
    }
    manifest = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}}
    shell.apply({**manifest, "spec": {**base, **spec}}, namespace)


def wait_until(shell: Shell, namespace: str, name: str, timeout: float, **expected: Any) -> dict[str, Any]:
    """Poll the resource's status until the named fields have the named values."""
    deadline = time.monotonic() + timeout
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        status = (shell.get("finetunejob", name, namespace) or {}).get("status", {})
        if all(status.get(key) == value for key, value in expected.items()):
            return status
        time.sleep(0.5)
    raise DemoError(f"{name} did not reach {expected} within {timeout} s: {json.dumps(status, indent=1)}")


def wait_for_step(shell: Shell, namespace: str, name: str, step: int, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = (shell.get("finetunejob", name, namespace) or {}).get("status", {})
        if status.get("progress", {}).get("step", 0) >= step:
            return
        assert status.get("state") not in ("Succeeded", "Failed"), status
        time.sleep(0.5)
    raise DemoError(f"{name} did not reach step {step} within {timeout} s")


def metric_steps(target: Target, run_id: str, key: str) -> list[int]:
    url = f"{target.mlflow_url}/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key={key}&max_results=25000"
    with urllib.request.urlopen(url, timeout=30) as response:
        return [point["step"] for point in json.load(response)["metrics"]]


def test_two_jobs_at_once_with_other_methods_and_strategies(shell: Shell, prepared: str) -> None:
    two_pods = {"pods": 2, "gpusPerPod": 0}
    apply_job(shell, prepared, "lora-ddp", compute={**two_pods, "strategy": "DDP"})
    apply_job(shell, prepared, "full-zero3", compute={**two_pods, "strategy": "ZeRO3"}, method={"type": "Full"})

    for name in ("lora-ddp", "full-zero3"):
        job = follow(shell, name, prepared, timeout=300)
        assert job["status"]["state"] == "Succeeded", job["status"].get("failure")


def test_suspended_training_saves_and_continues_at_its_step(target: Target, shell: Shell, prepared: str) -> None:
    apply_job(shell, prepared, "pause", compute={"pods": 1, "gpusPerPod": 0}, training={"maxSteps": 1500})
    wait_for_step(shell, prepared, "pause", 5)
    shell.kubectl(
        "patch", "ftj", "pause", "-n", prepared, "--type=merge", "-p", '{"spec":{"runPolicy":{"suspend":true}}}'
    )
    wait_until(shell, prepared, "pause", 90, state="Suspended")
    pods = json.loads(shell.kubectl("get", "pods", "-n", prepared, "-l", "vernacular.dev/job-name=pause", "-o", "json"))

    assert [p["metadata"]["name"] for p in pods["items"] if p["status"]["phase"] in ("Pending", "Running")] == []

    shell.kubectl(
        "patch", "ftj", "pause", "-n", prepared, "--type=merge", "-p", '{"spec":{"runPolicy":{"suspend":false}}}'
    )
    status = follow(shell, "pause", prepared, timeout=240)["status"]
    steps = metric_steps(target, status["mlflow"]["runID"], "train/loss")

    assert status["state"] == "Succeeded", status.get("failure")
    assert status["checkpoints"]["resumedFromStep"] >= 5
    assert steps == sorted(set(steps))


def test_training_goes_on_while_mlflow_is_away_and_nothing_is_lost(target: Target, shell: Shell, prepared: str) -> None:
    apply_job(shell, prepared, "outage", compute={"pods": 1, "gpusPerPod": 0}, training={"maxSteps": 150})
    wait_until(shell, prepared, "outage", 120, state="Training")
    shell.kubectl("scale", "deploy/vernacular-mlflow", "-n", OPERATOR_NAMESPACE, "--replicas=0")
    try:
        wait_until(shell, prepared, "outage", 180, state="Publishing")
    finally:
        shell.kubectl("scale", "deploy/vernacular-mlflow", "-n", OPERATOR_NAMESPACE, "--replicas=1")
    shell.kubectl("rollout", "status", "deploy/vernacular-mlflow", "-n", OPERATOR_NAMESPACE, "--timeout=120s")
    status = follow(shell, "outage", prepared, timeout=240)["status"]

    assert status["state"] == "Succeeded", status.get("failure")
    assert metric_steps(target, status["mlflow"]["runID"], "train/loss") == list(range(1, 151))


def test_job_waits_and_says_so_when_mlflow_is_away_at_the_start(shell: Shell, prepared: str) -> None:
    shell.kubectl("scale", "deploy/vernacular-mlflow", "-n", OPERATOR_NAMESPACE, "--replicas=0")
    try:
        shell.kubectl(
            "wait",
            "pod",
            "-n",
            OPERATOR_NAMESPACE,
            "-l",
            "app.kubernetes.io/component=mlflow",
            "--for=delete",
            "--timeout=60s",
        )
        apply_job(shell, prepared, "early", compute={"pods": 1, "gpusPerPod": 0})
        status = wait_until(shell, prepared, "early", 120, reason="TrackingUnavailable")
    finally:
        shell.kubectl("scale", "deploy/vernacular-mlflow", "-n", OPERATOR_NAMESPACE, "--replicas=1")

    assert "MLflow" in status["message"]
    assert follow(shell, "early", prepared, timeout=300)["status"]["state"] == "Succeeded"


@pytest.fixture
def promised_gpus(shell: Shell) -> Any:
    """Nodes that promise two GPUs each, as a misconfigured device plugin does: none is visible in a pod."""
    path = "/status/capacity/nvidia.com~1gpu"
    for node in ("node-1", "node-2"):
        patch = json.dumps([{"op": "add", "path": path, "value": "2"}])
        shell.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)
    yield
    for node in ("node-1", "node-2"):
        patch = json.dumps([{"op": "remove", "path": path}])
        shell.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)


def test_fewer_visible_devices_than_asked_for_is_a_world_size_mismatch(
    shell: Shell, prepared: str, promised_gpus: None
) -> None:
    apply_job(shell, prepared, "gpus", compute={"pods": 1, "gpusPerPod": 2})
    status = follow(shell, "gpus", prepared, timeout=180)["status"]

    assert (status["state"], status["failure"]["code"]) == ("Failed", "WorldSizeMismatch")
    assert status["usage"]["restarts"] == 0
