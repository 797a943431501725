"""Job controller, garbage collector, kubelets and people as simple rules over the store of a simulated API server."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from support.simulated_api import Store
from support.simulated_kubelet import preempted, succeed
from support.virtual_time import VirtualClock
from vernacular_operator.kube.api import Object
from vernacular_trainer.contract import JOB_ANNOTATION, JobConfig, Outcome, Stage, StageReport

_GRACE = 30
_ENDED = ("Succeeded", "Failed")
USER_ERROR = StageReport(Outcome.USER_ERROR, code="DatasetSchema", message="row 3")


class Workloads:
    """Works only when told to, so that everything may be late."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clock = VirtualClock(store.loop)
        self._made: dict[str, int] = {}

    def control(self) -> None:
        """One pass of the Job controller and of the garbage collector."""
        for job in list(self._store.list("jobs")):
            owner = self._owner(job)
            if owner and not self._exists("finetunejobs", owner):
                self._store.remove("jobs", job["metadata"]["name"])
            elif not _is_over(job):
                self._judge(job)
        for pod in list(self._store.list("pods")):
            if not self._exists("jobs", self._owner(pod)):
                self.mark([pod])

    def run_pods(self) -> None:
        """Kubelets start pods, and end and remove those that were told to end, unless their node is lost."""
        for pod in list(self._store.list("pods")):
            name, marked = pod["metadata"]["name"], pod["metadata"].get("deletionTimestamp")
            if pod["status"]["phase"] == "Pending" and not marked:
                self._store.update("pods", name, partial(_start, now=self._now()))
            elif marked and not _lost(pod):
                self._end_marked(pod)

    def running(self) -> list[str]:
        """Pods that run and were not told to end."""
        pods = (pod for pod in self._store.list("pods") if pod["status"]["phase"] == "Running")
        return sorted(pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp"))

    def succeed(self, name: str) -> None:
        """A container ends well, with its stage's report."""
        self.end(name, 0, succeed(self._config(name)).report)

    def end(self, name: str, code: int, report: StageReport | None = None, reason: str = "Error") -> None:
        """A container ends; its pod with it."""
        message = report.to_json() if report else ""
        state = {"exitCode": code, "reason": reason, "message": message, "finishedAt": self._now()}
        phase = "Failed" if code else "Succeeded"
        containers = [{"name": "stage", "state": {"terminated": state}}]
        self._store.update("pods", name, lambda pod: pod["status"].update(phase=phase, containerStatuses=containers))

    def lose_node(self, name: str) -> None:
        """The node of a pod does not answer any more: the pod is marked and never ends by itself."""
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
        self._store.update("pods", name, lambda pod: pod["status"].setdefault("conditions", []).append(condition))
        self.mark([self._store.objects["pods", name]])

    def give_up_nodes(self) -> None:
        """Nodes that are lost are removed from the cluster, and their pods with them."""
        for pod in list(self._store.list("pods")):
            if _lost(pod):
                self._store.remove("pods", pod["metadata"]["name"])

    def force_delete(self, name: str) -> None:
        """Somebody removes a pod without a grace period."""
        self._store.remove("pods", name)

    def suspend(self, name: str, value: bool) -> None:
        """Somebody suspends or resumes a FineTuneJob, unless it is so already."""

        def change(item: Object) -> None:
            item["spec"].setdefault("runPolicy", {})["suspend"] = value
            item["metadata"]["generation"] += 1

        if self._store.objects["finetunejobs", name]["spec"].get("runPolicy", {}).get("suspend", False) != value:
            self._store.update("finetunejobs", name, change)

    def mark(self, pods: Iterable[Object]) -> None:
        """Have pods deleted: they get SIGTERM; one that has ended goes at once."""
        for pod in pods:
            name, metadata = pod["metadata"]["name"], pod["metadata"]
            if pod["status"]["phase"] in _ENDED:
                self._store.remove("pods", name)
            elif not metadata.get("deletionTimestamp"):
                until = (self._clock.now() + timedelta(seconds=_GRACE)).strftime("%Y-%m-%dT%H:%M:%SZ")
                marks = {"deletionTimestamp": until, "deletionGracePeriodSeconds": _GRACE}
                self._store.update("pods", name, lambda item, m=marks: item["metadata"].update(m))

    def _judge(self, job: Object) -> None:
        uid, wanted = job["metadata"]["uid"], job["spec"]["completions"]
        pods = [pod for pod in self._store.list("pods") if self._owner(pod) == uid]
        if uid not in self._made:
            self._made[uid] = wanted
            for index in range(wanted):
                self._make_pod(job, index)
        elif len(pods) < wanted or any(_failed(pod) for pod in pods):
            self._fail(job, pods)
        elif all(pod["status"]["phase"] == "Succeeded" for pod in pods):
            self._conclude(job, "Complete", completionTime=self._now())

    def _fail(self, job: Object, pods: list[Object]) -> None:
        live = [pod for pod in pods if pod["status"]["phase"] not in _ENDED]
        if not _has(job, "FailureTarget"):
            self._conclude(job, "FailureTarget")
            self.mark(live)
        elif not live:
            self._conclude(job, "Failed")

    def _conclude(self, job: Object, kind: str, **status: Any) -> None:
        condition = {"type": kind, "status": "True", "lastTransitionTime": self._now(), "message": "by the controller"}

        def change(item: Object) -> None:
            item.setdefault("status", {}).setdefault("conditions", []).append(condition)
            item["status"].update(status)

        self._store.update("jobs", job["metadata"]["name"], change)

    def _make_pod(self, job: Object, index: int) -> None:
        template = copy.deepcopy(job["spec"]["template"])
        owner = {"uid": job["metadata"]["uid"], "controller": True}
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-completion-index": str(index)}
        metadata = template["metadata"] | {
            "name": f"{job['metadata']['name']}-{index}-{job['metadata']['uid'][:5]}",
            "labels": labels,
            "ownerReferences": [owner],
        }
        self._store.create("pods", {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}})

    def _end_marked(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if pod["status"]["phase"] == "Running":
            report = preempted(5) if self._config(name).stage == Stage.TRAIN else None
            self.end(name, 85 if report else 143, report)
        self._store.remove("pods", name)

    def _config(self, name: str) -> JobConfig:
        return JobConfig.from_json(self._store.objects["pods", name]["metadata"]["annotations"][JOB_ANNOTATION])

    def _owner(self, item: Object) -> str:
        return next((owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()), "")

    def _exists(self, plural: str, uid: str) -> bool:
        return any(item["metadata"]["uid"] == uid for item in self._store.list(plural))

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(item: Object) -> Iterator[Object]:
    return iter((item.get("status") or {}).get("conditions") or ())


def _has(item: Object, *kinds: str) -> bool:
    return any(condition["type"] in kinds and condition["status"] == "True" for condition in _conditions(item))


def _is_over(job: Object) -> bool:
    return _has(job, "Complete", "Failed")


def _lost(pod: Object) -> bool:
    return any(item.get("reason") == "DeletionByTaintManager" for item in _conditions(pod))


def _failed(pod: Object) -> bool:
    return pod["status"]["phase"] == "Failed" or bool(pod["metadata"].get("deletionTimestamp"))


def _start(pod: Object, now: str) -> None:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    running = {"name": "stage", "state": {"running": {}}}
    pod["status"].update(phase="Running", conditions=[placed], containerStatuses=[running])
