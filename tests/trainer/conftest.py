"""Fixtures of the trainer's tests."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from support.ranks import RankGroup, fork, rank_server
from support.tiny_model import build_tiny_model
from support.training import Finished, TrainingJob, plan

RunRanks = Callable[[TrainingJob], Finished]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with its tokenizer; nobody writes to it."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def server() -> ForkServerContext:
    """Forks training ranks."""
    return rank_server()


@pytest.fixture
def start(server: ForkServerContext) -> Callable[..., RankGroup]:
    """Start the ranks of a job: start(job, attempt=1)."""
    return lambda job, attempt=1: fork(server, job, attempt)


@pytest.fixture
def train(server: ForkServerContext) -> Callable[..., Finished]:
    """Run the ranks of a job to their end: train(job, attempt=1)."""
    return lambda job, attempt=1: fork(server, job, attempt).wait()


@pytest.fixture
def job(tmp_path: Path, tiny_model: Path) -> Callable[..., TrainingJob]:
    """A prepared job whose plan differs from the usual one by the given values: job("name", total_steps=3)."""

    def make(name: str = "job", **changes: object) -> TrainingJob:
        return TrainingJob(tmp_path / name, tiny_model, plan(**changes)).prepare()

    return make
