"""Plays the kubelet and the scheduler on a real API server: binds stage pods, runs them by a script, ends them.

Everything else is real: the Job controller makes the pods and judges the Jobs, the garbage collector removes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from support.apiserver import MERGE_PATCH, ApiError, ApiServer
from vernacular_trainer.contract import (
    JOB_ANNOTATION,
    AnswerCounts,
    EvaluateSummary,
    Gain,
    JobConfig,
    Outcome,
    PlanValue,
    PrepareSummary,
    PublishSummary,
    Readiness,
    Stage,
    StageReport,
    Summary,
    TrainSummary,
    summary_to_dict,
)

# a finished pod that is deleted vanishes without a kubelet
UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
SELECTOR = f"?labelSelector=app.kubernetes.io/managed-by=vernacular&fieldSelector={UNFINISHED}"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
TOTAL_STEPS = 40
HEARTBEAT_SECONDS = 10


@dataclass(frozen=True)
class Behaviour:
    """How a stage's pod behaves. `hold`: it runs until it is told to end; `stuck`: why no node takes it.

    It runs at least `seconds`. `reason` is that of its container's end, `pod_reason` that of a pod which its node ends.
    """

    report: StageReport | None
    exit_code: int
    hold: bool = False
    on_stop: StageReport | None = None
    stuck: str = ""
    seconds: float = 0.0
    reason: str = ""
    pod_reason: str = ""


def report_of(outcome: Outcome, summary: Summary | None = None, **texts: str) -> StageReport:
    """A report with a summary of any stage."""
    return StageReport(outcome, summary=summary_to_dict(summary) if summary else {}, **texts)


def succeed(config: JobConfig) -> Behaviour:
    """What a stage reports when all goes well."""
    return Behaviour(report_of(Outcome.DONE, SUMMARIES[config.stage](config)), 0)


def fail(code: str, message: str, **texts: str) -> Behaviour:
    """A user's error: exit code 78 with a report that says the same."""
    return Behaviour(report_of(Outcome.USER_ERROR, code=code, message=message, **texts), 78)


def preempted(step: int) -> StageReport:
    """What training reports after SIGTERM: a checkpoint at this step."""
    summary = TrainSummary(step=step, total_steps=TOTAL_STEPS, checkpoint_step=step, complete_checkpoints=1)
    return report_of(Outcome.PREEMPTED, summary, message=f"stopped at step {step}, checkpoint saved")


def hold_until_stopped(step: int) -> Behaviour:
    """Training that goes on until it is told to stop, and saves a checkpoint then."""
    return Behaviour(None, 0, hold=True, on_stop=preempted(step))


PLAN = (
    PlanValue("learningRate", "2e-4", "default"),
    PlanValue("microBatchSize", "4", "about 4096 tokens at once, or less"),
    PlanValue("accumulation", "2", "completes the effective batch"),
    PlanValue("gradientCheckpointing", "Off", "faster; turned on by itself when memory runs out"),
)

SUMMARIES: Mapping[Stage, Callable[[JobConfig], Summary]] = {
    Stage.PREPARE: lambda _: PrepareSummary(
        rows=100, dropped=1, duplicates=2, train=89, validation=10, tokens=4000, digest="sha256:00",
        total_steps=TOTAL_STEPS, plan_summary="LoRA, 40 steps", plan=PLAN,
        readiness=Readiness("MendFirst", ("20 rows contradict another",)),
    ),
    Stage.TRAIN: lambda _: TrainSummary(
        step=TOTAL_STEPS, total_steps=TOTAL_STEPS, loss="0.41", eval_loss="0.48", tokens=4000, training_seconds=5,
        checkpoint_step=TOTAL_STEPS, complete_checkpoints=2,
    ),
    Stage.EVALUATE: lambda _: EvaluateSummary(
        summary="Tuned 9 of 10 right, base 1.", verdict="Promote", base=AnswerCounts(1, 7, 2),
        tuned=AnswerCounts(9, 1, 0), gain_points=Gain(80, 60, 95),
    ),
    Stage.PUBLISH: lambda config: PublishSummary(
        registered_model=config.publish.registered_model, model_version="1", alias=config.publish.alias,
        artifact_uri="mlflow-artifacts:/1/adapter",
    ),
}  # fmt: skip


