"""The order of an execution, and what happens when a call fails in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from support.worlds import NOW, UID, fine_tune_job, world
from vernacular.api import FailureCode, Reason
from vernacular_operator.domain.plan import Event, Plan, Reference
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.kube.api import Kind, Object
from vernacular_operator.kube.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    KubeError,
    NotFoundError,
    UnavailableError,
    error_for,
)
from vernacular_operator.runtime.cache import Cache, Key
from vernacular_operator.runtime.clock import SystemClock
from vernacular_operator.runtime.events import EventPoster
from vernacular_operator.runtime.executor import BlockedError, Executor, JobGoneError
from vernacular_operator.runtime.health import Health
from vernacular_operator.runtime.patch import merge_patch
from vernacular_operator.telemetry.metrics import Metrics
from vernacular_operator.tracking.keeper import RunKeeper
from vernacular_operator.tracking.mlflow import Credentials, MlflowClient

KEY = Key("demo", "hr-bot")


class Recorder:
    """Notes every call; `answers` are errors to raise or objects to give for "VERB plural"."""

    def __init__(self, **answers: KubeError | Object) -> None:
        self.calls: list[str] = []
        self.patches: list[Object] = []
        self._answers = answers

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return self._answer(f"get_{kind.plural}", {})

    async def list(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Object]:
        raise AssertionError("an execution lists nothing")
        yield {}

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        made = body | {"metadata": body["metadata"] | {"uid": "new", "resourceVersion": "1"}}
        return self._answer(f"create_{kind.plural}", made)

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        self.patches.append(patch)
        return self._answer("patch_status", stored(2))

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        self._answer(f"delete_{kind.plural}", {})

    async def close(self) -> None:
        return None

    def _answer(self, call: str, default: Object) -> Object:
        self.calls.append(call)
        answer = self._answers.get(call, default)
        if isinstance(answer, KubeError):
            raise answer
        return answer


def stored(version: int) -> Object:
    metadata = {"name": "hr-bot", "namespace": "demo", "uid": UID, "generation": 1, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": fine_tune_job().spec.to_dict(), "status": {}}


def first_plan() -> Plan:
    return reconcile(replace(world(), job=fine_tune_job()), NOW)


async def execute(api: Recorder, plan: Plan) -> None:
    keeper = RunKeeper(MlflowClient("http://127.0.0.1:9", Credentials()), lambda _: None)
    events = EventPoster(api, lambda: False)
    executor = Executor(api, Cache(), keeper, Health(SystemClock(), 300), Metrics(), events)
    try:
        await executor.execute(KEY, fine_tune_job(), plan, NOW)
    finally:
        await events.drain()


def test_a_kind_that_the_api_server_does_not_know_everywhere_yet_is_waited_for() -> None:
    message = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion vernacular.dev"

    assert isinstance(error_for(403, message), UnavailableError)
    assert isinstance(error_for(403, "exceeded quota: storage"), ForbiddenError)


async def test_children_first_then_one_status_then_events() -> None:
    api = Recorder()
    await execute(api, replace(first_plan(), delete=(Reference("Job", "old", "u"),)))

    assert api.calls == [
        "delete_jobs",
        "create_persistentvolumeclaims",
        "create_jobs",
        "patch_status",
        *["create_events"] * len(first_plan().events),
    ]
    assert api.patches[0]["metadata"] == {"resourceVersion": "1"}


async def test_events_give_way_while_jobs_wait_and_come_all_the_same() -> None:
    api, asked, both = Recorder(), 0, asyncio.Event()

    def busy() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            both.set()
        return asked == 1

    events = EventPoster(api, busy)
    for number in range(3):
        events.tell(fine_tune_job(), Event("Normal", "Started", f"Stage {number} started."), NOW)
    posting = asyncio.create_task(events.run())
    await asyncio.sleep(0)
    assert api.calls == []
    await asyncio.wait_for(both.wait(), 5)
    posting.cancel()
    assert api.calls == ["create_events"] * 3


async def test_nothing_is_written_when_nothing_differs() -> None:
    api = Recorder()
    await execute(api, Plan(status=fine_tune_job().status))

    assert api.calls == []


@pytest.mark.parametrize("call", ["create_jobs", "patch_status"])
async def test_no_status_and_no_event_after_a_failed_call(call: str) -> None:
    api = Recorder(**{call: UnavailableError("away")})
    with pytest.raises(UnavailableError):
        await execute(api, first_plan())

    assert "create_events" not in api.calls
    assert api.calls[-1] == call


def taken(**metadata: object) -> Recorder:
    owner = {"uid": UID, "controller": True}
    found = {"metadata": {"name": "x", "uid": "u", "ownerReferences": [owner], **metadata}}
    return Recorder(create_jobs=AlreadyExistsError("exists", 409), get_jobs=found)


async def test_a_child_that_is_ours_already_is_carried_on() -> None:
    api = taken(namespace="demo", resourceVersion="5")
    await execute(api, first_plan())

    assert "patch_status" in api.calls


async def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    with pytest.raises(ConflictError, match="is being deleted"):
        await execute(taken(deletionTimestamp="2026-03-01T12:00:00Z"), first_plan())


async def test_an_object_of_someone_else_is_a_name_conflict() -> None:
    api = taken(ownerReferences=[{"uid": "another", "controller": True}])
    with pytest.raises(BlockedError) as caught:
        await execute(api, first_plan())

    assert caught.value.blocked.code == FailureCode.NAME_CONFLICT
    assert "patch_status" not in api.calls


async def test_a_child_that_the_server_refuses_is_told() -> None:
    api = Recorder(create_persistentvolumeclaims=ForbiddenError("exceeded quota: storage", 403))
    with pytest.raises(BlockedError, match="exceeded quota") as caught:
        await execute(api, first_plan())

    assert caught.value.blocked.code == Reason.CREATION_REFUSED


async def test_a_webhook_that_does_not_answer_is_told() -> None:
    error = error_for(500, 'Internal error occurred: failed calling webhook "mjob.kb.io": connection refused')
    with pytest.raises(BlockedError, match="failed calling webhook") as caught:
        await execute(Recorder(create_jobs=error), first_plan())

    assert caught.value.blocked.code == Reason.CREATION_REFUSED


async def test_a_status_of_a_job_that_is_gone_tells_so() -> None:
    with pytest.raises(JobGoneError):
        await execute(Recorder(patch_status=NotFoundError("gone", 404)), first_plan())


async def test_a_job_that_changed_and_is_gone_when_it_is_read_again_is_gone() -> None:
    api = Recorder(patch_status=ConflictError("changed", 409), get_finetunejobs=NotFoundError("gone", 404))
    with pytest.raises(JobGoneError):
        await execute(api, first_plan())


async def test_a_conflict_refreshes_the_cache_and_is_tried_again() -> None:
    api = Recorder(patch_status=ConflictError("changed", 409), get_finetunejobs=stored(9))
    with pytest.raises(ConflictError):
        await execute(api, first_plan())

    assert api.calls[-1] == "get_finetunejobs"


async def test_an_event_that_cannot_be_posted_does_not_stop_the_job() -> None:
    await execute(Recorder(create_events=ForbiddenError("no", 403)), first_plan())


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1, "d": 3}}, {"a": None, "b": {"d": 3}}),
        ({"list": [1, 2]}, {"list": [1]}, {"list": [1]}),
        ({}, {"a": {}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
    ],
)
def test_merge_patch(old: Object, new: Object, patch: Object) -> None:
    assert merge_patch(old, new) == patch
