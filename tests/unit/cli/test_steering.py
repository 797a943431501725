"""Names of jobs that are made anew, what is copied, which pod speaks, what a deletion takes along."""

from __future__ import annotations

from typing import Any

import pytest

from support.cli_jobs import TRAINING, job
from vernacular.api.constants import LABEL_ATTEMPT, LABEL_JOB_UID, LABEL_STAGE, MAX_NAME_LENGTH
from vernacular.cli import steering
from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError
from vernacular.cli.pods import CONTAINER, Place, ready_to_speak, selector, where
from vernacular.cli.steering import copy_of, lost_with, next_name, to_create
from vernacular_operator.manifests.job import CONTAINER_NAME

COMMANDS = Commands("kubectl finetune", "demo", context="test")


@pytest.mark.parametrize(
    ("name", "taken", "made"),
    [
        ("hr-bot", (), "hr-bot-2"),
        ("hr-bot", ("hr-bot", "hr-bot-2", "hr-bot-4"), "hr-bot-3"),
        ("hr-bot-2", ("hr-bot-2",), "hr-bot-3"),
        ("hr-bot-9", ("hr-bot-10",), "hr-bot-11"),
        ("a" * 40, (), "a" * 38 + "-2"),
        ("a" * 37 + "-bc", (), "a" * 37 + "-2"),
    ],
)
def test_the_next_free_name(name: str, taken: tuple[str, ...], made: str) -> None:
    assert next_name(name, taken) == made
    assert len(made) <= MAX_NAME_LENGTH == steering.MAX_NAME_LENGTH


def test_a_copy_is_what_its_author_wrote() -> None:
    old = job("hr-bot", {"state": "Failed"}, runPolicy={"suspend": True, "activeDeadlineSeconds": 0, "maxRestarts": 5})
    old["metadata"] |= {
        "labels": {"kueue.x-k8s.io/queue-name": "hr", "app.kubernetes.io/instance": "argo"},
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "argocd.argoproj.io/tracking-id": "a",
            "team": "hr",
        },
        "ownerReferences": [{"name": "workflow"}],
        "finalizers": ["example.org/wait"],
    }  # fmt: skip

    made = copy_of(old, "hr-bot-2")

    assert made["metadata"] == {
        "name": "hr-bot-2", "namespace": "demo", "labels": {"kueue.x-k8s.io/queue-name": "hr"},
        "annotations": {"team": "hr"},
    }  # fmt: skip
    assert made["spec"]["runPolicy"] == {"maxRestarts": 5}
    assert made["spec"]["model"] == old["spec"]["model"]
    assert "status" not in made


def test_what_is_submitted_is_what_was_written() -> None:
    written = {"name": "hr-bot", "namespace": "demo", "labels": {"a": "b"}, "finalizers": ["example.org/wait"]}
    stored = {"uid": "1", "resourceVersion": "7", "generation": 2, "creationTimestamp": "x", "managedFields": []}

    assert to_create({**job("hr-bot", {}), "metadata": {**written, **stored}})["metadata"] == written


@pytest.mark.parametrize(
    ("workspace", "says"),
    [
        ({}, "Its workspace goes with it, and the checkpoints there."),
        ({"deletionPolicy": "Retain"}, "Its workspace stays."),
        ({"claimName": "mine"}, "Its files on the claim mine stay."),
    ],
)
def test_what_a_deletion_takes_along(workspace: dict[str, Any], says: str) -> None:
    assert lost_with(job("a", {}, storage={"workspace": workspace})) == says


def test_the_pod_that_is_meant_when_nothing_is_said() -> None:
    assert where(TRAINING, None, None, 0, COMMANDS) == Place("train", 2, 0)
    assert where(TRAINING, "train", 1, 1, COMMANDS) == Place("train", 1, 1)
    assert where(TRAINING, "prepare", None, 0, COMMANDS) == Place("prepare", 1, 0)


@pytest.mark.parametrize(
    ("stage", "attempt", "rank", "says"),
    [
        ("publish", None, 0, "stage publish of hr-bot has not begun"),
        ("train", 3, 0, "stage train of hr-bot has no attempt 3"),
        ("train", 0, 0, "stage train of hr-bot has no attempt 0"),
        ("train", None, 2, "stage train of hr-bot has no rank 2"),
        ("prepare", None, 1, "stage prepare of hr-bot has no rank 1"),
    ],
)
def test_pods_that_never_were(stage: str, attempt: int | None, rank: int, says: str) -> None:
    with pytest.raises(CliError, match=says):
        where(TRAINING, stage, attempt, rank, COMMANDS)


def test_a_job_that_has_not_begun_has_no_logs() -> None:
    with pytest.raises(CliError, match="no stage of a has begun yet") as caught:
        where(job("a", {}), None, None, 0, COMMANDS)

    assert caught.value.advice == "kubectl finetune explain a -n demo --context test says why"


def test_pods_are_found_by_the_labels_of_the_operator() -> None:
    assert selector(TRAINING, Place("train", 2, 1)) == (
        f"{LABEL_JOB_UID}=uid-hr-bot,{LABEL_STAGE}=train,{LABEL_ATTEMPT}=2,batch.kubernetes.io/job-completion-index=1"
    )
    assert "completion-index" not in selector(TRAINING, Place("prepare", 1, 0))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"running": {}}, ""),
        ({"terminated": {}}, ""),
        ({"waiting": {"reason": "ImagePullBackOff"}}, "ImagePullBackOff"),
        (None, "it has no node yet"),
    ],
)
def test_whether_a_pod_has_begun_to_speak(state: dict[str, Any] | None, says: str) -> None:
    beside = {"name": "mesh", "state": {"running": {}}}
    containers = [beside, {"name": CONTAINER, "state": state}] if state else []

    assert ready_to_speak({"status": {"containerStatuses": containers}}) == says
    assert CONTAINER == CONTAINER_NAME


def test_commands_reach_the_same_cluster() -> None:
    assert COMMANDS.own("promote", "a b", version="3", alias=None) == (
        "kubectl finetune promote 'a b' --version 3 -n demo --context test"
    )
    assert COMMANDS.kubectl(["get", "pods"], "-o", "yaml") == "kubectl get pods -n demo --context test -o yaml"
    assert COMMANDS.kubectl(["get", "nodes"], namespaced=False) == "kubectl get nodes --context test"
