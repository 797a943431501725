"""What becomes of files when a job is submitted and the cluster refuses, or its answer is lost."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.answering_server import AnsweringServer
from support.command_line import Shell, shell_at

JOB = """\
apiVersion: vernacular.dev/v1alpha1
kind: FineTuneJob
metadata: {name: hr-bot}
spec:
  model: {uri: hf://org/model}
  dataset: {train: [{file: rows.jsonl}]}
"""
ROWS = '{"text": "Привет"}\n'


class Server(AnsweringServer):
    """Keeps ConfigMaps and jobs; answers the creation of a job with `status`, once it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 201
        self.config_maps: dict[str, Any] = {}
        self.jobs: list[str] = []
        self.bodies: list[bytes] = []

    def create(self, path: str, body: Any) -> int:
        name = body["metadata"]["name"]
        if path.endswith("/configmaps"):
            return 409 if name in self.config_maps else self.config_maps.update({name: body}) or 201
        if "dryRun" not in path:
            self.jobs.append(name)
            return self.status
        return 201

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        if method == "GET":
            found = self.config_maps.get(path.rpartition("/")[2])
            return 200 if found else 404, json.dumps(found or {})
        self.bodies.append(body)
        return self.create(path, json.loads(body)), json.dumps({"message": "so it is", "reason": "Test"})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    return shell_at(server.uri, tmp_path)


@pytest.mark.parametrize(("status", "says"), [(504, "the cluster cannot answer now"), (409, "hr-bot in namespace")])
def test_the_files_of_a_job_that_may_exist_stay(server: Server, shell: Shell, status: int, says: str) -> None:
    server.status = status

    done = shell.run("submit", "job.yaml")

    assert done.returncode != 0
    assert says in done.stderr
    # a DELETE would be answered with 501
    assert server.jobs == ["hr-bot"]
    assert len(server.config_maps) == 1


def test_a_file_that_is_there_already_is_used(server: Server, shell: Shell) -> None:
    assert shell.run("submit", "job.yaml").returncode == 0
    again = shell.run("submit", "job.yaml", "--name", "other")

    assert again.returncode == 0, again.stderr
    assert len(server.config_maps) == 1
    assert server.jobs == ["hr-bot", "other"]


def test_other_content_under_the_name_of_a_file(server: Server, shell: Shell) -> None:
    assert shell.run("submit", "job.yaml").returncode == 0
    (name,) = server.config_maps
    server.config_maps[name]["data"]["rows.jsonl"] = "other"

    done = shell.run("submit", "job.yaml", "--name", "other")

    assert done.returncode == 1
    assert f"the ConfigMap {name} in namespace demo is not what submit would make of rows.jsonl" in done.stderr
    assert server.jobs == ["hr-bot"]


def test_rows_too_large_for_a_config_map_are_packed(server: Server, shell: Shell) -> None:
    rows = ROWS * 60_000
    (shell.home / "rows.jsonl").write_text(rows)

    done = shell.run("submit", "job.yaml")

    assert done.returncode == 0, done.stderr
    ((name, made),) = server.config_maps.items()
    assert done.stdout.splitlines()[0] == f"rows.jsonl is in ConfigMap {name}, packed."
    assert gzip.decompress(base64.b64decode(made["binaryData"]["rows.jsonl.gz"])).decode() == rows
    assert '"key": "rows.jsonl.gz"' in server.bodies[-1].decode()
    # another machine packs the same rows into other bytes
    made["binaryData"]["rows.jsonl.gz"] = base64.b64encode(gzip.compress(rows.encode(), 1)).decode()
    assert shell.run("submit", "job.yaml", "--name", "again").returncode == 0
    made["binaryData"]["rows.jsonl.gz"] = base64.b64encode(gzip.compress(b"other")).decode()
    assert "is not what submit would make of rows.jsonl" in shell.run("submit", "job.yaml", "--name", "third").stderr


def test_questions_are_not_packed(server: Server, shell: Shell) -> None:
    (shell.home / "rows.jsonl").write_text(ROWS * 60_000)
    (shell.home / "job.yaml").write_text(JOB + "  evaluation: {questions: {file: rows.jsonl}}\n")

    done = shell.run("submit", "job.yaml")

    assert done.returncode == 1
    assert "has 1.4 MiB, and a ConfigMap holds 1 MiB" in done.stderr
    assert server.config_maps == {}


def test_rows_that_do_not_fit_packed_either(server: Server, shell: Shell) -> None:
    (shell.home / "rows.jsonl").write_bytes(random.Random(0).randbytes(1_200_000))

    done = shell.run("submit", "job.yaml")

    assert done.returncode == 1
    assert "has 1.1 MiB, 1.1 packed, and a ConfigMap holds 1 MiB" in done.stderr


def test_letters_take_no_more_room_than_in_their_file(server: Server, shell: Shell) -> None:
    assert shell.run("submit", "job.yaml").returncode == 0

    assert any("Привет".encode() in body for body in server.bodies)
