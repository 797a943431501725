"""Fixtures of the operator's integration tests: a namespace, a real MLflow server, a simulated kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.apiserver import RESTRICTED, ApiServer
from support.embedded_operator import User
from support.mlflow_server import MlflowServer
from support.simulated_kubelet import SimulatedKubelet


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server on loopback."""
    folder: Path = tmp_path_factory.mktemp("mlflow")
    with MlflowServer(folder) as server:
        yield server


@pytest.fixture
def namespace(api_server_with_controllers: ApiServer) -> Iterator[str]:
    """A namespace of the test's own that takes restricted pods alone, with the real Job controller at work."""
    name = api_server_with_controllers.new_namespace("operator", RESTRICTED)
    yield name
    api_server_with_controllers.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubelet(api_server_with_controllers: ApiServer, namespace: str) -> Iterator[SimulatedKubelet]:
    """Runs the stage pods of the namespace; every stage succeeds unless the test changes the script."""
    with SimulatedKubelet(api_server_with_controllers, namespace) as simulated:
        yield simulated
    assert not simulated.errors


@pytest.fixture
def user(api_server_with_controllers: ApiServer, namespace: str) -> User:
    """Who applies FineTuneJobs in the namespace."""
    return User(api_server_with_controllers, namespace)
