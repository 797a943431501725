"""The container's command from end to end: `python -m vernacular_trainer STAGE --config job.json`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.training import Finished, RunningStage, TrainingJob
from vernacular_trainer.contract import ExitCode, Outcome, StageReport

MakeJob = Callable[..., TrainingJob]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run((sys.executable, "-m", "vernacular_trainer", *arguments), capture_output=True, text=True)


def test_another_stage_than_configured_is_refused(job: MakeJob, tmp_path: Path) -> None:
    config = tmp_path / "job.json"
    config.write_text(job().config().to_json())
    ended = command("evaluate", "--config", config)
    report = StageReport.from_json(ended.stdout)
    assert (ended.returncode, report.code) == (ExitCode.USER_ERROR, "ArgumentRefused")
    assert "is for the stage Train" in report.message


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ("{", "not JSON"), ('{"contract": 99}', "differ in version")]
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, text: str | None, message: str) -> None:
    config, log = tmp_path / "job.json", tmp_path / "termination.log"
    if text is not None:
        config.write_text(text)
    ended = command("train", "--config", config, "--termination-log", log)
    report = StageReport.from_json(log.read_text())
    assert (ended.returncode, report.outcome, report.code) == (
        ExitCode.USER_ERROR,
        Outcome.USER_ERROR,
        "ArgumentRefused",
    )
    assert message in report.message
    assert report.advice
    assert ended.stdout == ""


def test_the_data_stages_do_not_import_torch() -> None:
    code = (
        "import sys, vernacular_trainer.__main__, vernacular_trainer.worker as worker\n"
        "from vernacular_trainer.contract import Stage\n"
        "worker.load_stage(Stage.PREPARE); worker.load_stage(Stage.PUBLISH)\n"
        "print(sorted({'torch', 'peft'} & set(sys.modules)))"
    )
    assert subprocess.run((sys.executable, "-c", code), capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_a_request_to_stop_before_the_first_step(job: MakeJob) -> None:
    made = job(total_steps=1000)
    running = made.start()
    wait_for_child(running)
    running.process.send_signal(signal.SIGTERM)
    ended = running.wait()
    assert (ended.exit_code, ended.report.outcome) == (ExitCode.PREEMPTED, Outcome.PREEMPTED), ended.log
    assert ended.report.summary == {}
    assert not made.workspace.checkpoints.exists()


def wait_for_child(running: RunningStage) -> None:
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    deadline = time.monotonic() + 30
    while not children.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_fewer_gpus_than_asked_for(job: MakeJob) -> None:
    import torch

    gpus = torch.cuda.device_count() + 2
    made = job(world_size=gpus, micro_batch_size=4)
    ended = made.run(gpus_per_pod=gpus)
    assert (ended.exit_code, ended.report.code) == (ExitCode.USER_ERROR, "WorldSizeMismatch"), ended.log
    assert f"compute.gpusPerPod is {gpus}" in ended.report.message


@pytest.mark.slow
def test_two_pods_train_stop_and_go_on_together(job: MakeJob) -> None:
    made = job(world_size=2, micro_batch_size=4, strategy="ZeRO2", total_steps=400, checkpoint_every_steps=1000)
    pods = start_pods(made, attempt=1)
    # one node is drained: its pod alone gets the signal, both have to save and leave
    pods[1].terminate_after_step(3)
    for ended in [pod.wait() for pod in pods]:
        assert (ended.exit_code, ended.report.outcome) == (ExitCode.PREEMPTED, Outcome.PREEMPTED), ended.log
        stopped_at = ended.summary.step
        assert 3 <= stopped_at < 400
    shorter = {"total_steps": stopped_at + 2}
    made.workspace.plan.write_text(json.dumps(json.loads(made.workspace.plan.read_text()) | shorter))
    finished: list[Finished] = [pod.wait() for pod in start_pods(made, attempt=2)]
    for ended in finished:
        assert (ended.exit_code, ended.report.outcome) == (ExitCode.DONE, Outcome.DONE), ended.log
        assert (ended.summary.resumed_from_step, ended.summary.step) == (stopped_at, stopped_at + 2)
    assert (made.workspace.result / "adapter" / "adapter_model.safetensors").exists()


def start_pods(job: TrainingJob, attempt: int) -> list[RunningStage]:
    """Two pods as two process trees of this machine."""
    compute = {"pods": 2, "processes_per_pod": 1, "rendezvous_host": "127.0.0.1"}
    return [job.start(attempt, pod=index, **compute) for index in (0, 1)]


@pytest.mark.slow
def test_a_killed_process_is_reported(job: MakeJob) -> None:
    running = job(total_steps=100000).start()
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    wait_for_child(running)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    ended = running.wait()
    assert (ended.exit_code, ended.report.code) == (ExitCode.INTERNAL, "InternalError")
    assert "killed" in ended.report.message
    assert "-9" in ended.report.evidence
