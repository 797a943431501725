"""The resource as a whole on a real API server: names, unknown fields, immutability, status, what kubectl shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from support.apiserver import MERGE_PATCH, ApiError, ApiServer
from support.finetunejobs import Json, at, both, finetunejob
from vernacular.api import Condition, FineTuneJob, FineTuneJobSpec, FineTuneJobStatus, Stage, StageStatus
from vernacular.api.base import timestamp
from vernacular.api.status import (
    AnswerCounts,
    CheckpointsStatus,
    DatasetProblem,
    DatasetStatus,
    EvaluationStatus,
    FailureStatus,
    GainPoints,
    MLflowStatus,
    Plan,
    PlanValue,
    Progress,
    ReadinessStatus,
    RuntimeStatus,
    UsageStatus,
)

pytestmark = pytest.mark.integration

LONG = "ü" * 100_000
NOW = "2026-01-02T03:04:05Z"


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    return api_server.new_namespace()


def jobs(namespace: str, name: str = "", query: str = "") -> str:
    return f"/apis/vernacular.dev/v1alpha1/namespaces/{namespace}/finetunejobs{name and '/' + name}{query}"


def create(server: ApiServer, namespace: str, patch: Json | None = None) -> Json:
    return server.request("POST", jobs(namespace), finetunejob(patch=patch))


def refusal(server: ApiServer, method: str, path: str, body: Json, content_type: str = "application/json") -> str:
    with pytest.raises(ApiError) as caught:
        server.request(method, path, body, content_type)
    return caught.value.message


def condition(**changes: Any) -> Condition:
    values = {"type": "Accepted", "status": "True", "reason": "Accepted", "last_transition_time": NOW, **changes}
    return Condition.model_validate(values)


FULL_STATUS = FineTuneJobStatus(
    observed_generation=1,
    state="Failed",
    reason="GpuOutOfMemory",
    message=LONG,
    conditions=tuple(condition(type=kind, message=LONG) for kind in ("Accepted", "Prepared", "Failed")),
    runtime=RuntimeStatus(name="h100", generation=3, spec={"limits": {"maxGpus": 8}, "images": {"data": "d:1"}}),
    plan=Plan(summary=LONG, values=[PlanValue(name=LONG, value=LONG, reason=LONG)] * 100),
    stages=tuple(
        StageStatus(name=stage, state="Failed", job_name=LONG, attempt=3, start_time=NOW, completion_time=NOW,
                    reason="RunningLate", message=LONG)
        for stage in Stage
    ),
    progress=Progress(step=3, total_steps=10, percent=30, loss="0.412", eval_loss="nan", tokens_per_second=15_300,
                      eta_seconds=540, reported_at=NOW),
    dataset=DatasetStatus(
        rows=812, dropped=9, duplicates=14, train=720, validation=78, tokens=2**40, digest=LONG,
        problems=[DatasetProblem(code="EmptyAnswer", count=2, first_rows=[LONG] * 40, advice=LONG)] * 50,
        readiness=ReadinessStatus(verdict="MendFirst", reasons=[LONG] * 10),
    ),
    evaluation=EvaluationStatus(
        verdict="Promote", summary=LONG, base=AnswerCounts(correct=16, wrong=40, declined=22),
        tuned=AnswerCounts(correct=67, wrong=4, declined=7, invented=1),
        gain_points=GainPoints(value=65, low=-54, high=75),
    ),
    checkpoints=CheckpointsStatus(latest_step=120, complete=2, resumed_from_step=60, training_seconds=540),
    mlflow=MLflowStatus(experiment_id="3", run_id="a" * 32, url=LONG, registered_model="demo.hr-bot", model_version="4",
                        alias="candidate", artifact_uri=LONG),
    usage=UsageStatus(restarts=1, preemptions=2, gpu_seconds=900, productive_gpu_seconds=540, lost_gpu_seconds=60,
                      waiting_gpu_seconds=100, goodput_percent=82, counted_until=NOW, cost="0.63",
                      expected_cost="0.80", currency="EUR"),
    failure=FailureStatus(stage="Train", code="GpuOutOfMemory", message=LONG, advice=LONG, evidence=LONG),
    start_time=NOW,
    completion_time=NOW,
)  # fmt: skip


def test_the_server_fills_in_the_same_defaults_as_the_models(api_server: ApiServer, namespace: str) -> None:
    stored = create(api_server, namespace)

    parsed = FineTuneJob.model_validate(finetunejob()).spec
    assert FineTuneJob.model_validate(stored).spec == parsed
    filled_in = {name: value for name, value in parsed.to_dict().items() if name in stored["spec"]}
    assert stored["spec"] == filled_in


@pytest.mark.parametrize("name", ["a", "hr-bot-2", "a" * 40])
def test_names_that_are_accepted(api_server: ApiServer, namespace: str, name: str) -> None:
    api_server.request("POST", jobs(namespace), finetunejob(name))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a" * 41, "metadata.name must have at most 40 characters"),
        ("2-bots", "metadata.name must start with a lower-case letter"),
        ("hr.bot", "metadata.name must start with a lower-case letter"),
        ("HR", "must consist of lower case alphanumeric characters"),
    ],
)
def test_names_that_are_refused(api_server: ApiServer, namespace: str, name: str, says: str) -> None:
    assert says in refusal(api_server, "POST", jobs(namespace), finetunejob(name))


def test_a_generated_name_is_checked_too(api_server: ApiServer, namespace: str) -> None:
    job = finetunejob()
    job["metadata"] = {"generateName": "a" * 36 + "-"}

    assert "at most 40 characters" in refusal(api_server, "POST", jobs(namespace), job)


def test_a_job_without_spec_is_refused(api_server: ApiServer, namespace: str) -> None:
    job = finetunejob()
    del job["spec"]

    assert "spec: Required value" in refusal(api_server, "POST", jobs(namespace), job)


@pytest.mark.parametrize("field", ["modell", "training.learnRate", "dataset.validation.split", "runPolicy.paused"])
def test_kubectl_refuses_an_unknown_field(api_server: ApiServer, namespace: str, field: str) -> None:
    job = json.dumps(finetunejob(patch=at(field, 1)))
    done = api_server.kubectl("apply", "--validate=strict", "-n", namespace, "-f", "-", stdin=job)

    assert done.returncode != 0
    assert f'unknown field "spec.{field}"' in done.stderr


def test_other_clients_get_an_unknown_field_pruned(api_server: ApiServer, namespace: str) -> None:
    stored = create(api_server, namespace, at("training.learnRate", "1e-4"))

    assert stored["spec"]["training"] == {}
    FineTuneJob.model_validate(stored)


def test_null_counts_as_absent(api_server: ApiServer, namespace: str) -> None:
    stored = create(
        api_server, namespace, both(at("training.epochs", None), at("storage", None), at("compute.pods", None))
    )

    assert stored["spec"]["training"] == {}
    assert "storage" not in stored["spec"]
    assert stored["spec"]["compute"]["pods"] == 1
    FineTuneJob.model_validate(stored)


IMMUTABLE = [
    ("runtimeRef", at("runtimeRef.name", "h100")),
    ("model", at("model.uri", "hf://org/other")),
    ("dataset", at("dataset.teaches", "Skill")),
    ("objective", at("objective", "DPO")),
    ("dpo", both(at("objective", "DPO"), at("dpo.beta", "0.2"))),
    ("method", at("method.lora.rank", 8)),
    ("training", at("training.epochs", 2)),
    ("compute", at("compute.pods", 2)),
    ("podOverrides", at("podOverrides[].priorityClassName", "high")),
    ("storage", at("storage.workspace.size", "1Gi")),
    ("checkpoints", at("checkpoints.keep", 3)),
    ("trainer", at("trainer.command", ["torchrun", "train.py"])),
    ("evaluation", at("evaluation.questions.uri", "pvc://d/q.jsonl")),
    ("tracking", at("tracking.mlflow.experiment", "other")),
    ("tracking", at("tracking.textInReports", "None")),
    ("publish", at("publish.alias", "other")),
]


@pytest.mark.parametrize(("field", "patch"), IMMUTABLE)
def test_what_is_taught_cannot_change(api_server: ApiServer, namespace: str, field: str, patch: Json) -> None:
    create(api_server, namespace)
    path = jobs(namespace, "hr-bot")

    assert f"{field} cannot change after creation" in refusal(api_server, "PATCH", path, {"spec": patch}, MERGE_PATCH)


@pytest.mark.parametrize(("field", "patch"), [case for case in IMMUTABLE if case[0] not in ("model", "dataset")])
def test_an_optional_part_cannot_be_removed(api_server: ApiServer, namespace: str, field: str, patch: Json) -> None:
    create(api_server, namespace, patch)
    removal = {"spec": {field: None}}

    message = refusal(api_server, "PATCH", jobs(namespace, "hr-bot"), removal, MERGE_PATCH)

    assert f"{field} cannot change after creation" in message


def test_every_part_of_the_spec_but_the_run_policy_is_immutable() -> None:
    parts = {str(field.alias) for field in FineTuneJobSpec.model_fields.values()}

    assert parts == {field for field, _ in IMMUTABLE} | {"runPolicy"}


def test_the_run_policy_can_change_and_the_same_spec_can_be_applied_again(
    api_server: ApiServer, namespace: str
) -> None:
    # a trainer of one's own has its own objective
    everything = both(*(patch for field, patch in IMMUTABLE if field not in ("objective", "dpo")))
    manifest = json.dumps(finetunejob(patch=everything))
    for expected in ("created", "unchanged"):
        done = api_server.kubectl("apply", "--validate=strict", "-n", namespace, "-f", "-", stdin=manifest)
        assert expected in done.stdout

    changed = api_server.request(
        "PATCH", jobs(namespace, "hr-bot"), {"spec": {"runPolicy": {"suspend": True, "maxRestarts": 5}}}, MERGE_PATCH
    )

    assert changed["spec"]["runPolicy"] == {"suspend": True, "maxRestarts": 5, "onOutOfMemory": "Repair"}
    assert changed["metadata"]["generation"] == 2


def test_a_status_from_the_models_is_stored_as_it_is(api_server: ApiServer, namespace: str) -> None:
    create(api_server, namespace)
    status = FULL_STATUS.to_dict()

    stored = api_server.request("PATCH", jobs(namespace, "hr-bot", "/status"), {"status": status}, MERGE_PATCH)

    assert stored["status"] == status
    assert FineTuneJob.model_validate(stored).status == FULL_STATUS
    assert stored["metadata"]["generation"] == 1


def test_an_empty_status_stays_empty(api_server: ApiServer, namespace: str) -> None:
    create(api_server, namespace)
    patch = {"status": {"state": "Pending"}}

    stored = api_server.request("PATCH", jobs(namespace, "hr-bot", "/status"), patch, MERGE_PATCH)

    assert stored["status"] == {"state": "Pending"}


def test_users_cannot_write_the_status_with_the_spec(api_server: ApiServer, namespace: str) -> None:
    job = finetunejob()
    job["status"] = {"state": "Succeeded"}

    assert "status" not in api_server.request("POST", jobs(namespace), job)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"state": "Dreaming"}, "Unsupported value"),
        ({"progress": {"step": -1}}, "greater than or equal to 0"),
        ({"progress": {"loss": 0.4}}, "must be of type string"),
        ({"startTime": "yesterday"}, "must be of type date-time"),
        ({"conditions": [condition().to_dict()] * 2}, "Duplicate value"),
        ({"conditions": [{"type": "Accepted"}]}, "Required value"),
        ({"reason": "not one word"}, "must be one word in CamelCase"),
        ({"stages": [{"name": "Train", "state": "Running"}] * 2}, "Duplicate value"),
    ],
)
def test_a_wrong_status_is_refused(api_server: ApiServer, namespace: str, status: Json, says: str) -> None:
    create(api_server, namespace)

    assert says in refusal(api_server, "PATCH", jobs(namespace, "hr-bot", "/status"), {"status": status}, MERGE_PATCH)


def test_kubectl_shows_the_columns(api_server: ApiServer, namespace: str) -> None:
    create(api_server, namespace)
    status = FULL_STATUS.to_dict()
    api_server.request("PATCH", jobs(namespace, "hr-bot", "/status"), {"status": status}, MERGE_PATCH)

    short = api_server.kubectl("get", "ftj", "-n", namespace).stdout.splitlines()
    wide = api_server.kubectl("get", "finetune", "-n", namespace, "-o", "wide").stdout.splitlines()

    assert short[0].split() == ["NAME", "STATE", "PROGRESS", "ETA", "VERDICT", "AGE"]
    assert short[1].split()[:5] == ["hr-bot", "Failed", "30", "540", "Promote"]
    assert wide[0].split()[6:] == ["REASON", "LOSS", "MODEL", "METHOD", "GPUS", "RESTARTS", "COST", "RUN"]
    assert wide[1].split()[6:] == ["GpuOutOfMemory", "0.412", "hf://org/model", "LoRA", "1", "1", "0.63", "a" * 32]


def test_kubectl_explains_every_field(api_server: ApiServer) -> None:
    done = api_server.kubectl("explain", "finetunejob.spec.training.learningRate")

    assert 'Highest learning rate, like "2e-4".' in done.stdout


def test_timestamps_are_what_the_server_accepts(api_server: ApiServer, namespace: str) -> None:
    create(api_server, namespace)
    moment = timestamp(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))

    stored = api_server.request(
        "PATCH", jobs(namespace, "hr-bot", "/status"), {"status": {"startTime": moment}}, MERGE_PATCH
    )

    assert stored["status"] == {"startTime": NOW}
