"""The Python API on a real API server: its guide is run as it stands."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs, condition
from support.command_line import shell_in
from vernacular import AsyncClient, Client, FineTuneJob, VernacularError
from vernacular.client import AsyncSubmittedJob, SubmittedJob

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "python.md"
COUNTS = {"correct": 2, "wrong": 3, "declined": 0}
ENDED = {
    "state": "Succeeded",
    "conditions": [condition("Complete", "True", "JobSucceeded")],
    "evaluation": {
        "verdict": "Promote", "summary": "Tuned 34 of 38 right.", "base": COUNTS, "tuned": COUNTS,
        "gainPoints": {"value": 84, "low": 60, "high": 95},
    },
}  # fmt: skip
TRAINING = {"state": "Training", "progress": {"step": 1, "totalSteps": 2, "percent": 50}}
SPEC: dict[str, Any] = {
    "model": {"uri": "hf://org/model"},
    "dataset": {"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]},
}


def a_job(name: str = "hr-bot") -> FineTuneJob:
    return FineTuneJob.model_validate({"metadata": {"name": name}, "spec": SPEC})


@pytest.fixture
def jobs(api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredJobs:
    """Jobs of the namespace that a client of this process finds in its kubeconfig."""
    namespace = api_server.new_namespace("python")
    monkeypatch.setenv("KUBECONFIG", str(shell_in(api_server, namespace, tmp_path).kubeconfig))
    return StoredJobs(api_server, namespace)


@contextmanager
def operated(jobs: StoredJobs) -> Iterator[None]:
    """Somebody who reports for every job that it trains, and then that it has succeeded."""
    stopping = threading.Event()

    def operate() -> None:
        reported: dict[str, int] = {}
        while not stopping.wait(0.1):
            for name in jobs.names():
                if (seen := reported.get(name, 0)) < 2 and name != "hr-bot-slow":
                    jobs.report(name, (TRAINING, ENDED)[seen])
                    reported[name] = seen + 1

    thread = threading.Thread(target=operate)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_the_guide_runs_as_it_stands(jobs: StoredJobs, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    space: dict[str, Any] = {"__name__": "guide"}

    with operated(jobs):
        for block in blocks:
            exec(compile(block, str(GUIDE), "exec"), space)

    said = capsys.readouterr().out
    assert "Succeeded" in said
    assert "Tuned 34 of 38 right." in said
    assert "['hr-bot', 'hr-bot-slow']" in said
    assert "there is no FineTuneJob hr-bto" in said
    assert "did you mean hr-bot" in said
    assert "hr-bot-a Succeeded\nhr-bot-b Succeeded" in said
    assert sorted(jobs.names()) == ["hr-bot", "hr-bot-a", "hr-bot-b"]


def test_only_what_its_author_set_is_written(jobs: StoredJobs) -> None:
    Client().submit(a_job(), dry_run=True)
    assert jobs.names() == []

    made = Client().submit(a_job())

    stored = jobs.read("hr-bot")
    assert stored["spec"]["model"] == {"uri": "hf://org/model"}
    assert "training" not in stored["spec"]
    assert made.read().spec.model.uri == "hf://org/model"


def test_a_name_that_is_taken(jobs: StoredJobs) -> None:
    Client().submit(a_job())

    with pytest.raises(VernacularError, match="already exists"):
        Client().submit(a_job())


def test_steering(jobs: StoredJobs) -> None:
    job = Client().submit(a_job())

    job.suspend()
    assert job.read().spec.run_policy.suspend is True
    job.cancel()
    assert (job.read().spec.run_policy.suspend, job.read().spec.run_policy.active_deadline_seconds) == (False, 0)
    job.delete()
    assert jobs.names() == []


def test_a_mistake_is_found_before_the_cluster_sees_it() -> None:
    with pytest.raises(ValidationError, match="epoch"):
        FineTuneJob.model_validate({"metadata": {"name": "a"}, "spec": {**SPEC, "training": {"epoch": 3}}})


def test_a_job_that_is_deleted_while_it_is_watched(jobs: StoredJobs) -> None:
    watching = Client().submit(a_job()).watch()
    next(watching)
    jobs.delete("hr-bot")

    with pytest.raises(VernacularError, match="was deleted while it was watched"):
        list(watching)


def test_a_watch_that_is_left_holds_up_nothing(jobs: StoredJobs) -> None:
    async def first() -> str:
        job = await (AsyncClient()).submit(a_job())
        async for seen in job.watch():
            return seen.metadata.name
        return ""

    # the end of the loop waits for its own threads: this returns at once
    assert asyncio.run(asyncio.wait_for(first(), 30)) == "hr-bot"


def test_a_job_of_another_namespace_is_not_made_in_this_one(jobs: StoredJobs) -> None:
    elsewhere = FineTuneJob.model_validate({"metadata": {"name": "hr-bot", "namespace": "elsewhere"}, "spec": SPEC})

    with pytest.raises(VernacularError, match="names the namespace elsewhere") as caught:
        Client().submit(elsewhere)

    assert 'Client("elsewhere")' in caught.value.advice
    assert jobs.names() == []


class NewerJobs:
    """The jobs of a cluster whose release knows more than this client."""

    def __init__(self, stored: StoredJobs) -> None:
        self._stored = stored

    def one(self, name: str) -> dict[str, Any]:
        """The job, with a field that this client has not."""
        job = self._stored.read(name)
        return {**job, "spec": {**job["spec"], "novelty": 1}}


async def test_a_watch_of_what_a_newer_cluster_says_ends(jobs: StoredJobs) -> None:
    Client().submit(a_job())
    job = SubmittedJob(NewerJobs(jobs), "hr-bot")  # type: ignore[arg-type]

    with pytest.raises(VernacularError, match=r"does not know: spec\.novelty") as caught:
        await asyncio.wait_for(AsyncSubmittedJob(job).wait(), 10)

    assert caught.value.advice == "install the client of the cluster's release"


class BrokenJob(SubmittedJob):
    """A watch that fails for a reason that nobody thought of."""

    def watch(self) -> Iterator[FineTuneJob]:
        raise RuntimeError("out of threads")


async def test_whatever_ends_a_watch_reaches_the_loop(jobs: StoredJobs) -> None:
    with pytest.raises(RuntimeError, match="out of threads"):
        await asyncio.wait_for(AsyncSubmittedJob(BrokenJob(NewerJobs(jobs), "hr-bot")).wait(), 10)  # type: ignore[arg-type]


async def test_errors_reach_the_loop(jobs: StoredJobs) -> None:
    client = AsyncClient()
    job = await client.submit(a_job())
    await job.suspend()
    assert (await job.read()).spec.run_policy.suspend is True
    await job.delete()

    with pytest.raises(VernacularError, match="there is no FineTuneJob"):
        await client.get("hr-bot")
    assert await client.list() == []
