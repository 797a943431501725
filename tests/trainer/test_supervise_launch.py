"""The command line and environment of a stage's processes."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from support.training import TrainingJob, plan
from vernacular_trainer.cgroup import available_cores, memory_limit, oom_kills
from vernacular_trainer.contract import JobConfig, Stage
from vernacular_trainer.launch import Launch, local_ranks, plan_launch, threads_per_rank
from vernacular_trainer.outcomes import OutcomeFolder


def launch_of(
    tmp_path: Path, environ: dict[str, str] | None = None, stage: Stage = Stage.TRAIN, **compute: Any
) -> Launch:
    config = config_of(tmp_path, stage, **compute)
    return plan_launch(config, Path("job.json"), OutcomeFolder(tmp_path, local_ranks(config)), environ or {})


def config_of(tmp_path: Path, stage: Stage, **compute: Any) -> JobConfig:
    job = TrainingJob(tmp_path, tmp_path / "model", plan())
    return dataclasses.replace(job.config(attempt=3, **compute), stage=stage)


@pytest.mark.parametrize("stage", list(Stage))
def test_one_process_needs_no_launcher(tmp_path: Path, stage: Stage) -> None:
    command = launch_of(tmp_path, stage=stage).command
    assert command[:4] == (sys.executable, "-m", "vernacular_trainer.worker", stage.lower())


def test_only_training_has_several_processes(tmp_path: Path) -> None:
    several = {"pods": 2, "processes_per_pod": 4, "rendezvous_host": "job-0.job"}
    assert local_ranks(config_of(tmp_path, Stage.TRAIN, **several)) == 4
    assert local_ranks(config_of(tmp_path, Stage.EVALUATE, **several)) == 1
    assert "torch.distributed.run" not in launch_of(tmp_path, stage=Stage.EVALUATE, **several).command


def test_one_pod_with_several_processes(tmp_path: Path) -> None:
    command = launch_of(tmp_path, processes_per_pod=2, gpus_per_pod=2).command
    assert {"torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=0"} <= set(command)
    # the grace period of 60 s, less what the supervisor needs
    assert "--shutdown-timeout=50" in command


@pytest.mark.parametrize(("index", "is_host"), [("0", "true"), ("1", "false")])
def test_several_pods_meet_at_the_first(tmp_path: Path, index: str, is_host: str) -> None:
    compute = {"pods": 2, "processes_per_pod": 2, "rendezvous_host": "job-0.job"}
    command = launch_of(tmp_path, {"JOB_COMPLETION_INDEX": index}, **compute).command
    assert {"--nnodes=2", "--rdzv-backend=c10d", "--rdzv-endpoint=job-0.job:29400", "--rdzv-id=uid-3"} <= set(command)
    assert f"--rdzv-conf=is_host={is_host},join_timeout=600,read_timeout=60" in command


def test_the_only_rank_of_a_pod_needs_no_launcher(tmp_path: Path) -> None:
    compute = {"pods": 2, "processes_per_pod": 1, "rendezvous_host": "job-0.job"}
    launch = launch_of(tmp_path, {"JOB_COMPLETION_INDEX": "1"}, **compute)
    place = {name: launch.environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    meeting = (launch.environment["MASTER_ADDR"], launch.environment["MASTER_PORT"])
    assert "torch.distributed.run" not in launch.command
    assert place == {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    assert meeting == ("job-0.job", "29400")


def test_training_looks_nothing_up_in_a_hub(tmp_path: Path) -> None:
    assert launch_of(tmp_path).environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in launch_of(tmp_path, stage=Stage.PREPARE).environment


def test_prebuilt_operators_are_copied_to_where_they_can_be_locked(tmp_path: Path) -> None:
    ops = tmp_path / "ops" / "deepspeed_shm_comm"
    ops.mkdir(parents=True)
    (ops / "deepspeed_shm_comm.so").write_bytes(b"code")
    os.utime(ops / "deepspeed_shm_comm.so", (1000, 1000))
    outcomes = tmp_path / "outcomes"
    outcomes.mkdir()
    config = config_of(tmp_path, Stage.TRAIN)
    environ = {"VERNACULAR_DEEPSPEED_OPS": str(tmp_path / "ops")}
    copy = Path(
        plan_launch(config, Path("job.json"), OutcomeFolder(outcomes), environ).environment["TORCH_EXTENSIONS_DIR"]
    )
    assert copy.is_relative_to(outcomes)
    copied = copy / "deepspeed_shm_comm" / "deepspeed_shm_comm.so"
    assert (copied.read_bytes(), copied.stat().st_mtime) == (b"code", 1000)
    assert "TORCH_EXTENSIONS_DIR" not in plan_launch(config, Path("job.json"), OutcomeFolder(outcomes), {}).environment


def test_threads(tmp_path: Path) -> None:
    cores = available_cores()
    assert threads_per_rank(1, {}) == cores
    assert threads_per_rank(1000, {}) == 1
    assert threads_per_rank(2, {"VERNACULAR_THREADS": "3"}) == 3
    assert threads_per_rank(1, {"VERNACULAR_THREADS": "many"}) == cores
    assert launch_of(tmp_path, {"VERNACULAR_THREADS": "5"}).environment["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_pod(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert available_cores(tmp_path) == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "4294967296"}, 2**32),
        ({"memory.max": "max"}, None),
        ({"memory/memory.limit_in_bytes": "1073741824"}, 2**30),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ({}, None),
    ],
)
def test_the_memory_that_a_control_group_allows(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert memory_limit(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1"}, 2),
        ({"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4"}, 4),
        ({"memory/memory.oom_control": "oom_kill_disable 0"}, 0),
        ({}, 0),
    ],
)
def test_the_kernels_count_of_processes_killed_for_memory(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert oom_kills(tmp_path) == expected
