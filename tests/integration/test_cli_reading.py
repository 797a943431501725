"""What the command line shows of jobs on a real API server, through pipes and on a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from support.apiserver import ApiServer
from support.cli_jobs import BROKEN_STATUS, TRAINING_STATUS, StoredJobs, condition
from support.command_line import PROGRAM, Shell, shell_in
from vernacular.cli.parser import VERBS

pytestmark = pytest.mark.integration

DONE = {
    "state": "Succeeded",
    "reason": "JobSucceeded",
    "message": "",
    "conditions": [condition("Complete", "True", "JobSucceeded")],
    "evaluation": {
        "verdict": "Promote", "summary": "Tuned 34 of 38 right, base 2.",
        "base": {"correct": 2, "wrong": 30, "declined": 6}, "tuned": {"correct": 34, "wrong": 3, "declined": 1},
        "gainPoints": {"value": 84, "low": 60, "high": 95},
    },
    "mlflow": {
        "url": "https://mlflow.example.org/#/experiments/3/runs/abc", "runID": "abc", "registeredModel": "demo.hr-bot",
        "modelVersion": "4", "alias": "candidate", "promotedAlias": "champion", "replacedVersion": "3",
    },
}  # fmt: skip


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    return api_server.new_namespace("cli")


@pytest.fixture
def jobs(api_server: ApiServer, namespace: str) -> StoredJobs:
    return StoredJobs(api_server, namespace)


@pytest.fixture
def shell(api_server: ApiServer, namespace: str, tmp_path: Path) -> Shell:
    """Its context has the namespace of the test."""
    return shell_in(api_server, namespace, tmp_path)


def test_a_list_of_all_jobs(jobs: StoredJobs, shell: Shell, namespace: str) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)
    jobs.make("hr-bot-broken", BROKEN_STATUS)

    lines = shell.run("list").stdout.splitlines()

    assert [line.split()[:3] for line in lines] == [
        ["NAME", "STATE", "PROGRESS"],
        ["hr-bot", "Training", "40%"],
        ["hr-bot-broken", "Failed", "-"],
    ]
    everywhere = shell.run("list", "--all-namespaces", "-o", "wide").stdout
    assert [namespace, "hr-bot"] in [line.split()[:2] for line in everywhere.splitlines()]
    assert "hf://org/model" in everywhere


def test_no_jobs(shell: Shell, namespace: str) -> None:
    done = shell.run("list")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"There are no FineTuneJobs in namespace {namespace}.\n"


def test_for_programs(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    listed = json.loads(shell.run("list", "-o", "json").stdout)
    described = yaml.safe_load(shell.run("describe", "hr-bot", "-o", "yaml").stdout)

    assert [item["metadata"]["name"] for item in listed["items"]] == ["hr-bot"]
    assert described["status"]["progress"]["step"] == 120
    assert "managedFields" not in described["metadata"]


def test_everything_of_a_job(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", DONE)

    text = shell.run("describe", "hr-bot").stdout

    assert "Verdict:      Promote" in text
    assert "Model:        demo.hr-bot version 4, alias candidate" in text
    assert "Promoted:     to champion (before: version 3)" in text


def test_a_name_with_a_slip(jobs: StoredJobs, shell: Shell, namespace: str) -> None:
    jobs.make("hr-bot")

    done = shell.run("describe", "hr-bto")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"Error: there is no FineTuneJob hr-bto in namespace {namespace}",
        "  did you mean hr-bot?",
    ]


def test_colours_are_for_terminals(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", BROKEN_STATUS)

    with shell.terminal("list") as screen:
        assert screen.end() == 0
        assert "\x1b[31mFailed\x1b[0m" in screen.raw
    with Shell(shell.kubeconfig, shell.home, {"NO_COLOR": "1"}).terminal("list") as screen:
        assert screen.end() == 0
        assert "\x1b" not in screen.raw
    assert "\x1b" not in shell.run("list").stdout


def test_why_a_job_failed(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", BROKEN_STATUS)

    text = shell.run("explain", "hr-bot").stdout

    assert text.splitlines()[0] == "Failed: DatasetSchema"
    assert "  Use system, user, assistant or tool." in text
    assert "vernacular retry hr-bot" in text


def test_watching_in_a_terminal(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    with shell.terminal("watch", "hr-bot", columns=100) as screen:
        first = screen.until("step 120 of 300 (40%), loss 0.412")
        assert "\x1b[32m✓ Prepare\x1b[0m  \x1b[36m● Train\x1b[0m  \x1b[2m○ Evaluate\x1b[0m" in first
        jobs.report("hr-bot", {"progress": {"step": 150, "loss": "0.300"}})
        # the loss stands below the step
        second = screen.until("\x1b[36m█▁\x1b[0m")
        assert "step 150 of 300" in second
        assert "Loss:         \x1b[36m█▁\x1b[0m" in second
        assert "step 120" not in second
        jobs.report("hr-bot", DONE)
        assert screen.end() == 0

    assert "Tuned 34 of 38 right, base 2." in screen.shown
    assert "the run: https://mlflow.example.org" in screen.shown


def test_watching_through_a_pipe(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", BROKEN_STATUS)

    done = shell.run("watch", "hr-bot")

    assert done.returncode == 3
    assert "Failed (DatasetSchema) ConfigMap rows, key train.jsonl, line 7" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1].startswith("vernacular explain hr-bot -n ")


def test_a_job_that_is_deleted_while_it_is_watched(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    with shell.terminal("watch", "hr-bot") as screen:
        screen.until("step 120")
        jobs.delete("hr-bot")
        assert screen.end() == 1

    assert "FineTuneJob hr-bot was deleted while it was watched" in screen.raw


def test_ctrl_c_ends_the_watching(jobs: StoredJobs, shell: Shell) -> None:
    jobs.make("hr-bot", TRAINING_STATUS)

    with shell.terminal("watch", "hr-bot") as screen:
        screen.until("step 120")
        assert screen.interrupt() == 130

    assert "Traceback" not in screen.raw


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["de"], {"describe", "delete"}),
        (["describe", "hr-bot-"], {"hr-bot-broken"}),
        (["logs", "--stage", "p"], {"prepare", "publish"}),
        ([""], {verb.name for verb in VERBS}),
    ],
)
def test_kubectl_completes_words(jobs: StoredJobs, shell: Shell, words: list[str], found: set[str]) -> None:
    jobs.make("hr-bot")
    jobs.make("hr-bot-broken")

    done = shell.run(*words, program=PROGRAM.replace("/vernacular", "/kubectl_complete-finetune"))

    *completions, directive = done.stdout.splitlines()
    assert directive == ":4"
    assert found <= set(completions)
    assert all(completion.startswith(words[-1]) for completion in completions)


def test_a_reader_that_has_seen_enough(jobs: StoredJobs, shell: Shell) -> None:
    for number in range(3):
        jobs.make(f"bot-{number}", TRAINING_STATUS)

    done = shell.run("-c", f"'{PROGRAM}' list | head -n 0", program="bash")

    assert done.stderr == ""
