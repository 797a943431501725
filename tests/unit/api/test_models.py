"""The models: what they read, what they refuse, what they write."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from support.finetunejobs import at, both, finetunejob
from vernacular.api import Condition, FineTuneJob, FineTuneJobSpec, FineTuneJobStatus, JobState
from vernacular.api.base import api_name, timestamp
from vernacular.api.sources import ClaimPath
from vernacular.api.spec import ComputeSpec
from vernacular.api.status import MLflowStatus, Plan, PlanValue

NOW = "2026-01-02T03:04:05Z"


def spec(*patches: dict[str, Any]) -> FineTuneJobSpec:
    return FineTuneJob.model_validate(finetunejob(patch=both(*patches))).spec


def test_absent_parts_can_be_read_without_asking_whether_they_are_there() -> None:
    read = spec()

    assert read.training.epochs is None
    assert read.storage.workspace.size is None
    assert read.evaluation.questions is None
    assert read.tracking.mlflow.tags == {}
    assert read.compute.strategy is None
    assert (read.compute.pods, read.compute.gpus_per_pod, read.run_policy.max_restarts) == (1, 1, 3)


def test_an_object_from_the_server_is_read_with_all_its_metadata() -> None:
    body = finetunejob()
    body["metadata"] |= {
        "namespace": "demo", "uid": "u", "generation": 3, "resourceVersion": "7", "managedFields": [{"manager": "k"}],
        "creationTimestamp": NOW, "deletionTimestamp": NOW, "labels": {"a": "b"}, "annotations": {"c": "d"},
        "finalizers": ["f"], "ownerReferences": [],
    }  # fmt: skip
    body["status"] = {"state": "Training", "fromANewerVersion": {"x": 1}}

    job = FineTuneJob.model_validate(body)

    assert (job.metadata.namespace, job.metadata.generation, job.metadata.deletion_timestamp) == ("demo", 3, NOW)
    assert job.status.state is JobState.TRAINING


def test_an_unknown_field_of_the_spec_is_refused() -> None:
    with pytest.raises(ValidationError, match="learnRate"):
        spec(at("training.learnRate", "1e-4"))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("model.uri", "gs://bucket/x", "must be pvc://CLAIM/PATH"),
        ("model.uri", "pvc://claim/../x", "must be pvc://CLAIM/PATH"),
        ("training.learningRate", "0", "must be a decimal number above 0 and at most 1"),
        ("training.weightDecay", "2", "must be a decimal number from 0 to 1"),
        ("training.maxGradNorm", "0.0", "must be a decimal number above 0"),
        ("publish.alias", "v3", "MLflow keeps 'latest'"),
        ("publish.alias", "Latest", "MLflow keeps 'latest'"),
        ("training.epochs", 0, "greater than or equal to 1"),
        ("compute.strategy", "zero2", "'DDP', 'ZeRO1', 'ZeRO2' or 'ZeRO3'"),
    ],
)
def test_a_wrong_value_is_refused_with_the_message_of_the_server(path: str, value: Any, says: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        spec(at(path, value))

    assert says in str(refusal.value)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec().compute.pods = 2


def test_a_spec_survives_being_written_and_read() -> None:
    original = spec(at("training.learningRate", "2e-4"), at("method.lora", {"rank": 8, "targetModules": ["q_proj"]}))

    assert FineTuneJobSpec.model_validate(original.to_dict()) == original


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("pvc://models/smollm2", ClaimPath("models", "smollm2")),
        ("pvc://models/a/b/", ClaimPath("models", "a/b")),
        ("hf://org/model", None),
    ],
)
def test_claim_uris_are_taken_apart(uri: str, expected: ClaimPath | None) -> None:
    assert ClaimPath.parse(uri) == expected


@pytest.mark.parametrize(
    ("compute", "ranks"),
    [({}, 1), ({"gpusPerPod": 4}, 4), ({"gpusPerPod": 0}, 1), ({"gpusPerPod": 0, "cpuProcessesPerPod": 2}, 2)],
)
def test_ranks_per_pod(compute: dict[str, int], ranks: int) -> None:
    assert ComputeSpec.model_validate(compute).processes_per_pod == ranks


@pytest.mark.parametrize(
    ("python", "outside"),
    [
        ("run_id", "runID"),
        ("artifact_uri", "artifactURI"),
        ("uri", "uri"),
        ("gpus_per_pod", "gpusPerPod"),
        ("url", "url"),
    ],
)
def test_spelling_of_fields(python: str, outside: str) -> None:
    assert api_name(python) == outside


def test_a_status_is_written_without_absent_fields() -> None:
    status = FineTuneJobStatus(
        observed_generation=1,
        state=JobState.PENDING,
        conditions=(Condition(type="Accepted", status="True", reason="Accepted", last_transition_time=NOW),),
        mlflow=MLflowStatus(run_id="r"),
    )

    assert status.to_dict() == {
        "observedGeneration": 1,
        "state": "Pending",
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 0,
             "lastTransitionTime": NOW}
        ],
        "stages": [],
        "mlflow": {"runID": "r"},
    }  # fmt: skip


def test_long_texts_and_lists_of_the_status_are_cut_and_short_ones_are_not() -> None:
    assert FineTuneJobStatus(message="x" * 1024).message == "x" * 1024
    assert FineTuneJobStatus(message="x" * 1025).message == "x" * 1023 + "…"
    assert len(Plan(values=[PlanValue(name="a", value="b")] * 100).values) == 48


def test_timestamps_are_in_utc_with_whole_seconds() -> None:
    moment = datetime(2026, 1, 2, 4, 4, 5, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert timestamp(moment) == NOW
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == NOW


def test_the_package_is_light() -> None:
    """The command line starts with it: no server, no tensor library, and little processor time."""
    code = (
        "import sys, time; import vernacular.api; "
        "heavy = {'kopf', 'torch', 'kubernetes', 'mlflow', 'transformers', 'aiohttp', 'numpy', 'yaml', 'asyncio'}; "
        "print(sorted(heavy & set(sys.modules))); print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, seconds = done.stdout.splitlines()

    assert modules == "[]"
    assert float(seconds) < 2
