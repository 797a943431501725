"""What the demo puts into a cluster: the chart, a namespace with the base model on a claim, the example."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.shell import REPOSITORY, DemoError, Shell
from demo.target import Target

OPERATOR_NAMESPACE = "vernacular"
RELEASE = "vernacular"
MODEL_NAME = "smollm2-135m-instruct"
MADE_BY_DEMO = {"vernacular.dev/demo": "true"}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def ensure_namespace(shell: Shell, name: str) -> None:
    """Create a namespace that enforces restricted pods; one that exists is left as it is."""
    if shell.get("namespace", name, "default") is None:
        labels = {**MADE_BY_DEMO, **RESTRICTED}
        shell.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def chart_values(target: Target) -> dict[str, Any]:
    """Values of the chart for this cluster: the images built here and a bundled MLflow."""
    bundled: dict[str, Any] = {"enabled": True, "image": target.images["mlflow"]}
    mlflow: dict[str, Any] = {"bundled": bundled}
    if target.mlflow_address:
        bundled["service"] = {"clusterIP": target.mlflow_address}
        mlflow["externalUrl"] = target.mlflow_url
    values = {"images": {name: target.images[name] for name in ("operator", "data", "trainer")}, "mlflow": mlflow}
    if target.mlflow_address:
        # both training pods run on this one machine: each takes half of its processors, or their threads fight
        cores = str(max(1, (os.cpu_count() or 1) // 2))
        values["config"] = {"resources": {"train": {"limits": {"cpu": cores}}}}
    return values


def install_chart(target: Target, more: Mapping[str, Any] | None = None) -> None:
    """`helm upgrade --install`, with `more` values beside those of this cluster, and wait until everything is ready.
    Raises DemoError with helm's reason.
    """
    values = {**chart_values(target), **(more or {})}
    ensure_namespace(target.shell, OPERATOR_NAMESPACE)
    target.shell.run(
        "helm", "upgrade", "--install", RELEASE, str(REPOSITORY / "charts/vernacular"), "-n", OPERATOR_NAMESPACE,
        "--values", "-", "--wait", "--timeout", "5m", stdin=json.dumps(values),
    )  # fmt: skip


def ensure_model_claim(target: Target, namespace: str, model: Path, claim: str = "models") -> None:
    """Put a model folder on a claim of the namespace; a claim that already holds the same is not touched."""
    shell = target.shell
    if shell.get("pvc", claim, namespace) is None:
        shell.apply(_claim(claim, target.shared_class), namespace)
    loader = f"{claim}-loader"
    shell.kubectl("delete", "pod", loader, "-n", namespace, "--ignore-not-found", "--grace-period=0", "--force")
    shell.apply(_loader_pod(loader, claim, target.images["data"]), namespace)
    try:
        shell.kubectl("wait", f"pod/{loader}", "-n", namespace, "--for=condition=Ready", "--timeout=120s")
        marker = f"/models/{model.name}/.complete-{_fingerprint(model)}"
        check = f"import pathlib; print(pathlib.Path({marker!r}).exists())"
        if shell.kubectl("exec", "-n", namespace, loader, "--", "python", "-c", check).strip() == "True":
            return
        receive = 'tar -x --no-same-owner -C /models -f - && touch "$0"'
        shell.kubectl("exec", "-i", "-n", namespace, loader, "--", "sh", "-c", receive, marker, stdin=_tar(model))
    finally:
        shell.kubectl("delete", "pod", loader, "-n", namespace, "--ignore-not-found", "--grace-period=0", "--force")


def apply_example(shell: Shell, example: Path, namespace: str) -> None:
    """`kubectl apply -k`, strictly: an unknown field is an error."""
    shell.kubectl("apply", "--validate=strict", "-n", namespace, "-k", str(example))


def allocatable_gpus(shell: Shell, resource: str = "nvidia.com/gpu") -> int:
    """How many GPUs the nodes of the cluster offer."""
    nodes = json.loads(shell.kubectl("get", "nodes", "-o", "json"))["items"]
    return sum(int(node["status"].get("allocatable", {}).get(resource, 0)) for node in nodes)


def uninstall(target: Target, namespaces: list[str]) -> None:
    """Remove the release and every namespace that the demo made; a namespace made by somebody else stays."""
    shell = target.shell
    for namespace in namespaces:
        found = shell.get("namespace", namespace, "default")
        if found and found["metadata"].get("labels", {}).get("vernacular.dev/demo") == "true":
            shell.kubectl("delete", "finetunejobs", "--all", "-n", namespace, "--ignore-not-found")
            shell.kubectl("delete", "namespace", namespace)
    try:
        shell.run("helm", "uninstall", RELEASE, "-n", OPERATOR_NAMESPACE, "--wait", "--ignore-not-found")
    except DemoError as error:
        if "not found" not in str(error):
            raise
    shell.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found")


def _claim(name: str, storage_class: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "2Gi"}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _loader_pod(name: str, claim: str, image: str) -> dict[str, Any]:
    container = {
        "name": "loader",
        "image": image,
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": claim}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _fingerprint(folder: Path) -> str:
    """Changes when a file comes, goes, grows, or a small one (configuration, record of the conversion) is edited."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)} {size}\n".encode())
        if size < 1_000_000:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _tar(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=folder.name)
    return buffer.getvalue()
