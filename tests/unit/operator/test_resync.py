"""The comparison with the API server: what vanished unseen is noticed, but never on one look alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from support.worlds import NOW, UID, fine_tune_job
from vernacular.api import Stage
from vernacular.api.names import attempt_labels
from vernacular_operator.kube.api import JOBS, PODS, Kind, Object
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.executor import FINE_TUNE_JOBS
from vernacular_operator.runtime.health import Health, UnhealthyError
from vernacular_operator.runtime.resync import Resync

KEY = Key("demo", "hr-bot")


class Lists:
    """A KubeApi of which only `list` is used; `objects` is what exists."""

    def __init__(self) -> None:
        self.objects: dict[Kind, list[Object]] = {}

    async def list(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Object]:
        for item in self.objects.get(kind, []):
            yield item


class Setting:
    """A job with one pod, both known, and the clock."""

    def __init__(self) -> None:
        self.api, self.cache = Lists(), Cache()
        self.told: list[Key] = []
        self.gone: list[str] = []
        self.time = NOW
        self.health = Health(self, 300)
        self.resync = Resync(self.api, self.cache, (), self.told.append, self.gone.append, self.health)  # type: ignore[arg-type]
        metadata = {"name": "hr-bot", "namespace": "demo", "uid": UID, "generation": 1, "resourceVersion": "1"}
        labels = attempt_labels("hr-bot", UID, Stage.TRAIN, 1)
        pod = {"name": "pod", "namespace": "demo", "uid": "pod", "resourceVersion": "1", "labels": labels}
        self.api.objects = {
            FINE_TUNE_JOBS: [{"metadata": metadata, "spec": fine_tune_job().spec.to_dict()}],
            PODS: [{"metadata": pod, "spec": {}, "status": {}}],
        }

    def later(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self.time


async def test_a_list_fills_the_cache_and_tells_of_unfinished_jobs() -> None:
    setting = Setting()
    assert not await setting.resync.resync()

    assert setting.told == [KEY]
    assert [pod.gone for pod in setting.cache.children(UID)[1]] == [False]


async def test_a_pod_is_gone_when_it_is_missing_twice() -> None:
    setting = Setting()
    await setting.resync.resync()
    del setting.api.objects[PODS]
    assert await setting.resync.resync()
    assert [pod.gone for pod in setting.cache.children(UID)[1]] == [False]

    assert not await setting.resync.resync()
    assert [pod.gone for pod in setting.cache.children(UID)[1]] == [True]


async def test_a_job_is_gone_when_it_is_missing_twice() -> None:
    setting = Setting()
    await setting.resync.resync()
    setting.api.objects.clear()
    await setting.resync.resync()
    assert setting.gone == []
    await setting.resync.resync()

    assert setting.gone == [UID]


async def test_a_list_that_is_older_than_a_deletion_brings_no_job_back() -> None:
    setting = Setting()
    await setting.resync.resync()
    setting.cache.note_deleted(UID)
    setting.told.clear()

    # this one began before the deletion, and the pages of one are of the moment in which it began
    await setting.resync.resync()

    assert setting.cache.job(KEY) is None
    assert setting.told == []


@pytest.mark.parametrize("terminal", ["Complete", "Failed"])
async def test_what_is_left_of_a_job_that_ended_is_not_waited_for(terminal: str) -> None:
    setting = Setting()
    (job,), (pod,) = setting.api.objects[FINE_TUNE_JOBS], setting.api.objects[PODS]
    job["status"] = {"observedGeneration": 1, "conditions": [condition(terminal)]}
    pod["status"] = {"phase": "Succeeded"}
    finished = {"metadata": pod["metadata"] | {"name": "job", "uid": "job"}, "spec": {"template": {}}}
    setting.api.objects[JOBS] = [finished | {"status": {"conditions": [condition("Complete")]}}]
    await setting.resync.resync()
    setting.health.saw(job["metadata"])

    setting.later(130)
    setting.health.resynced()
    setting.health.check(waiting=0)


async def test_a_job_that_cannot_be_read_is_not_waited_for() -> None:
    setting = Setting()
    setting.api.objects = {FINE_TUNE_JOBS: [setting.api.objects[FINE_TUNE_JOBS][0] | {"spec": {"model": 1}}]}
    await setting.resync.resync()

    setting.later(130)
    setting.health.resynced()
    setting.health.check(waiting=0)


async def test_what_came_and_went_unseen_is_not_waited_for() -> None:
    setting = Setting()
    await setting.resync.resync()
    for item in [*setting.api.objects[FINE_TUNE_JOBS], *setting.api.objects[PODS]]:
        setting.health.saw(item["metadata"])
    # made and expected; gone with its job, whose children are kept no more, while the watch of Jobs was broken
    setting.health.expect("jobs", {"uid": "job", "name": "job", "namespace": "demo", "resourceVersion": "7"}, 0)
    for _ in range(2):
        await setting.resync.resync()

    setting.later(130)
    setting.health.resynced()
    setting.health.check(waiting=0)


async def test_what_lives_and_the_watch_never_shows_is_unhealthy() -> None:
    setting = Setting()
    await setting.resync.resync()

    setting.later(130)
    setting.health.resynced()
    with pytest.raises(UnhealthyError, match="the watch of"):
        setting.health.check(waiting=0)


def condition(kind: str) -> Object:
    return {"type": kind, "status": "True", "reason": "X", "lastTransitionTime": "2026-03-01T12:00:00Z"}
