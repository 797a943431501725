"""Every reason to wait or to fail is explained, with commands that a person can run."""

from __future__ import annotations

import shlex

import pytest

from support.cli_jobs import BROKEN, TRAINING, condition, job
from vernacular.api import FAILURES, FailureCode, Reason
from vernacular.cli.commands import Commands
from vernacular.cli.explaining import Explanation, explain
from vernacular.cli.parser import VERBS, build_parser
from vernacular.cli.screens.explain import explanation

COMMANDS = Commands("vernacular", "demo")
WAITS = [reason for reason in Reason if reason.startswith("WaitingFor")]


def failed(code: str) -> Explanation:
    status = {
        "state": "Failed",
        "reason": code,
        "conditions": [condition("Failed", "True", code)],
        "failure": {"code": code, "message": "it broke", "advice": "mend it", "evidence": "pod a"},
    }
    return explain(job("hr-bot", status), [], COMMANDS, "hr-bot-2")


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure(code: FailureCode) -> None:
    answer = failed(code)

    assert answer.headline == f"Failed: {code}"
    assert answer.meaning == FAILURES[code].meaning
    assert answer.seen == ("it broke", "seen in: pod a")
    assert answer.advice == "mend it"
    assert any("retry hr-bot" in command or "submit hr-bot-2.yaml" in command for command, _ in answer.commands)


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_that_is_waited_for_or_tried_again(code: FailureCode) -> None:
    answer = explain(job("hr-bot", {"state": "Training", "reason": code, "message": "m"}), [], COMMANDS)

    assert answer.follows
    assert answer.advice == FAILURES[code].advice
    assert not any("retry" in command or "submit" in command for command, _ in answer.commands)


@pytest.mark.parametrize("reason", WAITS)
def test_every_wait(reason: Reason) -> None:
    answer = explain(job("hr-bot", {"state": "Starting", "reason": reason, "message": "m"}), [], COMMANDS)

    assert answer.headline == f"Starting: {reason}"
    assert answer.seen == ("m",)
    assert answer.advice


def test_commands_of_the_program_exist() -> None:
    parser = build_parser()
    answers = [failed(code) for code in FailureCode]
    answers += [explain(job("a", {"state": "Suspended", "reason": reason}), [], COMMANDS) for reason in Reason]
    commands = {command.partition(" > ")[0] for answer in answers for command, _ in answer.commands}
    own = {command for command in commands if command.startswith("vernacular ")}

    assert own
    for command in own:
        parser.parse_args(command.split()[1:])


def test_rows_that_are_wrong_are_named() -> None:
    status = {
        **BROKEN["status"],
        "dataset": {
            "problems": [
                {
                    "code": "UnknownRole", "severity": "Error", "count": 1, "firstRows": ["train.jsonl line 7"],
                    "advice": "A.",
                },
                {"code": "LongRow", "severity": "Warning", "count": 1},
            ]
        },
    }  # fmt: skip

    seen = explain(job("a", status), [], COMMANDS).seen

    assert "UnknownRole in 1 row: train.jsonl line 7. A." in seen
    assert not any("LongRow" in item for item in seen)


def test_files_that_are_wrong_are_put_in_their_place() -> None:
    sources = [{"configMap": {"name": "rows", "key": "train.jsonl"}}, {"uri": "pvc://hr/2026/more.jsonl"}]
    broken = job("a", BROKEN["status"], dataset={"train": sources})
    commands = [command for command, _ in explain(broken, [], COMMANDS).commands]

    assert commands[0].startswith("kubectl create configmap rows -n demo --from-file=train.jsonl ")
    assert commands[1] == "kubectl get pvc hr -n demo"
    assert commands[-1] == "vernacular retry a -n demo"


@pytest.mark.parametrize("name", ["rows-0123456789ab", "rows-0123456789abcdef0123", "0123456789abcdef0123"])
def test_files_that_submit_has_made_never_change(name: str) -> None:
    sources = [{"configMap": {"name": name, "key": "train.jsonl"}}, {"configMap": {"name": "own", "key": "more.jsonl"}}]
    broken = job("a", BROKEN["status"], dataset={"train": sources})
    commands = [command for command, _ in explain(broken, [], COMMANDS, "a-2").commands]

    assert [command.split()[:4] for command in commands] == [
        ["kubectl", "create", "configmap", "own"],
        ["vernacular", "submit", "JOB.yaml", "--name"],
    ]
    assert commands[-1] == "vernacular submit JOB.yaml --name a-2 -n demo"


def test_no_file_of_a_person_is_written_over() -> None:
    commands = [command for command, _ in failed(FailureCode.DOES_NOT_FIT).commands]

    assert commands[-2:] == [
        "vernacular describe hr-bot -o yaml -n demo > hr-bot-2.yaml",
        "vernacular submit hr-bot-2.yaml --name hr-bot-2 -n demo",
    ]


@pytest.mark.parametrize("code", [FailureCode.DATASET_ACCESS_DENIED, FailureCode.SOURCE_UNAVAILABLE])
def test_what_is_mended_elsewhere_needs_no_change_of_the_job(code: FailureCode) -> None:
    (command,) = failed(code).commands

    assert command[0] == "vernacular retry hr-bot -n demo"


def test_a_cancelled_job() -> None:
    status = {"state": "Failed", "failure": {"code": "DeadlineExceeded", "message": "m"}}
    status["conditions"] = [condition("Failed", "True", "DeadlineExceeded")]
    answer = explain(job("a", status, runPolicy={"activeDeadlineSeconds": 0}), [], COMMANDS, "a-2")

    assert (answer.headline, answer.seen) == ("Cancelled", ("m",))
    assert answer.commands == (("vernacular retry a -n demo", "makes the job anew, without a deadline"),)


def test_warnings_of_attempts_are_told() -> None:
    events = [
        {"type": "Normal", "reason": "Started", "message": "n"},
        *({"type": "Warning", "reason": "Hang", "message": f"attempt {number}"} for number in range(1, 6)),
    ]
    status = {"state": "Failed", "reason": "RestartsExhausted", "conditions": [condition("Failed", "True", "X")]}

    seen = explain(job("a", status), events, COMMANDS).seen

    assert seen == ("event Hang: attempt 3", "event Hang: attempt 4", "event Hang: attempt 5")


def test_a_job_at_work_and_one_that_succeeded_and_one_that_nobody_saw() -> None:
    done = job("a", {"state": "Succeeded", "conditions": [condition("Complete", "True", "JobSucceeded")]})

    assert explain(TRAINING, [], COMMANDS).meaning == "The job is at work; nothing holds it up."
    assert explain(done, [], COMMANDS).headline == "Succeeded"
    assert "operator" in explain(job("a", {}), [], COMMANDS).advice


def test_a_reason_of_a_newer_operator() -> None:
    answer = explain(job("a", {"state": "Starting", "reason": "SomethingNew", "message": "m"}), [], COMMANDS)

    assert answer.headline == "Starting: SomethingNew"
    assert answer.seen == ("m",)


def test_commands_stay_in_one_line() -> None:
    lines = explanation(failed(FailureCode.DATASET_NOT_FOUND), lambda text, _: text, 40)

    assert any(line.strip().endswith("--field-manager=mend -f -") and "kubectl create" in line for line in lines)


def test_every_verb_has_an_example_that_parses() -> None:
    parser = build_parser()
    for verb in VERBS:
        assert verb.examples, verb.name
        for example in verb.examples:
            words = shlex.split(example.partition("vernacular ")[2].partition(" | ")[0].removesuffix(')"'))
            assert parser.parse_args(words).verb == verb.name
