"""A user's view of the dev cluster for its tests: jobs of one namespace, their ends, and what MLflow holds of them."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import install
from demo.follow import FINAL_STATES, follow
from demo.install import OPERATOR_NAMESPACE
from demo.mlflow_access import read_artifact
from demo.shell import DemoError, Shell
from demo.target import Target

Json = dict[str, Any]
MLFLOW = "deploy/vernacular-mlflow"
TINY: Json = {
    "model": {"uri": "pvc://tiny/tiny"},
    "dataset": {"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]},
    "compute": {"pods": 1, "gpusPerPod": 0},
}
SHARED: Json = {"workspace": {"size": "1Gi", "storageClassName": "shared", "accessMode": "ReadWriteMany"}}
TWO_PODS: Json = {"pods": 2, "gpusPerPod": 0}


def spec(**changes: Any) -> Json:
    """One epoch of the tiny model on the CPU, with a workspace for several pods."""
    return {**TINY, "storage": SHARED, "training": {"epochs": 1}, **changes}


@dataclass(frozen=True)
class ClusterMlflow:
    """The bundled MLflow's REST API."""

    url: str

    def get(self, method: str, /, **query: str) -> Json:
        """One call of the API, such as `runs/get`."""
        address = f"{self.url}/api/2.0/mlflow/{method}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=30) as response:
            document: Json = json.load(response)
        return document

    def history(self, run_id: str, metric: str) -> list[Json]:
        """Every value of a metric, oldest first."""
        points: list[Json] = self.get("metrics/get-history", run_id=run_id, metric_key=metric, max_results="25000")[
            "metrics"
        ]
        return points

    def steps(self, run_id: str, metric: str) -> list[int]:
        """The steps at which a metric was reported, in that order."""
        return [int(point["step"]) for point in self.history(run_id, metric)]

    def files(self, run_id: str, folder: str = "") -> set[str]:
        """Paths of artifacts in a folder of a run."""
        found = self.get("artifacts/list", run_id=run_id, **({"path": folder} if folder else {}))
        return {item["path"] for item in found["files"]}

    def artifact(self, run_id: str, path: str) -> Any:
        """A JSON artifact."""
        return read_artifact(self.url, run_id, path)


@dataclass(frozen=True)
class ClusterJobs:
    """Applies and watches FineTuneJobs with kubectl, as a user does."""

    shell: Shell
    namespace: str

    def give_model(self, target: Target, model: Path, claim: str) -> None:
        """Put a model folder on a claim."""
        install.ensure_model_claim(target, self.namespace, model, claim=claim)

    def give_rows(self, **files: str) -> None:
        """Put files into the ConfigMap `rows`; a name's underscores stand for dashes, the suffix .jsonl is added."""
        data = {f"{name.replace('_', '-')}.jsonl": text for name, text in files.items()}
        self.shell.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": data}, self.namespace
        )

    def apply(self, name: str, spec: Mapping[str, Any]) -> None:
        """`kubectl apply` a job."""
        manifest = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}}
        self.shell.apply({**manifest, "spec": spec}, self.namespace)

    def apply_example(self, folder: Path) -> None:
        """`kubectl apply -k`."""
        install.apply_example(self.shell, folder, self.namespace)

    def suspend(self, name: str, value: bool) -> None:
        """Suspend or resume a job."""
        patch = json.dumps({"spec": {"runPolicy": {"suspend": value}}})
        self.shell.kubectl("patch", "ftj", name, "-n", self.namespace, "--type=merge", "-p", patch)

    def until(self, name: str, seconds: float, holds: Callable[[Json], bool]) -> Json:
        """Wait until the status satisfies a condition. Raises DemoError when it does not, or the job ends before."""
        deadline = time.monotonic() + seconds
        status: Json = {}
        while time.monotonic() < deadline:
            status = (self.shell.get("finetunejob", name, self.namespace) or {}).get("status", {})
            if holds(status):
                return status
            if status.get("state") in FINAL_STATES:
                break
            time.sleep(0.5)
        raise DemoError(f"{name} did not come so far within {seconds} s: {json.dumps(status, indent=1)}")

    def until_is(self, name: str, seconds: float, **fields: str) -> Json:
        """Wait until fields of the status have these values."""
        return self.until(name, seconds, lambda status: all(status.get(key) == fields[key] for key in fields))

    def until_first_step(self, name: str, seconds: float) -> None:
        """Wait until training has made a step, by the pod's log: a small training is over when the status tells."""
        self.until(name, seconds, lambda _: ": step 1 of " in self._training_log(name))

    def _training_log(self, name: str) -> str:
        chosen = f"vernacular.dev/job-name={name},vernacular.dev/stage=train"
        try:
            return self.shell.kubectl("logs", "-n", self.namespace, "-l", chosen, "--tail=-1")
        except DemoError:  # no container runs yet
            return ""

    def end(self, name: str, seconds: float) -> Json:
        """Wait for the end; the whole resource. Raises DemoError when it does not end."""
        return follow(self.shell, name, self.namespace, timeout=seconds)

    def end_status(self, name: str, seconds: float) -> Json:
        """Wait for the end; the status alone."""
        status: Json = self.end(name, seconds)["status"]
        return status

    def list(self, kind: str, selector: str = "") -> Sequence[Json]:
        """Objects of the namespace."""
        chosen = ("-l", selector) if selector else ()
        items: list[Json] = json.loads(self.shell.kubectl("get", kind, "-n", self.namespace, *chosen, "-o", "json"))[
            "items"
        ]
        return items


@contextmanager
def mlflow_away(shell: Shell) -> Iterator[None]:
    """The bundled MLflow is gone while the context is open, and comes back after it."""
    shell.kubectl("scale", MLFLOW, "-n", OPERATOR_NAMESPACE, "--replicas=0")
    try:
        selector = "app.kubernetes.io/component=mlflow"
        shell.kubectl("wait", "pod", "-n", OPERATOR_NAMESPACE, "-l", selector, "--for=delete", "--timeout=60s")
        yield
    finally:
        shell.kubectl("scale", MLFLOW, "-n", OPERATOR_NAMESPACE, "--replicas=1")
        shell.kubectl("rollout", "status", MLFLOW, "-n", OPERATOR_NAMESPACE, "--timeout=120s")
