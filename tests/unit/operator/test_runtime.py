"""FineTuneRuntimes: waited for, taken over once, laid over the operator's configuration, never looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.worlds import (
    NOW,
    child,
    config,
    ended,
    fine_tune_job,
    fine_tune_runtime,
    job_manifest,
    pod,
    until_stage,
    with_status,
    world,
)
from vernacular.api import ConditionType, FailureCode, FineTuneJobStatus, JobState, Reason, Stage
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import Blocked, RuntimeChoice, Snapshot
from vernacular_operator.kube.api import Kind, Object
from vernacular_operator.kube.errors import NotFoundError, UnavailableError
from vernacular_operator.manifests.inputs import model_cache
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt, job_config
from vernacular_operator.manifests.runtime import runtime_spec, settings, snapshot_of
from vernacular_operator.runtime.catalog import RuntimeCatalog

FULL = {
    "images": {"trainer": "example.org/trainer:h100"},
    "podOverrides": [
        {"stages": ["Train"], "nodeSelector": {"pool": "h100"}, "priorityClassName": "low", "env": [
            {"name": "NCCL_DEBUG", "value": "WARN"}]},
    ],
    "storage": {"workspace": {"size": "200Gi", "accessMode": "ReadWriteMany"}},
    "limits": {"maxGpus": 8},
}  # fmt: skip


def accepted(plan: Plan) -> tuple[str, str]:
    found = next(item for item in plan.status.conditions if item.type == ConditionType.ACCEPTED)
    return found.status, found.reason


def with_runtime(snapshot: Snapshot, **spec: Any) -> Snapshot:
    return replace(snapshot, runtime=RuntimeChoice(fine_tune_runtime(**spec)))


def pod_spec(plan: Plan) -> dict[str, Any]:
    spec: dict[str, Any] = job_manifest(plan)["spec"]["template"]["spec"]
    return spec


def test_a_missing_runtime_is_waited_for() -> None:
    snapshot = world(fine_tune_job(runtimeRef={"name": "h100"}))
    plan = reconcile(snapshot, NOW)

    assert accepted(plan) == ("False", Reason.WAITING_FOR_RUNTIME)
    assert (plan.status.state, plan.status.reason) == (JobState.PENDING, Reason.WAITING_FOR_RUNTIME)
    assert "FineTuneRuntime h100 of spec.runtimeRef does not exist" in (plan.status.message or "")
    assert plan.create == ()
    assert plan.requeue_seconds

    later = reconcile(with_runtime(with_status(snapshot, plan)), NOW)
    assert accepted(later) == ("True", Reason.ACCEPTED)


def test_an_operator_of_single_namespaces_says_that_it_reads_none() -> None:
    job = fine_tune_job(runtimeRef={"name": "h100"})
    plan = reconcile(world(job, runtime=RuntimeChoice(readable=False)), NOW)

    assert accepted(plan) == ("False", Reason.WAITING_FOR_RUNTIME)
    assert "remove runtimeRef" in (plan.status.message or "")
    assert accepted(reconcile(world(runtime=RuntimeChoice(readable=False)), NOW)) == ("True", Reason.ACCEPTED)


def test_it_is_stored_before_anything_is_made_from_it() -> None:
    snapshot = with_runtime(world(), generation=3, **FULL)
    plan = reconcile(snapshot, NOW)

    assert plan.create == ()
    assert plan.status.runtime is not None
    assert (plan.status.runtime.name, plan.status.runtime.generation) == ("h100", 3)
    assert runtime_spec(plan.status.runtime) == fine_tune_runtime(**FULL).spec
    assert plan.requeue_seconds is not None
    assert reconcile(with_status(snapshot, plan), NOW).create != ()


def test_a_later_edit_changes_no_attempt_of_the_job() -> None:
    snapshot = with_runtime(world(fine_tune_job(compute={"gpusPerPod": 2})), **FULL)
    snapshot = until_stage(Stage.TRAIN, with_status(snapshot, reconcile(snapshot, NOW)))
    first = child(Stage.TRAIN, 1, failed=True, finished_at=NOW)
    edited = replace(
        with_runtime(snapshot, generation=4, images={"trainer": "new:1"}, limits={"maxGpus": 1}),
        jobs=(*snapshot.jobs[:-1], first),
        pods=(*snapshot.pods, ended(Stage.TRAIN, 1, exit_code=1)),
    )
    plan = reconcile(edited, NOW)
    blocked = reconcile(replace(with_status(edited, plan), blocked=Blocked("CreationRefused", "quota")), NOW)
    later = NOW.replace(hour=13)
    again = reconcile(with_status(edited, blocked), later)

    assert accepted(blocked)[0] == "False"
    assert accepted(again) == ("True", Reason.ACCEPTED)
    assert again.status.runtime is not None
    assert again.status.runtime.generation == 1
    container = pod_spec(again)["containers"][0]
    assert container["image"] == "example.org/trainer:h100"
    assert {"name": "NCCL_DEBUG", "value": "WARN"} in container["env"]


def test_a_default_that_appears_later_does_not_change_a_job_that_began_without() -> None:
    snapshot = until_stage(Stage.TRAIN)
    held = reconcile(replace(snapshot, blocked=Blocked("CreationRefused", "quota")), NOW)
    plan = reconcile(with_runtime(with_status(snapshot, held), **FULL), NOW)

    assert accepted(plan) == ("True", Reason.ACCEPTED)
    assert plan.status.runtime is None


def test_the_runtimes_overrides_come_first_and_the_jobs_win() -> None:
    job = fine_tune_job(podOverrides=[{"stages": ["Train"], "priorityClassName": "high"}])
    snapshot = with_runtime(world(job), **FULL)
    snapshot = with_status(snapshot, reconcile(snapshot, NOW))
    prepare = reconcile(snapshot, NOW)
    conf = settings(snapshot.config, snapshot.job.status.runtime)
    train = stage_job(Attempt(snapshot.job, Stage.TRAIN, 1, "run-1"), conf)["spec"]["template"]["spec"]

    assert "nodeSelector" not in pod_spec(prepare)
    assert train["nodeSelector"] == {"pool": "h100"}
    assert train["priorityClassName"] == "high"


@pytest.mark.parametrize(("limit", "status"), [(7, "False"), (8, "True")])
def test_more_gpus_than_the_limit_are_refused_with_both_figures(limit: int, status: str) -> None:
    storage = {"workspace": {"accessMode": "ReadWriteMany"}}
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 4}, storage=storage)
    plan = reconcile(with_runtime(world(job), limits={"maxGpus": limit}), NOW)

    assert accepted(plan)[0] == status
    if status == "False":
        assert plan.status.failure is not None
        assert plan.status.failure.code == FailureCode.LIMIT_EXCEEDED
        assert "8 GPUs (2 pods x 4), the FineTuneRuntime h100 allows 7" in plan.status.failure.message


def test_more_gpu_hours_than_the_limit_are_refused_with_both_figures() -> None:
    plan = reconcile(with_runtime(world(fine_tune_job(runPolicy={"maxGpuHours": 9})), limits={"maxGpuHours": 8}), NOW)

    assert accepted(plan) == ("False", FailureCode.LIMIT_EXCEEDED)
    assert "spec.runPolicy.maxGpuHours is 9, the FineTuneRuntime h100 allows 8" in (plan.status.message or "")
    allowed = fine_tune_job(runPolicy={"maxGpuHours": 8})
    assert accepted(reconcile(with_runtime(world(allowed), limits={"maxGpuHours": 8}), NOW))[0] == "True"


def test_storage_is_judged_by_the_runtimes_defaults() -> None:
    job = fine_tune_job(compute={"pods": 2, "gpusPerPod": 0})

    assert accepted(reconcile(world(job), NOW))[1] == FailureCode.STORAGE_NOT_SHARED
    assert accepted(reconcile(with_runtime(world(job), **FULL), NOW))[0] == "True"


def test_settings_keep_what_the_runtime_leaves_out() -> None:
    base = config(storage={"size": "5Gi", "storageClassName": "fast"})
    laid_over = settings(base, snapshot_of(fine_tune_runtime(**FULL)))

    assert (laid_over.images.data, laid_over.images.trainer) == (base.images.data, "example.org/trainer:h100")
    assert laid_over.storage.model_dump() == {
        "size": "200Gi", "storage_class_name": "fast", "access_mode": "ReadWriteMany", "cached_files_gib": 100,
    }  # fmt: skip
    assert settings(base, None) is base


def test_the_runtimes_model_cache_is_for_models_of_hubs() -> None:
    runtime = snapshot_of(fine_tune_runtime(storage={"modelCache": {"claimName": "models"}}))
    status = FineTuneJobStatus(runtime=runtime)

    assert model_cache(fine_tune_job(status, model={"uri": "hf://org/model"})) == "models"
    assert model_cache(fine_tune_job(status)) == ""
    own = {"modelCache": {"claimName": "mine"}}
    assert model_cache(fine_tune_job(status, model={"uri": "hf://org/model"}, storage=own)) == "mine"


def test_a_workspace_on_the_runtimes_model_cache_is_refused() -> None:
    runtime = {"storage": {"modelCache": {"claimName": "models"}}}

    def judged(claim: str) -> Plan:
        job = fine_tune_job(storage={"workspace": {"claimName": claim}, "modelCache": {"claimName": "mine"}})
        return reconcile(with_runtime(world(job), **runtime), NOW)

    plan = judged("models")
    assert accepted(plan) == ("False", FailureCode.ARGUMENT_REFUSED)
    assert "the claim models of spec.storage.workspace is the storage.modelCache of" in (plan.status.message or "")
    assert plan.create == ()
    assert accepted(judged("other"))[0] == "True"


def test_a_missing_model_cache_is_told_by_its_field() -> None:
    job = fine_tune_job(model={"uri": "hf://org/model"}, storage={"modelCache": {"claimName": "models"}})
    waiting = pod(
        Stage.PREPARE,
        phase="Pending",
        running=False,
        unschedulable='persistentvolumeclaim "models" not found',
        unschedulable_since=NOW,
    )
    snapshot = replace(until_stage(Stage.PREPARE, world(job)), pods=(waiting,))
    plan = reconcile(snapshot, NOW + timedelta(minutes=5))

    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.VOLUME_NOT_BOUND
    assert "spec.storage.modelCache" in plan.status.failure.message


def test_a_snapshot_of_a_newer_operator_can_still_be_read() -> None:
    status = snapshot_of(fine_tune_runtime(**FULL))
    newer = status.model_copy(update={"spec": {**status.spec, "colour": "red", "limits": {"maxGpus": 8, "maxTea": 1}}})

    assert runtime_spec(newer) == fine_tune_runtime(**FULL).spec


class Api:
    """Lists what it is given and counts; a list takes one turn of the event loop."""

    def __init__(self, *documents: Object) -> None:
        self.documents = list(documents)
        self.lists = 0
        self.begun = asyncio.Event()
        self.error: Exception | None = None

    async def list(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Object]:
        self.lists += 1
        self.begun.set()
        assert (kind.plural, namespace, selector) == ("finetuneruntimes", "", "")
        found = list(self.documents)
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        for document in found:
            yield document


def document(name: str, *, default: str = "", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Object:
    annotations = {"vernacular.dev/default": default} if default else {}
    return {"metadata": {"name": name, "annotations": annotations, "creationTimestamp": created}, "spec": spec}


async def chosen(catalog: RuntimeCatalog, **spec: Any) -> str | None:
    choice = await catalog.choose(fine_tune_job(**spec))
    return choice.runtime.metadata.name if choice.runtime else None


async def test_the_named_one_else_the_newest_default() -> None:
    api = Api(
        document("a", default="true"),
        document("b", default="true", created="2026-02-01T00:00:00Z"),
        document("c", default="false", created="2026-03-01T00:00:00Z"),
        document("d"),
    )
    catalog = RuntimeCatalog(api, readable=True)  # type: ignore[arg-type]

    assert await chosen(catalog) == "b"
    assert await chosen(catalog, runtimeRef={"name": "d"}) == "d"
    assert await chosen(catalog, runtimeRef={"name": "e"}) is None


async def test_jobs_at_the_same_time_share_a_list_that_is_new_for_all_of_them() -> None:
    api = Api(document("a"))
    catalog = RuntimeCatalog(api, readable=True)  # type: ignore[arg-type]
    early = asyncio.create_task(chosen(catalog, runtimeRef={"name": "b"}))
    await api.begun.wait()
    api.documents.append(document("b"))
    late = [asyncio.create_task(chosen(catalog, runtimeRef={"name": "b"})) for _ in range(20)]

    assert await early is None
    assert set(await asyncio.gather(*late)) == {"b"}
    assert api.lists == 2


async def test_no_definition_means_no_runtimes_and_other_troubles_are_told_to_all() -> None:
    api = Api()
    catalog = RuntimeCatalog(api, readable=True)  # type: ignore[arg-type]
    api.error = NotFoundError("no such kind")
    assert await chosen(catalog) is None

    api.error = UnavailableError("away")
    answers = await asyncio.gather(*(chosen(catalog) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    api.error = None
    assert await chosen(catalog) is None


async def test_a_runtime_that_cannot_be_read_is_as_good_as_none() -> None:
    catalog = RuntimeCatalog(Api(document("a", colour="red")), readable=True)  # type: ignore[arg-type]

    assert await chosen(catalog, runtimeRef={"name": "a"}) is None


def test_the_memory_of_a_gpu_reaches_every_stage_and_stays_what_it_was() -> None:
    job = fine_tune_job().model_copy(
        update={"status": FineTuneJobStatus(runtime=snapshot_of(fine_tune_runtime(gpuMemoryGiB=80)))}
    )

    for stage in Stage:
        assert job_config(Attempt(job, stage, 1), config()).compute.gpu_memory_gib == 80
    assert job_config(Attempt(fine_tune_job(), Stage.PREPARE, 1), config()).compute.gpu_memory_gib == 0
