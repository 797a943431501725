"""Jobs in queues of a real Kueue: quota, priorities, preemption, borrowing, stopped queues, and Kueue away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import apiserver
from support.apiserver import ApiServer
from support.audit import Access, audit_of
from support.deployed_operator import installed, operator, wait
from support.fake_mlflow import FakeMlflow
from support.finetunejobs import finetunejob
from support.helm import Helm
from support.kueue import PRIORITY_CLASS, QUEUE_NAME, kueue, make_queue, set_stop_policy
from support.managers.process import ManagerProcess
from support.simulated_kubelet import Behaviour, SimulatedKubelet, hold_until_stopped, succeed
from vernacular_trainer.contract import JobConfig, Stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SYSTEM = "vernacular"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """A server of these tests' own: Kueue's webhooks look at every Job and pod."""
    with apiserver.running(f"pytest-{os.getpid()}-kueue", with_controllers=True) as started:
        started.request("POST", "/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
        yield started
        audit = audit_of(started, "vernacular", SYSTEM)
        assert audit.refused == ()
        assert {Access("kueue.x-k8s.io", "workloads", verb) for verb in ("list", "watch")} <= audit.used


@pytest.fixture(scope="module")
def manager(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagerProcess]:
    with kueue(server, tmp_path_factory.mktemp("kueue")) as process:
        yield process


@pytest.fixture(scope="module")
def log(
    server: ApiServer, manager: ManagerProcess, helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The log of the operator, which runs with the chart's rights."""
    folder = tmp_path_factory.mktemp("operator")
    queues = {"enabled": True, "followUpPriorityClass": "high"}
    config = {"kueue": queues, "resyncSeconds": 5, "progressIntervalSeconds": 1}
    images = {"data": "example.org/data:1", "trainer": "example.org/trainer:1"}
    with FakeMlflow() as mlflow:
        values = {"config": config, "images": images, "mlflow": {"trackingUri": mlflow.uri}}
        with installed(server, helm, SYSTEM, values), operator(server, SYSTEM, folder) as process:
            yield process.log


class Team:
    """A namespace with queues, whose trainings go on until they are released or told to stop."""

    def __init__(self, server: ApiServer, log: Path) -> None:
        self.server, self.log = server, log
        self.namespace = server.new_namespace("team")
        self._released: set[str] = set()
        self.kubelet = SimulatedKubelet(server, self.namespace, self._behave)

    def _behave(self, config: JobConfig) -> Behaviour:
        if config.stage == Stage.TRAIN and config.identity.name not in self._released:
            return hold_until_stopped(config.attempt * 10)
        return succeed(config)

    def submit(self, name: str, queue: str = "hr", priority: str = "") -> None:
        document = finetunejob(name, {"compute": {"gpusPerPod": 1}})
        labels = {QUEUE_NAME: queue} | ({PRIORITY_CLASS: priority} if priority else {})
        document["metadata"]["labels"] = labels
        self.server.request("POST", self._jobs, document)

    def finish(self, name: str) -> None:
        """From now on this job's trainings end well; those of others that run are not touched."""
        self._released.add(name)
        self.kubelet.release(name)

    @property
    def _jobs(self) -> str:
        return f"/apis/vernacular.dev/v1alpha1/namespaces/{self.namespace}/finetunejobs"

    def status(self, name: str) -> dict[str, Any]:
        return self.server.request("GET", f"{self._jobs}/{name}").get("status", {})

    def stage_jobs(self, name: str) -> dict[str, dict[str, Any]]:
        """By the name of the stage; there must be one attempt of each."""
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs?labelSelector=vernacular.dev/job-name={name}"
        items = self.server.request("GET", path)["items"]
        found = {item["metadata"]["labels"]["vernacular.dev/stage"]: item for item in items}
        assert len(found) == len(items)
        return found

    def wait_state(self, name: str, state: str, seconds: float = 60) -> dict[str, Any]:
        def reached() -> bool:
            return bool(self.status(name).get("state") == state)

        wait(f"{name} is not {state} but {self.status(name).get('state')}", reached, self.log, seconds)
        return self.status(name)

    def wait_message(self, name: str, *words: str) -> dict[str, Any]:
        def told() -> bool:
            return all(word in (self.status(name).get("message") or "") for word in words)

        wait(f"{name} does not say {words}", told, self.log)
        return self.status(name)


@pytest.fixture
def team(server: ApiServer, log: Path) -> Iterator[Team]:
    found = Team(server, log)
    with found.kubelet:
        yield found
    assert not found.kubelet.errors