@dataclass
class SimulatedKubelet:
    """Runs the pods of one namespace in a thread of its own. `script` decides by `job.json`; change it at any time."""

    server: ApiServer
    namespace: str
    script: Callable[[JobConfig], Behaviour] = succeed
    configs: list[JobConfig] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _running: dict[str, Behaviour] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _jobs_of: dict[str, str] = field(default_factory=dict)
    _beaten: float = 0.0
    errors: list[Exception] = field(default_factory=list)

    @property
    def node(self) -> str:
        """The node of this kubelet; pods on a node that does not exist would be removed as orphans."""
        return f"node-of-{self.namespace}"

    def __enter__(self) -> SimulatedKubelet:
        self.server.request("POST", "/api/v1/nodes", {"metadata": {"name": self.node}})
        self._beat()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(10)
        self.server.request("DELETE", f"/api/v1/nodes/{self.node}")

    def release(self, job: str = "") -> None:
        """Let held pods end well: those of one FineTuneJob, or all."""
        for uid, behaviour in list(self._running.items()):
            if job in ("", self._jobs_of[uid]):
                self._running[uid] = replace(behaviour, hold=False)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            with self._noted():
                if time.monotonic() - self._beaten > HEARTBEAT_SECONDS:
                    self._beat()
                for pod in self.server.request("GET", f"{self._pods}{SELECTOR}")["items"]:
                    with self._noted():
                        self._step(pod)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            # a pod may vanish or change between two calls; anything else is a fault of the test
            if error.status not in (404, 409):
                self.errors.append(error)

    def _beat(self) -> None:
        """Without heartbeats the node controller would call the node lost and evict its pods."""
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": "", "lastHeartbeatTime": _now()}
        body = {"status": {"conditions": [ready]}}
        self.server.request("PATCH", f"/api/v1/nodes/{self.node}/status", body, STRATEGIC_PATCH)
        self._beaten = time.monotonic()

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def _step(self, pod: dict[str, Any]) -> None:
        phase = pod.get("status", {}).get("phase", "Pending")
        if pod["metadata"].get("deletionTimestamp"):
            self._end_deleted(pod, phase)
        elif phase == "Pending":
            self._start(pod)
        elif phase == "Running":
            self._progress(pod)

    def _start(self, pod: dict[str, Any]) -> None:
        config = JobConfig.from_json(pod["metadata"]["annotations"][JOB_ANNOTATION])
        behaviour = self._running.get(pod["metadata"]["uid"]) or self.script(config)
        if behaviour.stuck:
            self._status(pod, {"conditions": [_scheduled("False", behaviour.stuck)]})
            return
        if pod["metadata"]["uid"] not in self._running:
            self._jobs_of[pod["metadata"]["uid"]] = config.identity.name
            self._running[pod["metadata"]["uid"]] = behaviour
            self._started[pod["metadata"]["uid"]] = time.monotonic()
            self.configs.append(config)
        if not pod["spec"].get("nodeName"):
            target = {"target": {"apiVersion": "v1", "kind": "Node", "name": self.node}}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}, **target}
            self.server.request("POST", f"{self._pods}/{pod['metadata']['name']}/binding", body)
        state = {"running": {"startedAt": _now()}}
        self._status(pod, {"phase": "Running", "startTime": _now(), "containerStatuses": [_container(pod, state)]})

    def _progress(self, pod: dict[str, Any]) -> None:
        behaviour = self._running.get(pod["metadata"]["uid"])
        if not behaviour or behaviour.hold:
            return
        if time.monotonic() - self._started[pod["metadata"]["uid"]] < behaviour.seconds:
            return
        report = behaviour.report
        if report is None:
            config = JobConfig.from_json(pod["metadata"]["annotations"][JOB_ANNOTATION])
            report = succeed(config).report if behaviour.exit_code == 0 else None
        self._finish(pod, behaviour.exit_code, report, behaviour)

    def _end_deleted(self, pod: dict[str, Any], phase: str) -> None:
        behaviour = self._running.get(pod["metadata"]["uid"])
        if phase == "Running":
            report = behaviour.on_stop if behaviour else None
            self._finish(pod, int(report.outcome.exit_code) if report else 143, report)
        options = {"gracePeriodSeconds": 0}
        self.server.request("DELETE", f"{self._pods}/{pod['metadata']['name']}", options)

    def _finish(
        self, pod: dict[str, Any], exit_code: int, report: StageReport | None, behaviour: Behaviour | None = None
    ) -> None:
        reason = behaviour.reason if behaviour else ""
        terminated = {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": report.to_json() if report else "",
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        phase = "Succeeded" if exit_code == 0 else "Failed"
        rejected = {"reason": behaviour.pod_reason} if behaviour and behaviour.pod_reason else {}
        ended = _container(pod, {"terminated": terminated})
        self._status(pod, {"phase": phase, "containerStatuses": [ended], **rejected})

    def _status(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        kind = STRATEGIC_PATCH if "conditions" in status else MERGE_PATCH
        self.server.request("PATCH", f"{self._pods}/{pod['metadata']['name']}/status", {"status": status}, kind)


def _container(pod: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    container = pod["spec"]["containers"][0]
    running = "running" in state
    return {
        "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
        "ready": running, "started": running, "state": state,
    }  # fmt: skip


def _scheduled(status: str, message: str) -> dict[str, Any]:
    return {
        "type": "PodScheduled", "status": status, "reason": "Unschedulable", "message": message,
        "lastTransitionTime": _now(),
    }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
