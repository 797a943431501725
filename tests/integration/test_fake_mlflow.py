"""The MLflow server that chaos tests use answers the operator as a real one does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from support.fake_mlflow import FakeMlflow
from support.mlflow_server import MlflowServer
from vernacular_operator.tracking.errors import (
    TrackingConflictError,
    TrackingError,
    TrackingNotFoundError,
    TrackingRefusedError,
)
from vernacular_operator.tracking.mlflow import Credentials, Metric, MlflowClient, RunStatus

pytestmark = pytest.mark.integration


@pytest.fixture(params=["real", "fake"])
def uri(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "real":
        server: MlflowServer = request.getfixturevalue("mlflow_server")
        yield server.uri
    else:
        with FakeMlflow() as fake:
            yield fake.uri


@pytest.fixture
async def client(uri: str) -> AsyncIterator[MlflowClient]:
    made = MlflowClient(uri, Credentials())
    yield made
    await made.close()


async def test_experiments_have_one_name_each(client: MlflowClient) -> None:
    name = f"e-{uuid.uuid4().hex}"
    with pytest.raises(TrackingNotFoundError):
        await client.experiment_named(name)
    made = await client.create_experiment(name)
    assert await client.experiment_named(name) == made
    assert made in await client.experiments()
    await client.ping()
    with pytest.raises(TrackingConflictError):
        await client.create_experiment(name)


async def test_a_run_is_found_by_tag_status_and_id_and_lives_as_told(client: MlflowClient) -> None:
    experiment = await client.create_experiment(f"e-{uuid.uuid4().hex}")
    uid, by_uid = uuid.uuid4().hex, "tags.`vernacular.dev/uid` = '{}'"
    made = await client.create_run(experiment, "hr-bot", 1000, {"vernacular.dev/uid": uid})
    other = await client.create_run(experiment, "other", 1000, {"vernacular.dev/uid": "x"})
    running = f"attributes.status = 'RUNNING' AND {by_uid.format(uid)}"
    own_tags = {name: value for name, value in made.tags.items() if name.startswith("vernacular")}
    (found,) = await client.search_runs([experiment], running)
    assert replace(made, tags=own_tags) == replace(found, tags=own_tags)
    assert (made.status, found.tags["vernacular.dev/uid"]) == ("RUNNING", uid)

    await client.set_tag(made.run_id, "vernacular.dev/attempt", "2")
    await client.log_batch(made.run_id, {"usage/cost": 0.5}, {"vernacular.dev/currency": "EUR"}, 1500)
    await client.update_run(made.run_id, RunStatus.KILLED, 2000)
    assert await client.search_runs([experiment], running) == []
    (found,) = await client.search_runs([experiment], by_uid.format(uid))
    assert (found.status, found.tags["vernacular.dev/attempt"]) == ("KILLED", "2")
    assert found.metrics["usage/cost"] == Metric(0.5, 0, 1500)
    assert found.tags["vernacular.dev/currency"] == "EUR"

    await client.update_run(made.run_id, RunStatus.RUNNING, None)
    both = f"attributes.run_id IN ('{made.run_id}', '{other.run_id}')"
    assert {run.run_id for run in await client.search_runs([experiment], both)} == {made.run_id, other.run_id}
    await client.delete_run(other.run_id)
    assert {run.run_id for run in await client.search_runs([experiment], both)} == {made.run_id}
    with pytest.raises(TrackingError):
        await client.search_runs([experiment], "nonsense")
    with pytest.raises(TrackingNotFoundError):
        await client.set_tag(uuid.uuid4().hex, "a", "b")


async def test_a_deleted_run_takes_nothing_any_more(client: MlflowClient) -> None:
    experiment = await client.create_experiment(f"e-{uuid.uuid4().hex}")
    made = await client.create_run(experiment, "hr-bot", 1000, {})
    await client.delete_run(made.run_id)

    with pytest.raises(TrackingRefusedError, match="must be in the 'active' state"):
        await client.update_run(made.run_id, RunStatus.FINISHED, 2000)
    with pytest.raises(TrackingRefusedError, match="must be in the 'active' state"):
        await client.log_batch(made.run_id, {"usage/cost": 0.5}, {}, 2000)
    with pytest.raises(TrackingRefusedError, match="must be in the 'active' state"):
        await client.set_tag(made.run_id, "a", "b")
