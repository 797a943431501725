"""The dev cluster with the chart installed: real API server, kubelets, images and MLflow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import install, model
from demo.shell import Shell
from demo.target import Target, start_dev_cluster
from support.cluster_jobs import ClusterJobs, ClusterMlflow
from support.tiny_model import build_tiny_model

ROWS = [
    {"messages": [{"role": "user", "content": f"where is room {i}"}, {"role": "assistant", "content": f"floor {i}"}]}
    for i in range(40)
]


@pytest.fixture(scope="session")
def target() -> Target:
    """Start the cluster and bring the images up to date; both return at once when nothing changed."""
    found = start_dev_cluster(nodes=2)
    install.install_chart(found)
    return found


@pytest.fixture(scope="session")
def shell(target: Target) -> Shell:
    return target.shell


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Folder of SmolLM2-135M-Instruct, converted once and cached."""
    return model.ensure_model()


@pytest.fixture(scope="session")
def mlflow(target: Target) -> ClusterMlflow:
    return ClusterMlflow(target.mlflow_url)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that trains in seconds."""
    return Path(build_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def prepared(target: Target, jobs: ClusterJobs, tiny_model: Path) -> ClusterJobs:
    """A namespace with the tiny model and rows."""
    jobs.give_model(target, tiny_model, "tiny")
    jobs.give_rows(train="\n".join(json.dumps(row) for row in ROWS))
    return jobs


@pytest.fixture(scope="module")
def jobs(shell: Shell, namespace: str) -> ClusterJobs:
    return ClusterJobs(shell, namespace)


@pytest.fixture(scope="module")
def namespace(shell: Shell) -> Iterator[str]:
    """A namespace of its own that enforces restricted pods."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    install.ensure_namespace(shell, name)
    yield name
    shell.kubectl("delete", "namespace", name, "--wait=false")
