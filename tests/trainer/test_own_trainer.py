"""The contract for trainers of one's own, held by the container's command without a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.apiserver import REPOSITORY
from support.training import Finished, TrainingJob
from vernacular_trainer.contract import ExitCode, JobConfig, Outcome, StageReport, TrainerConfig

MakeJob = Callable[..., TrainingJob]
SCRIPT = REPOSITORY / "examples" / "own-trainer" / "train.py"
LEAVE_ADAPTER = """
import os, pathlib
result = pathlib.Path(os.environ["VERNACULAR_RESULT"])
result.mkdir(parents=True)
(result / "adapter_config.json").write_text("{}")
(result / "adapter_model.safetensors").write_bytes(b"x")
"""


class OwnTraining:
    """One attempt with a command; `environ` is what the pod has besides."""

    def __init__(self, job: TrainingJob, command: tuple[str, ...], attempt: int = 1, **compute: int | str) -> None:
        config = replace(job.config(attempt), trainer=TrainerConfig(command))
        self.config: JobConfig = replace(config, compute=replace(config.compute, **compute))
        self.job = job

    def start(self, **environ: str) -> subprocess.Popen[str]:
        path = self.job.folder / f"own-{self.config.attempt}-{environ.get('JOB_COMPLETION_INDEX', '0')}.json"
        path.write_text(self.config.to_json())
        command = (sys.executable, "-m", "vernacular_trainer", "train", "--config", str(path))
        search = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return subprocess.Popen(
            (*command, "--termination-log", str(path.with_suffix(".log"))),
            env=os.environ | {"PATH": search, "OMP_NUM_THREADS": "1"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, process: subprocess.Popen[str], index: str = "0") -> Finished:
        output, _ = process.communicate(timeout=120)
        log = self.job.folder / f"own-{self.config.attempt}-{index}.log"
        return Finished(process.returncode, StageReport.from_json(log.read_text()), output)

    def run(self, **environ: str) -> Finished:
        return self.wait(self.start(**environ), environ.get("JOB_COMPLETION_INDEX", "0"))


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_done_with_a_result(job: MakeJob) -> None:
    ended = OwnTraining(job(), python(LEAVE_ADAPTER)).run()

    assert (ended.exit_code, ended.report.outcome) == (ExitCode.DONE, Outcome.DONE), ended.log


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("", "no adapter_config.json"),
        (LEAVE_ADAPTER.replace('"adapter_model.safetensors"', '"adapter_model.bin"'), "no *.safetensors"),
        (LEAVE_ADAPTER + "(result / 'notes').symlink_to('/etc/passwd')", "no plain file notes (it is a link)"),
        (LEAVE_ADAPTER.replace(".write_bytes(b\"x\")", ".symlink_to('/etc/passwd')"), "no *.safetensors"),
    ],
)  # fmt: skip
def test_done_without_a_result_is_the_users_to_mend(job: MakeJob, code: str, missing: str) -> None:
    ended = OwnTraining(job(), python(code)).run()

    assert (ended.exit_code, ended.report.code) == (ExitCode.USER_ERROR, "ArgumentRefused")
    assert missing in ended.report.message
    assert "own-trainer.md" in ended.report.advice


def test_only_the_first_pod_must_leave_a_result(job: MakeJob) -> None:
    ended = OwnTraining(job(), python(""), pods=2, rendezvous_host="pod-0").run(JOB_COMPLETION_INDEX="1")

    assert ended.exit_code == ExitCode.DONE


@pytest.mark.parametrize(
    ("code", "exit_code", "says"),
    [
        ("raise SystemExit(78)", ExitCode.USER_ERROR, "exit code 78"),
        ("raise SystemExit(3)", ExitCode.INTERNAL, "ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", ExitCode.INTERNAL, "ended with signal 11"),
        ("raise SystemExit(85)", ExitCode.PREEMPTED, "newest checkpoint is that of step 0"),
    ],
)
def test_other_endings(job: MakeJob, code: str, exit_code: ExitCode, says: str) -> None:
    ended = OwnTraining(job(), python(code)).run()

    assert ended.exit_code == exit_code
    assert says in ended.report.message


def test_a_program_that_is_not_there(job: MakeJob) -> None:
    ended = OwnTraining(job(), ("no-such-program",)).run()

    assert (ended.exit_code, ended.report.code) == (ExitCode.USER_ERROR, "ArgumentRefused")
    assert "'no-such-program', which is no program of the image" in ended.report.message


def test_what_it_finds_in_the_environment(job: MakeJob, tmp_path: Path) -> None:
    made = job()
    for name in ("attempt-1/checkpoint-4", "attempt-2/checkpoint-20", "attempt-2/.checkpoint-30.draft"):
        (made.workspace.checkpoints / name).mkdir(parents=True)
    (made.workspace.checkpoints / "attempt-2" / "checkpoint-best").mkdir()
    seen = tmp_path / "environment.json"
    dump = f"import json, os; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))"
    compute = {"pods": 2, "processes_per_pod": 3, "rendezvous_host": "train-0.train"}
    OwnTraining(made, python(dump), 3, **compute).run(JOB_COMPLETION_INDEX="1", PYTHONPATH="/supervisor")
    found = json.loads(seen.read_text())

    workspace = made.workspace
    assert found["VERNACULAR_RESUME_FROM"] == str(workspace.checkpoints / "attempt-2" / "checkpoint-20")
    assert found["VERNACULAR_CHECKPOINTS"] == str(workspace.attempt(3))
    assert workspace.attempt(3).is_dir()
    assert found["VERNACULAR_RESULT"] == str(workspace.result / "adapter")
    assert found["VERNACULAR_MODEL"] == str(made.model)
    assert Path(found["VERNACULAR_TRAIN_ROWS"]).is_file()
    assert json.loads(Path(found["VERNACULAR_PLAN"]).read_text())["total_steps"] == 6
    torchrun = {name: found[f"PET_{name}"] for name in ("NNODES", "NODE_RANK", "NPROC_PER_NODE", "MASTER_ADDR")}
    assert torchrun == {"NNODES": "2", "NODE_RANK": "1", "NPROC_PER_NODE": "3", "MASTER_ADDR": "train-0.train"}
    assert "PYTHONPATH" not in found


def test_the_supervisor_works_in_an_image_that_has_nothing_else_of_this_package(job: MakeJob, tmp_path: Path) -> None:
    target = tmp_path / "supervisor"
    subprocess.run((sys.executable, "-m", "vernacular_trainer.inject", str(target)), check=True)
    made = OwnTraining(job(), python(LEAVE_ADAPTER))
    config = tmp_path / "job.json"
    config.write_text(made.config.to_json())
    # -S: no site-packages, as in an image of somebody else
    command = (sys.executable, "-S", "-m", "vernacular_trainer", "train", "--config", str(config))
    done = subprocess.run(
        command, env={"PYTHONPATH": str(target), "PATH": os.environ["PATH"]}, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert StageReport.from_json(done.stdout).outcome is Outcome.DONE


@pytest.mark.slow
def test_the_example_trains_stops_and_goes_on_in_two_processes(job: MakeJob) -> None:
    made = job(total_steps=12, learning_rate=1e-2)
    command = ("torchrun", "--standalone", str(SCRIPT))
    first = OwnTraining(made, command, 1, processes_per_pod=2)
    process = first.start()
    assert process.stdout
    for line in process.stdout:
        if line.startswith("step 3 "):
            break
    process.send_signal(signal.SIGTERM)
    ended = first.wait(process)
    assert ended.exit_code == ExitCode.PREEMPTED, ended.log
    assert 3 <= ended.summary.checkpoint_step < 12

    finished = OwnTraining(made, command, 2, processes_per_pod=2).run()
    assert finished.exit_code == ExitCode.DONE, finished.log
    assert f"step {ended.summary.checkpoint_step} of" not in finished.log
    assert finished.summary.checkpoint_step == 10
    _tuned_differs_from_base(made)


def _tuned_differs_from_base(made: TrainingJob) -> None:
    """As the evaluation loads it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(made.model, dtype=torch.float32)
    ids = torch.arange(3, 40).unsqueeze(0)
    base = model(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(model, str(made.workspace.result / "adapter"))(input_ids=ids).logits
    assert torch.isfinite(tuned).all()
    assert (tuned - base).abs().max() > 1e-3
