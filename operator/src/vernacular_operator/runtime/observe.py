"""A snapshot of one job: the cache, and live reads only where a decision would otherwise rest on a watch that lags."""

from __future__ import annotations

from collections.abc import Iterable

from vernacular.api import ConditionType, FineTuneJob, Stage, StageState, StageStatus
from vernacular.api.constants import LABEL_ATTEMPT, LABEL_JOB_UID, LABEL_STAGE
from vernacular_operator.config import OperatorConfig
from vernacular_operator.domain import claim_events
from vernacular_operator.domain.policies import volumes
from vernacular_operator.domain.reports import has_evidence, success_report
from vernacular_operator.domain.snapshot import Admission, ClaimFacts, JobFacts, PodFacts, RuntimeChoice, Snapshot
from vernacular_operator.kube.api import CLAIMS, EVENTS, JOBS, PODS, KubeApi
from vernacular_operator.kube.errors import NotFoundError
from vernacular_operator.manifests.claim import claim_name, workspace_spec
from vernacular_operator.manifests.inputs import claims_of, model_cache
from vernacular_operator.runtime.admissions import Admissions
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.catalog import RuntimeCatalog
from vernacular_operator.runtime.progress import ProgressReader
from vernacular_operator.tracking.keeper import RunKeeper


class Observer:
    """Reads; never writes."""

    def __init__(
        self,
        api: KubeApi,
        cache: Cache,
        config: OperatorConfig,
        keeper: RunKeeper,
        progress: ProgressReader,
        admissions: Admissions,
        cluster: str,
    ) -> None:
        self._catalog = RuntimeCatalog(api, readable=not config.watch_namespaces)
        self._api = api
        self._cache = cache
        self._config = config
        self._keeper = keeper
        self._progress = progress
        self._admissions = admissions
        self._cluster = cluster

    async def observe(self, key: Key) -> Snapshot | None:
        """None when the job is gone. Raises KubeError when a live read fails."""
        job = self._cache.job(key)
        if job is None:
            return None
        await self._confirm(key, job)
        jobs, pods = self._cache.children(job.metadata.uid)
        reported = self._progress.latest(job.metadata.uid)
        return Snapshot(
            job=job,
            config=self._config,
            cluster=self._cluster,
            jobs=jobs,
            pods=pods,
            claim=await self._claim(job),
            runtime=await self._runtime(job),
            run=self._keeper.answer(job.metadata.uid),
            progress=reported.progress,
            phase=reported.phase,
            volume_trouble=await self._volume_trouble(job, pods),
            admission=self._admission(key, jobs),
        )

    def _admission(self, key: Key, jobs: Iterable[JobFacts]) -> Admission | None:
        found = None
        for job in jobs:
            if job.suspended and job.live:
                found = self._admissions.of(job.uid, key)
            else:
                self._admissions.forget(job.uid)
        return found

    async def _volume_trouble(self, job: FineTuneJob, pods: Iterable[PodFacts]) -> str:
        """Events are only read while a pod waits for a volume."""
        if not any(pod.live and volumes.unbound(pod) for pod in pods):
            return ""
        claims = {claim_name(job), model_cache(job), *claims_of(job, Stage.PREPARE)}
        about = "involvedObject.kind=PersistentVolumeClaim"
        listed = self._api.list(EVENTS, job.metadata.namespace, fields=about)
        return claim_events.trouble([event async for event in listed], claims)

    async def _runtime(self, job: FineTuneJob) -> RuntimeChoice:
        if job.status.is_true(ConditionType.ACCEPTED) or job.status.runtime or job.status.start_time:
            return RuntimeChoice()
        return await self._catalog.choose(job)

    async def _claim(self, job: FineTuneJob) -> ClaimFacts | None:
        name = workspace_spec(job).claim_name
        if not name or job.status.is_true(ConditionType.ACCEPTED):
            return None
        try:
            claim = await self._api.get(CLAIMS, job.metadata.namespace, name)
        except NotFoundError:
            return ClaimFacts(exists=False)
        return ClaimFacts(exists=True, access_modes=tuple(claim.get("spec", {}).get("accessModes", ())))

    async def _confirm(self, key: Key, job: FineTuneJob) -> None:
        """Read what a decision is about to rest on, and the watches may not have told."""
        latest = job.status.latest
        if latest is None:
            return
        if latest.state == StageState.RUNNING:
            await self._confirm_running(key, job, latest)
        elif latest.state == StageState.PENDING and not job.status.is_true(ConditionType.SUSPENDED):
            await self._confirm_stopped(key, job, latest)

    async def _confirm_running(self, key: Key, job: FineTuneJob, running: StageStatus) -> None:
        """Read a Job that should be there but is not, and the pods of a Job that ended without telling why."""
        if running.job_name is None:
            return
        jobs, pods = self._cache.children(job.metadata.uid)
        found = next((item for item in jobs if (item.stage, item.attempt) == (running.name, running.attempt)), None)
        if found is None:
            await self._read_job(key, running.job_name)
        ours = [pod for pod in pods if (pod.stage, pod.attempt) == (running.name, running.attempt)]
        ended = found is None or found.complete or found.failed or found.failing
        explained = success_report(ours) if found and found.complete else has_evidence(ours)
        if ended and not explained:
            await self._read_pods(key, job.metadata.uid, running.name, running.attempt)

    async def _confirm_stopped(self, key: Key, job: FineTuneJob, stopped: StageStatus) -> None:
        """Read the pods of an attempt that was ended, unless one is known to live: an unseen one may run on."""
        _, pods = self._cache.children(job.metadata.uid)
        if not any(pod.live for pod in pods):
            await self._read_pods(key, job.metadata.uid, stopped.name, stopped.attempt)

    async def _read_job(self, key: Key, name: str) -> None:
        try:
            self._cache.put_child(await self._api.get(JOBS, key.namespace, name))
        except NotFoundError:
            return

    async def _read_pods(self, key: Key, uid: str, stage: Stage, attempt: int) -> None:
        selector = f"{LABEL_JOB_UID}={uid},{LABEL_STAGE}={stage.lower()},{LABEL_ATTEMPT}={attempt}"
        async for pod in self._api.list(PODS, key.namespace, selector):
            self._cache.put_child(pod)
