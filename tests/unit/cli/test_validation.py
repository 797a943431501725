"""What is wrong with a file of a job: the line, the field, and what to write instead."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell
from vernacular.cli.errors import CliError
from vernacular.cli.jobfile import jobs_of, lines_of
from vernacular.cli.localfiles import LIMIT_BYTES
from vernacular.cli.validation import job_schema

SOUND = """\
apiVersion: vernacular.dev/v1alpha1
kind: FineTuneJob
metadata: {name: hr-bot}
spec:
  model: {uri: hf://org/model}
  dataset:
    train:
      - configMap: {name: rows, key: train.jsonl}
"""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return job_schema()


def problems(text: str, schema: dict[str, Any]) -> list[str]:
    return [line for job in jobs_of(text, Path(), schema) for line in lines_of("job.yaml", job.problems)]


def test_a_sound_file(schema: dict[str, Any]) -> None:
    assert problems(SOUND, schema) == []


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("  training: {epoch: 3}", "job.yaml:9: spec.training.epoch: unknown field epoch; did you mean epochs?"),
        ("  epochs: 3", "job.yaml:9: spec.epochs: unknown field epochs here; there is spec.training.epochs"),
        ("  xyzzy: 3", "job.yaml:9: spec.xyzzy: unknown field xyzzy; here can be runtimeRef, model, dataset,"),
        (
            "  method: {type: lora}",
            "job.yaml:9: spec.method.type: lora is none of LoRA, QLoRA, Full; did you mean LoRA?",
        ),
        (
            "  training:\n    gradientCheckpointing: On",
            'job.yaml:10: spec.training.gradientCheckpointing: YAML reads On as true; write it in quotes: "On"',
        ),
        (
            "  training: {learningRate: 2e-4}",
            'job.yaml:9: spec.training.learningRate: must be a text: write it in quotes, like "2e-4"',
        ),
        ('  training: {epochs: "3"}', 'job.yaml:9: spec.training.epochs: must be a whole number, and is "3"'),
        ("  training: {epochs: true}", "job.yaml:9: spec.training.epochs: must be a whole number, and is true"),
        ("  training: [a]", 'job.yaml:9: spec.training: must hold fields of its own, like {}, and is ["a"]'),
        ("  training: {seed: -1}", "job.yaml:9: spec.training.seed: -1: input should be greater than or equal to 0"),
        ("  runPolicy: {suspend: 1}", "job.yaml:9: spec.runPolicy.suspend: must be true or false, and is 1"),
        (
            "  evaluation: {questions: {configMap: {name: q}}}",
            "spec.evaluation.questions.configMap.key: key is missing:",
        ),
        ("  evaluation: {questions: {}}", "spec.evaluation.questions: write exactly one of configMap and uri"),
        ("  compute: {offload: Optimizer}", "job.yaml:9: spec.compute: offload is DeepSpeed's; write strategy ZeRO3"),
        ("  training: {epochs: 3, epochs: 4}", "job.yaml:9: epochs is written twice"),
        ("  training: {epochs: 3", "job.yaml:"),
        ("  method: {lora: {targetModules: []}}", "must have at least 1 entries, and has 0"),
        ("  podOverrides: [{env: [{name: A, value: a}, {name: A, value: b}]}]", "there are two entries with name A"),
        ("extra: 1", "job.yaml:9: extra: unknown field extra"),
    ],
)
def test_what_is_wrong_and_where(added: str, says: str, schema: dict[str, Any]) -> None:
    (found,) = problems(SOUND + added + "\n", schema)

    assert says in found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("hr-bot", "HR_Bot", "job.yaml:1: metadata.name must start with a lower-case letter"),
        ("{name: hr-bot}", "{}", "job.yaml:3: metadata: give the job a name"),
        ("kind: FineTuneJob", "kind: FinetuneJob", "job.yaml:2: kind: write kind: FineTuneJob"),
        ("{name: hr-bot}", "hr-bot", 'job.yaml:3: metadata: must hold fields of its own, like {name: hr-bot}, and is'),
        ("hr-bot}", "hr-bot, lables: {team: hr}}", "metadata.lables: unknown field lables; did you mean labels?"),
        ("hr-bot}", "hr-bot, labels: [a]}", "metadata.labels: must hold names with texts, like {team: hr}, and is ["),
        ("hr-bot}", "hr-bot, labels: {a: on}}", 'metadata.labels.a: must be a text: write it in quotes, like "on"'),
        ("hr-bot}", "hr-bot, namespace: 2024}", 'metadata.namespace: must be a text: write it in quotes, like "2024"'),
        ("hr-bot}", "2024}", 'job.yaml:3: metadata.name: must be a text: write it in quotes, like "2024"'),
        ("dev/v1alpha1", "dev/v1", "job.yaml:1: apiVersion: write apiVersion: vernacular.dev/v1alpha1"),
        ("hf://org/model", "hf://gpt2", "job.yaml:5: spec.model.uri: must be pvc://CLAIM/PATH"),
        ("model: {uri: hf://org/model}", "", "job.yaml:4: spec.model: model is missing: The base model."),
    ],
)  # fmt: skip
def test_what_is_wrong_in_what_every_job_has(old: str, new: str, says: str, schema: dict[str, Any]) -> None:
    (found,) = problems(SOUND.replace(old, new), schema)

    assert says in found


def test_all_problems_are_told_at_once_in_the_order_of_the_file(schema: dict[str, Any]) -> None:
    text = SOUND.replace("hf://org/model", "x") + "  training:\n    epochs: 0\n    sead: 1\n"

    assert [line.split(":")[1] for line in problems(text, schema)] == ["5", "10", "11"]


def test_what_is_no_job(schema: dict[str, Any]) -> None:
    assert "this is no FineTuneJob" in problems("- a\n", schema)[0]
    assert "write spec with model and dataset" in " ".join(problems("kind: FineTuneJob\n", schema))


def test_null_is_absent_as_for_the_api_server(schema: dict[str, Any]) -> None:
    assert problems(SOUND + "  training:\n  evaluation: {questions: null}\n", schema) == []


def test_dates_and_times_of_day_are_texts(schema: dict[str, Any]) -> None:
    text = SOUND.replace("uri: hf://org/model", "uri: hf://org/model, revision: 2026-01-02")

    assert problems(text, schema) == []


def test_the_verb_reads_several_files_and_the_standard_input(tmp_path: Path) -> None:
    shell = Shell(None, tmp_path)
    (tmp_path / "good.yaml").write_text(SOUND)
    (tmp_path / "two.yaml").write_text(f"{SOUND}---\n{SOUND}  epochs: 3\n")

    good = shell.run("validate", "good.yaml", "-", stdin=SOUND)
    bad = shell.run("validate", "good.yaml", "two.yaml")

    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[0] == "good.yaml: FineTuneJob hr-bot is valid"
    assert good.stdout.splitlines()[1].startswith("-: FineTuneJob")
    assert bad.returncode == 1
    assert bad.stdout.splitlines()[-1].startswith("two.yaml:18: spec.epochs: unknown field")
    assert bad.stderr.splitlines()[0] == "Error: 1 problem found"


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read: No such file"), (b"\xff\xfe", "is no text"), (b"", "says nothing")]
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "job.yaml").write_bytes(content)

    done = Shell(None, tmp_path).run("validate", "job.yaml")

    assert done.returncode == 1
    assert says in done.stderr


WITH_FILES = SOUND.replace("configMap: {name: rows, key: train.jsonl}", "file: My Rows.jsonl")


def test_local_files_become_config_maps_named_after_their_content(tmp_path: Path, schema: dict[str, Any]) -> None:
    (tmp_path / "My Rows.jsonl").write_text('{"text": "ä"}\n')
    (tmp_path / "questions.xlsx").write_bytes(b"PK\xff\x00")
    text = WITH_FILES + "  evaluation: {questions: {file: questions.xlsx}}\n"

    (job,) = jobs_of(text, tmp_path, schema)

    assert job.problems == ()
    rows, questions = sorted(job.files, key=lambda file: file.key)
    reference = job.job["spec"]["dataset"]["train"][0]["configMap"]
    assert reference == {"name": rows.config_map["metadata"]["name"], "key": "My-Rows.jsonl"}
    assert reference["name"].startswith("my-rows-")
    assert rows.config_map["data"] == {"My-Rows.jsonl": '{"text": "ä"}\n'}
    assert questions.config_map["binaryData"] == {"questions.xlsx": "UEv/AA=="}
    (tmp_path / "My Rows.jsonl").write_text("other")
    (again,) = jobs_of(text, tmp_path, schema)
    assert again.job["spec"]["dataset"]["train"][0]["configMap"]["name"] != reference["name"]


def test_metadata_that_is_none_takes_no_name(schema: dict[str, Any]) -> None:
    (job,) = jobs_of(SOUND.replace("{name: hr-bot}", "[a]"), Path(), schema, name="other")

    assert [problem.field for problem in job.problems] == ["metadata"]


def test_data_of_the_command_line_replaces_that_of_the_file(tmp_path: Path, schema: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text("{}")

    (job,) = jobs_of(SOUND, tmp_path, schema, name="other", data=[str(tmp_path / "a.jsonl")])

    assert job.problems == ()
    assert job.name == "other"
    assert [source["configMap"]["key"] for source in job.job["spec"]["dataset"]["train"]] == ["a.jsonl"]


# what packing does not make smaller
NOISE = random.Random(0).randbytes(LIMIT_BYTES + 1)


@pytest.mark.parametrize(
    ("content", "says", "advice"),
    [
        (None, "cannot be read", "name a file that is there"),
        (b"", "is empty", "name a file with rows"),
        (NOISE, "has 1.0 MiB, 1.0 packed, and a ConfigMap holds 1 MiB", "pvc://CLAIM/My Rows.jsonl"),
    ],
)
def test_local_files_that_do_not_fit(
    tmp_path: Path, content: bytes | None, says: str, advice: str, schema: dict[str, Any]
) -> None:
    if content is not None:
        (tmp_path / "My Rows.jsonl").write_bytes(content)

    with pytest.raises(CliError) as caught:
        jobs_of(WITH_FILES, tmp_path, schema)

    assert says in caught.value.message
    assert advice in caught.value.advice


@pytest.mark.parametrize("place", ["../secret.jsonl", "{home}/secret.jsonl", "link.jsonl", ".ssh/id", "~/.kube/config"])
def test_files_that_a_job_may_not_take(
    tmp_path: Path, place: str, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs"
    for name in ("secret.jsonl", "jobs/.ssh/id", ".kube/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("secret")
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)

    with pytest.raises(CliError, match="hidden or outside of its folder and of the working directory") as caught:
        jobs_of(WITH_FILES.replace("My Rows.jsonl", place.format(home=tmp_path)), folder, schema)

    assert "--data" in caught.value.advice


def test_files_that_a_job_may_take_from_anywhere(
    tmp_path: Path, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    text = WITH_FILES.replace("My Rows.jsonl", "../rows.jsonl")

    (below_the_working_directory,) = jobs_of(text, tmp_path / "jobs", schema)
    monkeypatch.chdir("jobs")
    (of_the_command_line,) = jobs_of(text, Path(), schema, data=["../rows.jsonl"])

    assert below_the_working_directory.files[0].path.samefile(of_the_command_line.files[0].path)


def test_a_local_file_keeps_its_share(tmp_path: Path, schema: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    text = SOUND.replace("- configMap", "- {file: a.jsonl, sharePercent: 20}\n      - configMap")

    (job,) = jobs_of(text, tmp_path, schema)

    assert job.problems == ()
    source = job.job["spec"]["dataset"]["train"][0]
    assert source == {**job.files[0].reference, "sharePercent": 20}


def test_a_file_and_a_reference_together_are_no_local_file(tmp_path: Path, schema: dict[str, Any]) -> None:
    text = SOUND.replace("- configMap: {name: rows, key: train.jsonl}", "- {file: x, uri: pvc://data/x}")

    (job,) = jobs_of(text, tmp_path, schema)

    assert job.files == ()
    assert lines_of("a", job.problems) == [
        "a:8: spec.dataset.train[0].file: unknown field file; here can be configMap, uri, revision, "
        "endpoint, credentials, sharePercent"
    ]
