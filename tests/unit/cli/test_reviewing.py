"""`vernacular review`: what it needs, and as whom it speaks."""

from __future__ import annotations

import getpass
import importlib.util
import io
import json
from argparse import Namespace
from pathlib import Path

import pytest

from support.answering_server import AnsweringServer
from support.command_line import shell_at
from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import CliError
from vernacular.cli.terminal import Terminal
from vernacular.cli.verbs import review


class Cluster(AnsweringServer):
    """Knows who asks, or does not say."""

    def __init__(self, status: int, name: str) -> None:
        super().__init__()
        self.status, self.name = status, name

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        return self.status, json.dumps({"status": {"userInfo": {"username": self.name}}})


@pytest.mark.parametrize(
    ("status", "name", "reviewer"),
    [(201, "ada@example.com", "ada@example.com"), (201, "", getpass.getuser()), (404, "ada", getpass.getuser())],
)
def test_the_reviewer_is_who_the_cluster_says_else_who_the_machine_says(
    tmp_path: Path, status: int, name: str, reviewer: str
) -> None:
    with Cluster(status, name) as server:
        kubeconfig = shell_at(server.uri, tmp_path).kubeconfig
        jobs = open_jobs(Namespace(kubeconfig=str(kubeconfig), context=None, namespace=None))

        assert review.user_of(jobs) == reviewer


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(io.StringIO(), io.StringIO(), colours=False, live=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(CliError) as caught:
        review.run(Namespace(job="hr-bot", sheet=str(tmp_path / "review.xlsx")), terminal)

    assert "[data]" in caught.value.advice
