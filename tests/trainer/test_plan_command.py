"""`python -m vernacular_trainer plan`: what a job comes to, on any machine."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import handbook_rows, make_job, write_lines
from support.training import ragged_rows, write_rows
from vernacular_trainer.__main__ import main
from vernacular_trainer.contract import ComputeConfig, DatasetConfig, FileSource, TrainerConfig, TrainingConfig

MODEL = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}
ON_GPU = ComputeConfig(gpus_per_pod=1)
WITHOUT_LIBRARIES = """
import sys
from vernacular_trainer.__main__ import main
code = main(sys.argv[1:])
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"torch", "transformers", "peft", "accelerate", "deepspeed"}, loaded
sys.exit(code)
"""


def write_job(folder: Path, model: object = MODEL, **changes: Any) -> Path:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text(json.dumps(model))
    config, _ = make_job(folder, folder / "model", Path("train.jsonl"), **{"compute": ON_GPU, **changes})
    path = folder / "job.json"
    path.write_text(config.to_json())
    return path


def test_a_plan_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    arguments = ["plan", "--config", str(write_job(tmp_path)), "--gpu-memory", "80GiB"]

    done = subprocess.run((sys.executable, "-c", WITHOUT_LIBRARIES, *arguments), capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "microBatchSize         2            about 8192 tokens at once, or less" in done.stdout
    assert "  total            65.32 of 80: fits" in done.stdout
    assert "train.jsonl are not on this machine; assumed: 4096 tokens each, every one predicted" in done.stdout


def test_what_depends_on_unknown_rows_is_left_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", str(write_job(tmp_path))]) == 0

    shown = capsys.readouterr().out
    for name in ("effectiveBatchSize", "totalSteps", "warmupSteps", "checkpointEverySteps"):
        assert re.search(rf"^{name} +\? +depends on how many rows there are$", shown, re.MULTILINE), shown
    assert " steps of " not in shown
    assert re.search(r"^epochs +3 +default$", shown, re.MULTILINE)


def test_steps_and_rows_of_each_say_how_much_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_job(tmp_path, training=TrainingConfig(max_steps=40, effective_batch_size=8))

    assert main(["plan", "--config", str(path)]) == 0
    assert ", 40 steps of 8 rows, " in capsys.readouterr().out


def test_rows_of_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_lines(tmp_path / "train.jsonl", [*handbook_rows(600), "no json"])
    held_out = write_lines(tmp_path / "held.jsonl", handbook_rows(7))
    split, given = (
        DatasetConfig((FileSource("train.jsonl", str(rows)),), validation=validation)
        for validation in ((), (FileSource("held.jsonl", str(held_out)),))
    )

    assert main(["plan", "--config", str(write_job(tmp_path, dataset=split))]) == 0
    assert main(["plan", "--config", str(write_job(tmp_path, dataset=given))]) == 0

    shown = capsys.readouterr().out
    assert "540 rows to train on, 60 held out, before the checks" in shown
    assert "600 rows to train on, 7 held out, before the checks" in shown
    # 34 steps of 16 rows in each of 3 epochs
    assert re.search(r"^totalSteps +102 +34 per epoch$", shown, re.MULTILINE)


def test_shares_are_known_after_the_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_lines(tmp_path / "train.jsonl", handbook_rows(20))
    sources = (FileSource("a", str(rows), share_percent=20), FileSource("b", str(rows)))

    assert main(["plan", "--config", str(write_job(tmp_path, dataset=DatasetConfig(sources)))]) == 0
    assert "sharePercent are used is known after the checks" in capsys.readouterr().out


def test_rows_to_judge_by_are_assumed_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_job(tmp_path, training=TrainingConfig(keep="Best"))

    assert main(["plan", "--config", str(path)]) == 0
    assert "Best" in capsys.readouterr().out


def test_prepared_rows_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_job(tmp_path)
    write_rows(tmp_path / "workspace" / "data" / "train.arrow", ragged_rows(20, longest=60))
    write_rows(tmp_path / "workspace" / "data" / "validation.arrow", ragged_rows(2))

    assert main(["plan", "--config", str(path)]) == 0

    shown = capsys.readouterr().out
    assert "20 prepared rows" in shown
    assert "maxSequenceLength      64" in shown
    assert " of 80" not in shown


def test_what_does_not_fit_is_shown_with_what_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_job(tmp_path, training=TrainingConfig(micro_batch_size=4))

    assert main(["plan", "--config", str(path), "--gpu-memory", "24GiB"]) == 78

    shown = capsys.readouterr()
    assert "does not fit" in shown.out
    assert shown.err.startswith("the training needs 112.92 GiB of each GPU, which has 24: write ")
    assert "training.microBatchSize: 2" in shown.err


def test_the_memory_that_the_job_brings_counts_without_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_job(tmp_path, compute=dataclasses.replace(ON_GPU, gpu_memory_gib=60))

    assert main(["plan", "--config", str(path)]) == 0
    assert "41.52 of 60: fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, ["--gpu-memory", "much"], "--gpu-memory 'much' is no size: write it like 80GiB"),
        ({"compute": ComputeConfig()}, ["--gpu-memory", "80GiB"], "compute.gpusPerPod is 0: leave --gpu-memory out"),
        ({}, ["--model", "/nowhere"], "cannot be read (FileNotFoundError): give a folder with its config.json"),
        ({"model": {"vocab_size": 3}}, [], "does not tell its sizes: give a decoder-only language model"),
        ({"model": []}, [], "is no JSON object: give another folder by --model"),
        ({"trainer": TrainerConfig(("python",))}, [], "a trainer of its own, which makes its own plan: remove"),
    ],
)
def test_mistakes_are_one_sentence_and_an_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], options: list[str], message: str
) -> None:
    assert main(["plan", "--config", str(write_job(tmp_path, **changes)), *options]) == 78

    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""
