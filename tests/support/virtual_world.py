"""The whole runtime around a few jobs in virtual time, driven by hand: for tests of one story each."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from support.history import Change
from support.simulated_api import Store
from support.simulated_mlflow import Tracking
from support.simulated_operator import SimulatedOperator
from support.simulated_workloads import Workloads
from support.virtual_time import VirtualLoop
from vernacular_operator.kube.api import Object

SPEC = {
    "model": {"uri": "pvc://models/tiny"},
    "dataset": {"train": [{"configMap": {"name": "data", "key": "train.jsonl"}}]},
    "compute": {"gpusPerPod": 0},
}


class VirtualWorld:
    """One namespace with these jobs, and an operator that has just started."""

    def __init__(self, names: Sequence[str], **spec: Any) -> None:
        self.loop = VirtualLoop()
        self.changes: list[Change] = []
        self.store = Store(self.loop, self.changes.append)
        self.workloads = Workloads(self.store)
        self.tracking = Tracking()
        self.operator = SimulatedOperator(self.store, self.tracking)
        body = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "spec": {**SPEC, **spec}}
        for name in names:
            self.store.create("finetunejobs", {**body, "metadata": {"name": name}})
        self.operator.start()

    def __enter__(self) -> VirtualWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.operator.crash()
        self.loop.stop_all()

    def go_on(self, seconds: int) -> None:
        """Watches tell what they have every second; pods and controllers stand still."""
        for _ in range(seconds):
            self.loop.within(self.operator.look)
            self.loop.pass_time(1)

    def work(self, rounds: int, *, succeed: bool = False) -> None:
        """Controllers and kubelets work, two seconds a round; running pods end well if told to."""
        for _ in range(rounds):
            self.go_on(2)
            self.workloads.control()
            self.workloads.run_pods()
            for name in self.workloads.running() if succeed else ():
                self.workloads.succeed(name)

    def job(self, name: str) -> Object:
        """A FineTuneJob as it is stored."""
        return self.store.objects["finetunejobs", name]

    def attempts(self, name: str) -> list[str]:
        """The attempts of a job that have a Job now."""
        names = sorted(item["metadata"]["name"] for item in self.store.list("jobs"))
        return [item.rpartition("-")[2] for item in names if item.startswith(f"{name}-")]
