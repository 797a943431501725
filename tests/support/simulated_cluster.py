"""A cluster in memory for property tests: Job controller, kubelet and garbage collector as simple rules over facts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from support.worlds import NOW, RUN, config, done_report, fine_tune_job, preempted_report
from vernacular.api import FineTuneJob, Stage
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.snapshot import JobFacts, PodFacts, RunOpened, Snapshot, Terminated, TrackingProblem
from vernacular_trainer.contract import Outcome, StageReport

GRACE = timedelta(seconds=30)


@dataclass
class Cluster:
    """The world around one job."""

    job: FineTuneJob
    now: datetime = NOW
    mlflow_up: bool = True
    run: RunOpened | TrackingProblem | None = None
    jobs: dict[str, JobFacts] = field(default_factory=dict)
    manifests: dict[str, dict] = field(default_factory=dict)  # type: ignore[type-arg]
    pods: dict[str, PodFacts] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)  # names of Jobs that got pods

    @classmethod
    def with_job(cls, pods: int, max_restarts: int) -> Cluster:
        """A cluster with one new job."""
        storage = {"workspace": {"accessMode": "ReadWriteMany"}}
        compute = {"pods": pods, "gpusPerPod": 0}
        return cls(fine_tune_job(compute=compute, storage=storage, runPolicy={"maxRestarts": max_restarts}))

    def snapshot(self) -> Snapshot:
        return Snapshot(
            job=self.job,
            config=config(),
            cluster="c",
            jobs=tuple(self.jobs.values()),
            pods=tuple(self.pods.values()),
            run=self.run,
        )

    def execute(self, plan: Plan, crash_after: int | None = None) -> None:
        """Carry out the plan in the executor's order; the operator dies after so many steps, None: it does not."""
        steps = [
            *(lambda r=reference: self._delete(r.kind, r.uid) for reference in plan.delete),
            *(lambda m=manifest: self._create(m) for manifest in plan.create),
            lambda: self._write(plan),
            lambda: self._open_run(plan),
        ]
        for step in steps[:crash_after]:
            step()

    def suspend(self, value: bool) -> None:
        policy = self.job.spec.run_policy.model_copy(update={"suspend": value})
        spec = self.job.spec.model_copy(update={"run_policy": policy})
        generation = self.job.metadata.generation + 1
        metadata = self.job.metadata.model_copy(update={"generation": generation})
        self.job = self.job.model_copy(update={"spec": spec, "metadata": metadata})

    def control_jobs(self) -> None:
        """One pass of the Job controller and the garbage collector."""
        for uid, job in list(self.jobs.items()):
            if not job.live:
                continue
            pods = self._pods_of(job)
            if not pods:
                self._make_pods(job)
            elif any(pod.phase == "Failed" or pod.gone or pod.marked_at for pod in pods):
                over = not any(pod.live for pod in pods)
                self.jobs[uid] = replace(job, failing=True, failed=over, finished_at=self.now if over else None)
                self._mark(pods)
            elif all(pod.phase == "Succeeded" for pod in pods):
                self.jobs[uid] = replace(job, complete=True, finished_at=self.now)
        owned = {(job.stage, job.attempt) for job in self.jobs.values()}
        self._mark([pod for pod in self.pods.values() if (pod.stage, pod.attempt) not in owned])

    def run_pods(self) -> None:
        """Kubelets start pods, and end those that were told to."""
        for uid, pod in list(self.pods.items()):
            if pod.live and pod.marked_at:
                report = preempted_report(5) if pod.stage == Stage.TRAIN else None
                self.end_pod(uid, int(report.outcome.exit_code) if report else 143, report)
            elif pod.live and pod.phase == "Pending":
                self.pods[uid] = replace(pod, phase="Running", running=True)

    def end_pod(self, uid: str, exit_code: int, report: StageReport | None = None, reason: str = "Error") -> None:
        """A container ends."""
        end = Terminated(exit_code, reason, report.to_json() if report else "", self.now)
        phase = "Succeeded" if exit_code == 0 else "Failed"
        self.pods[uid] = replace(self.pods[uid], phase=phase, running=False, terminated=end)

    def succeed_pod(self, uid: str) -> None:
        """A container ends well, with its stage's report."""
        pod = self.pods[uid]
        self.end_pod(uid, 0, done_report(pod.stage, self.manifests[uid.rpartition("-")[0]]))

    def lose_node(self, uid: str) -> None:
        """The node of a pod does not answer any more: the pod is marked and never ends by itself."""
        self.pods[uid] = replace(
            self.pods[uid], disruption="DeletionByTaintManager", marked_at=self.now, deletion_time=self.now + GRACE
        )

    def running(self) -> list[str]:
        """Pods that run and were not told to end."""
        return sorted(uid for uid, pod in self.pods.items() if pod.live and pod.running and not pod.marked_at)

    def live_attempts(self) -> set[tuple[Stage, int]]:
        """Attempts that have a Job which is not over, or a pod which may run."""
        jobs = {(job.stage, job.attempt) for job in self.jobs.values() if job.live}
        return jobs | {(pod.stage, pod.attempt) for pod in self.pods.values() if pod.live}

    def _pods_of(self, job: JobFacts) -> list[PodFacts]:
        return [pod for pod in self.pods.values() if (pod.stage, pod.attempt) == (job.stage, job.attempt)]

    def _make_pods(self, job: JobFacts) -> None:
        self.made.append(job.name)
        for index in range(self.manifests[job.uid]["spec"]["completions"]):
            uid = f"{job.uid}-{index}"
            self.pods[uid] = PodFacts(f"{job.name}-{index}", uid, job.stage, job.attempt, index)

    def _mark(self, pods: list[PodFacts]) -> None:
        for pod in pods:
            if pod.live and not pod.marked_at:
                self.pods[pod.uid] = replace(pod, marked_at=self.now, deletion_time=self.now + GRACE)

    def _delete(self, kind: str, uid: str) -> None:
        if kind == "Job":
            self.jobs.pop(uid, None)
        elif uid in self.pods:
            self.pods[uid] = replace(self.pods[uid], gone=True)

    def _create(self, manifest: dict) -> None:  # type: ignore[type-arg]
        name = manifest["metadata"]["name"]
        if manifest["kind"] != "Job" or any(job.name == name for job in self.jobs.values()):
            return
        labels = manifest["metadata"]["labels"]
        stage, attempt = Stage(labels["vernacular.dev/stage"].capitalize()), int(labels["vernacular.dev/attempt"])
        uid = f"job-{len(self.manifests)}"
        self.jobs[uid] = JobFacts(name, uid, stage, attempt)
        self.manifests[uid] = manifest

    def _write(self, plan: Plan) -> None:
        self.job = self.job.model_copy(update={"status": plan.status})

    def _open_run(self, plan: Plan) -> None:
        if plan.open_run:
            self.run = RUN if self.mlflow_up else TrackingProblem("connection refused")


USER_ERROR = StageReport(Outcome.USER_ERROR, code="DatasetSchema", message="row 3")
