"""The operator's runs on a real MLflow server with many pages, renamed experiments and deleted runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import mlflow
import pytest

from support.embedded_operator import eventually
from support.mlflow_server import MlflowServer
from vernacular_operator.domain.plan import RunEnd, RunRequest
from vernacular_operator.domain.snapshot import RunClosed, RunOpened, TrackingProblem
from vernacular_operator.tracking import mlflow as calls
from vernacular_operator.tracking.keeper import RunKeeper
from vernacular_operator.tracking.mlflow import Credentials, MlflowClient, RunStatus

pytestmark = pytest.mark.integration


@pytest.fixture
async def client(mlflow_server: MlflowServer) -> AsyncIterator[MlflowClient]:
    made = MlflowClient(mlflow_server.uri, Credentials())
    yield made
    await made.close()


@pytest.fixture
def people(mlflow_server: MlflowServer) -> mlflow.MlflowClient:
    """What people do in MLflow meanwhile."""
    return mlflow.MlflowClient(mlflow_server.uri)


def request_of(experiment: str) -> RunRequest:
    uid = uuid.uuid4().hex
    return RunRequest(uid, "hr-bot", experiment, 1000, {"vernacular.dev/uid": uid})


async def opened(keeper: RunKeeper, request: RunRequest) -> RunOpened:
    """Ask as often as the operator does, until the run is open."""
    while not isinstance(answer := keeper.answer(request.uid), RunOpened):
        assert not (isinstance(answer, TrackingProblem) and answer.denied), answer
        keeper.open(request)
        await asyncio.sleep(0.05)
    return answer


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_lists_of_many_pages_are_read_whole(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    made = [await client.create_experiment(f"e-{uuid.uuid4().hex}") for _ in range(5)]
    uid = uuid.uuid4().hex
    runs = {(await client.create_run(made[0], f"r{i}", i, {"vernacular.dev/uid": uid})).run_id for i in range(5)}
    monkeypatch.setattr(calls, "_PAGE", size)

    assert set(made) <= set(await client.experiments())
    found = await client.search_runs(made, f"tags.`vernacular.dev/uid` = '{uid}'")
    assert sorted(run.run_id for run in found) == sorted(runs)


async def test_a_renamed_experiment_keeps_its_runs_and_later_ones_go_where_the_job_says(
    client: MlflowClient, people: mlflow.MlflowClient
) -> None:
    name = f"demo.{uuid.uuid4().hex}"
    keeper = RunKeeper(client, lambda uid: None)
    first = request_of(name)
    run = await opened(keeper, first)
    await asyncio.to_thread(people.rename_experiment, run.experiment_id, f"{name}-renamed")

    same = await opened(keeper, request_of(name))
    assert same.experiment_id == run.experiment_id
    keeper.end(RunEnd(run.run_id, RunStatus.FINISHED, 2000, first.uid))
    await keeper.close()
    assert people.get_run(run.run_id).info.status == "FINISHED"

    restarted = RunKeeper(client, lambda uid: None)
    later = await opened(restarted, request_of(name))
    assert later.experiment_id != run.experiment_id
    assert people.get_experiment(later.experiment_id).name == name


async def test_a_deleted_run_is_not_asked_for_again_and_its_job_can_go(
    client: MlflowClient, people: mlflow.MlflowClient
) -> None:
    keeper = RunKeeper(client, lambda uid: None)
    request = request_of(f"demo.{uuid.uuid4().hex}")
    run = await opened(keeper, request)
    await asyncio.to_thread(people.delete_run, run.run_id)

    assert await client.search_runs([run.experiment_id], f"attributes.run_id IN ('{run.run_id}')") == []
    keeper.end(RunEnd(run.run_id, RunStatus.FINISHED, 2000, request.uid))
    await keeper.close()

    assert keeper.answer(request.uid) == RunClosed()


async def test_an_experiment_that_was_deleted_is_waited_for_until_it_is_restored(
    client: MlflowClient, people: mlflow.MlflowClient
) -> None:
    keeper = RunKeeper(client, lambda uid: None)
    request = request_of(f"demo.{uuid.uuid4().hex}")
    run = await opened(keeper, request)
    await asyncio.to_thread(people.delete_experiment, run.experiment_id)
    other = replace(request, uid=uuid.uuid4().hex)
    keeper.open(other)

    async def in_trouble() -> bool:
        return isinstance(keeper.answer(other.uid), TrackingProblem)

    await eventually(in_trouble)

    await asyncio.to_thread(people.restore_experiment, run.experiment_id)
    assert (await opened(keeper, other)).experiment_id == run.experiment_id
    await keeper.close()