def test_one_of_three_has_quota_and_the_others_say_what_they_wait_for(team: Team) -> None:
    make_queue(team.server, team.namespace, "hr", gpus=1)
    team.submit("first")
    team.wait_state("first", "Training")
    team.submit("second")
    team.wait_message("second", "waits in queue hr: ", "insufficient", "nvidia.com/gpu")
    team.submit("third")
    status = team.wait_message("third", "waits in queue hr, 1 before it: ")
    assert (status["state"], status["reason"]) == ("Queued", "WaitingForQuota")
    assert status["usage"].get("gpuSeconds", 0) == 0

    for done, after in (("first", "second"), ("second", "third")):
        team.finish(done)
        team.wait_state(done, "Succeeded")
        team.wait_state(after, "Training")
    team.finish("third")
    team.wait_state("third", "Succeeded")
    for name in ("first", "second", "third"):
        jobs = team.stage_jobs(name)
        priorities = {stage: job["metadata"]["labels"].get(PRIORITY_CLASS) for stage, job in jobs.items()}
        assert priorities == {"prepare": None, "train": None, "evaluate": "high", "publish": "high"}


def test_a_training_that_is_preempted_saves_waits_and_goes_on_as_the_same_job(team: Team) -> None:
    make_queue(team.server, team.namespace, "hr", gpus=1)
    team.submit("patient", priority="low")
    team.wait_state("patient", "Training")
    before = team.stage_jobs("patient")["train"]

    team.submit("urgent", priority="high")
    team.wait_state("urgent", "Training")
    status = team.wait_message("patient", "had to leave its nodes (Preempted: ", "it waits in queue hr")
    assert (status["state"], status["reason"]) == ("Queued", "Preempted")
    events = team.server.request("GET", f"/api/v1/namespaces/{team.namespace}/events")["items"]
    about = [each["involvedObject"] for each in events if each["reason"] == "Preempted"]
    assert [each["name"] for each in about if each["kind"] == "FineTuneJob"] == ["patient"]

    team.finish("urgent")
    team.wait_state("urgent", "Succeeded")
    team.wait_state("patient", "Training")
    after = team.stage_jobs("patient")["train"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    team.finish("patient")
    status = team.wait_state("patient", "Succeeded")
    assert status["usage"].get("restarts", 0) == 0


def test_borrowed_quota_is_given_back(team: Team) -> None:
    cohort = f"{team.namespace}-all"
    make_queue(team.server, team.namespace, "hr", gpus=1, cohort=cohort)
    make_queue(team.server, team.namespace, "legal", gpus=1, cohort=cohort)
    for name in ("own", "borrowed"):
        team.submit(name)
        team.wait_state(name, "Training")

    team.submit("claims", "legal")
    team.wait_state("claims", "Training")
    evicted = [name for name in ("own", "borrowed") if team.status(name)["state"] == "Queued"]
    assert len(evicted) == 1
    team.wait_message(evicted[0], "had to leave its nodes (Preempted: ", "waits in queue hr")


def test_a_queue_that_is_stopped_evicts_and_goes_on_when_it_is_started(team: Team) -> None:
    make_queue(team.server, team.namespace, "hr", gpus=1)
    team.submit("job")
    team.wait_state("job", "Training")

    set_stop_policy(team.server, team.namespace, "hr", "HoldAndDrain")
    status = team.wait_message("job", "had to leave its nodes (ClusterQueueStopped: ")
    assert (status["state"], status["reason"]) == ("Queued", "Evicted")

    set_stop_policy(team.server, team.namespace, "hr", "None")
    team.wait_state("job", "Training")
    team.finish("job")
    assert team.wait_state("job", "Succeeded")["usage"].get("restarts", 0) == 0


def test_a_queue_that_does_not_exist_is_said(team: Team) -> None:
    team.submit("lost", "nowhere")

    team.wait_message("lost", "waits in queue nowhere", "nowhere", "doesn't exist")


def test_nothing_is_lost_while_kueue_is_away(team: Team, manager: ManagerProcess) -> None:
    make_queue(team.server, team.namespace, "hr", gpus=2)
    team.submit("before")
    team.wait_state("before", "Training")

    manager.stop()
    try:
        team.submit("meanwhile")
        team.wait_message("meanwhile", "cannot be created", "failed calling webhook")
        team.finish("before")
    finally:
        manager.start()

    for name in ("before", "meanwhile"):
        team.finish(name)
        assert team.wait_state(name, "Succeeded", 120)["usage"].get("restarts", 0) == 0


def test_the_queues_of_the_example_are_taken(server: ApiServer, manager: ManagerProcess) -> None:
    example = apiserver.REPOSITORY / "examples/queue"
    for namespace in ("support", "legal"):
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    made = server.kubectl("apply", "--validate=strict", "-f", str(example / "queues.yaml"))

    assert made.returncode == 0, made.stderr
    labels = yaml.safe_load((example / "finetunejob.yaml").read_text())["metadata"]["labels"]
    for kind, label in (("localqueue", QUEUE_NAME), ("workloadpriorityclass", PRIORITY_CLASS)):
        assert server.kubectl("get", kind, labels[label], "-n", "support").returncode == 0
