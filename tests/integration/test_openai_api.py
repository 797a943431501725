"""The OpenAI-compatible API with the real SDK and a real API server: files and jobs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs, condition
from support.openai_api import READ_ONLY, RIGHTS, Json, OpenAiApi, key_of
from vernacular.api.constants import GROUP
from vernacular_trainer.contract import FileSource, HttpsConfig, StageFailure
from vernacular_trainer.data.remote import https
from vernacular_trainer.data.remote.files import Access
from vernacular_trainer.errors import StageError

pytestmark = pytest.mark.integration

ROWS = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n' * 12
MODEL = "gpt-4o-mini-2024-07-18"


@pytest.fixture(scope="module")
def service(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAiApi]:
    limits = {"maxFileMiB": 1, "maxNamespaceMiB": 2}
    with OpenAiApi(api_server, tmp_path_factory.mktemp("openai-api"), {"files": limits}) as running:
        yield running


@pytest.fixture
def team(api_server: ApiServer) -> str:
    return api_server.new_namespace("team")


@pytest.fixture
def key(api_server: ApiServer, team: str) -> str:
    return key_of(api_server, team, "tuner", RIGHTS)


@pytest.fixture
def sdk(service: OpenAiApi, key: str) -> openai.OpenAI:
    return service.sdk(key)


@pytest.fixture
def jobs(api_server: ApiServer, team: str) -> StoredJobs:
    return StoredJobs(api_server, team)


def uploaded(sdk: openai.OpenAI, name: str = "train.jsonl", rows: bytes = ROWS) -> str:
    return sdk.files.create(file=(name, rows), purpose="fine-tune").id


def made(sdk: openai.OpenAI, **options: Any) -> Any:
    return sdk.fine_tuning.jobs.create(**{"model": MODEL, "training_file": uploaded(sdk), **options})


def refusal(action: Any, kind: type[openai.APIStatusError] = openai.BadRequestError) -> Json:
    with pytest.raises(kind) as caught:
        action()
    body: Any = caught.value.body
    assert set(body) == {"message", "type", "param", "code"}
    return dict(body)


def test_a_file_is_uploaded_listed_read_and_deleted(sdk: openai.OpenAI, team: str) -> None:
    file = sdk.files.create(file=("Übung 1.jsonl", ROWS), purpose="fine-tune")

    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(ROWS), "Übung 1.jsonl", "fine-tune", "processed",
    )  # fmt: skip
    assert sdk.files.retrieve(file.id) == file
    assert sdk.files.content(file.id).read() == ROWS
    other = uploaded(sdk, "other.jsonl")
    assert {each.id for each in sdk.files.list()} == {file.id, other}
    assert sdk.files.delete(file.id).deleted
    assert refusal(lambda: sdk.files.retrieve(file.id), openai.NotFoundError)["code"] == "not_found"
    assert [each.id for each in sdk.files.list()] == [other]


def test_pages_of_files(sdk: openai.OpenAI) -> None:
    ids = [uploaded(sdk, f"{number}.jsonl") for number in range(3)]

    assert sorted(file.id for file in sdk.files.list(limit=2, order="asc")) == sorted(ids)
    first = sdk.files.list(limit=2, order="asc")
    assert (len(first.data), first.has_more) == (2, True)
    newest_first = [file.id for file in sdk.files.list(limit=1)]
    assert newest_first == [file.id for file in sdk.files.list(order="asc")][::-1]
    assert [*sdk.files.list(purpose="batch")] == []


def test_files_stay_over_a_restart(service: OpenAiApi, sdk: openai.OpenAI) -> None:
    file = uploaded(sdk)
    (service.folder / "files" / ".incoming" / "file-unfinished").mkdir()
    service.stop()
    service.start()

    assert sdk.files.content(file).read() == ROWS
    assert not (service.folder / "files" / ".incoming" / "file-unfinished").exists()


@pytest.mark.parametrize(
    ("options", "param", "says"),
    [
        ({"purpose": "batch"}, "purpose", "must be fine-tune"),
        ({"file": ("a.jsonl", b"")}, "file", "is empty"),
        ({"expires_after": {"anchor": "created_at", "seconds": 3600}}, "expires_after", "until it is deleted"),
    ],
)
def test_files_that_are_refused(sdk: openai.OpenAI, options: Json, param: str, says: str) -> None:
    given: Any = {"file": ("a.jsonl", ROWS), "purpose": "fine-tune", **options}

    found = refusal(lambda: sdk.files.create(**given))

    assert (found["param"], found["type"]) == (param, "invalid_request_error")
    assert says in found["message"]
    assert [*sdk.files.list()] == []


PART = b'Content-Disposition: form-data; name="%b"\r\n\r\nfine-tune\r\n'
FILE = b'Content-Disposition: form-data; name="file"; filename="%b"\r\n%b\r\nrow\r\n'


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([], "no multipart/form-data"),
        ([PART % b"purpose"], "parameter: file"),
        ([FILE % (b"a", b"")], "parameter: purpose"),
        ([PART % b"purpose", FILE % (b"a", b""), PART % b"novelty"], "Unknown parameter: novelty"),
        ([PART % b"purpose", FILE % (b"a", b""), FILE % (b"b", b"")], "no multipart/form-data"),
        ([PART % b"purpose", FILE % (b"a", b"Content-Transfer-Encoding: base64\r\n")], "no multipart/form-data"),
        ([PART % b"\xc3\x07"], "no multipart/form-data"),
        ([PART % b"purpose", FILE % (b"\xff\xfe", b"")], "readable name"),
        ([PART % b"purpose", FILE % (b"", b"")], "readable name"),
        ([PART % b"purpose", FILE % (b"a" * 256, b"")], "at most 255"),
        ([PART % (b"%d" % number) for number in range(9)], "no multipart/form-data"),
    ],
)
def test_bodies_that_no_sdk_sends(
    service: OpenAiApi, sdk: openai.OpenAI, key: str, parts: list[bytes], says: str
) -> None:
    body = b"".join(b"--b\r\n" + part for part in parts) + b"--b--\r\n"
    kind = "multipart/form-data; boundary=b"

    status, answer = service.post("/v1/files", body if parts else b"row", kind, key)

    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert says in answer["error"]["message"]
    assert [*sdk.files.list()] == []
    assert not list((service.folder / "files" / ".incoming").iterdir())


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"{", "no JSON"), (b"[]", "JSON object"), (b"[" * 100_000, "no JSON"), (b'{"model": 1}', "for model")],
)
def test_jobs_that_no_sdk_sends(service: OpenAiApi, key: str, body: bytes, says: str) -> None:
    status, answer = service.post("/v1/fine_tuning/jobs", body, "application/json", key)

    assert status == 400
    assert says in answer["error"]["message"]
    assert service.post("/v1/fine_tuning/jobs", b" " * 2**21, "application/json", key)[0] == 413


def test_sizes(service: OpenAiApi, sdk: openai.OpenAI) -> None:
    found = refusal(lambda: uploaded(sdk, rows=b"x" * (2**20 + 1)), openai.APIStatusError)
    assert "at most 1 MiB" in found["message"]
    assert "pvc://" in found["message"]

    first = uploaded(sdk, rows=b"x" * 2**20)
    assert "would take more than 2 MiB" in refusal(lambda: uploaded(sdk, rows=b"x" * 2**20))["message"]
    sdk.files.delete(first)
    assert uploaded(sdk, rows=b"x" * 2**20)


def test_a_job_is_a_finetunejob(sdk: openai.OpenAI, jobs: StoredJobs, team: str) -> None:
    training, validation = uploaded(sdk), uploaded(sdk, "held out.jsonl")
    job = sdk.fine_tuning.jobs.create(
        model=MODEL, training_file=training, validation_file=validation, suffix="hr-bot", seed=7,
        metadata={"ticket": "HR-1"},
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 0.5}
            },
        },
    )  # fmt: skip

    assert (job.status, job.object, job.model, job.seed) == ("validating_files", "fine_tuning.job", MODEL, 7)
    assert (job.training_file, job.validation_file) == (training, validation)
    assert (job.metadata, job.organization_id, job.error) == ({"ticket": "HR-1"}, team, None)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, "auto")
    stored = jobs.read(job.id)
    spec = stored["spec"]
    assert spec["model"]["uri"] == "hf://HuggingFaceTB/SmolLM2-135M-Instruct"
    assert spec["training"] == {"epochs": 2, "learningRate": "0.0001", "seed": 7}
    assert spec["objective"] == "SFT"
    assert spec["publish"]["registeredModel"] == "hr-bot"
    (source,) = spec["dataset"]["train"]
    assert source["uri"].endswith(f"/download/{training}/train.jsonl")
    (held_out,) = spec["dataset"]["validation"]["sources"]
    assert held_out["uri"].endswith(f"/download/{validation}/held-out.jsonl")
    assert sdk.fine_tuning.jobs.retrieve(job.id) == job


def secret_of(server: ApiServer, team: str, source: Json, folder: Path) -> Path:
    """The Secret of a source, mounted."""
    name = source["credentials"]["secretName"]
    secret = server.request("GET", f"/api/v1/namespaces/{team}/secrets/{name}")
    folder.mkdir()
    for key, value in secret["data"].items():
        (folder / key).write_bytes(base64.b64decode(value))
    return folder


def fetched(service: OpenAiApi, uri: str, secret: Path, to: Path) -> bytes:
    """What prepare reads, with its own code."""
    source = FileSource(name=uri, uri=uri, credentials_name="files", credentials_path=str(secret))
    access = Access.of_file(source, StageFailure.DATASET_NOT_FOUND)
    (file,) = https.list_source(access, HttpsConfig(hosts=(service.host,), max_file_gib=1)).files
    assert file.version, "it can be fetched in ranges"
    to.mkdir()
    file.fetch(to)
    return (to / file.path).read_bytes()


def test_prepare_reads_the_files_of_its_job_and_no_others(
    service: OpenAiApi, sdk: openai.OpenAI, jobs: StoredJobs, api_server: ApiServer, team: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(https, "PAUSES", ())
    rows = bytes(range(256)) * 4000
    job = made(sdk, training_file=uploaded(sdk, rows=rows))
    (source,) = jobs.read(job.id)["spec"]["dataset"]["train"]
    secret = secret_of(api_server, team, source, tmp_path / "secret")

    assert fetched(service, source["uri"], secret, tmp_path / "first") == rows

    foreign = uploaded(sdk)
    with pytest.raises(StageError) as caught:
        fetched(service, f"https://{service.host}/download/{foreign}/x", secret, tmp_path / "second")
    assert caught.value.code == StageFailure.DATASET_ACCESS_DENIED
    sdk.files.delete(job.training_file)
    with pytest.raises(StageError) as caught:
        fetched(service, source["uri"], secret, tmp_path / "third")
    assert caught.value.code == StageFailure.DATASET_NOT_FOUND


def test_the_secret_goes_with_the_job(sdk: openai.OpenAI, api_server: ApiServer, team: str, jobs: StoredJobs) -> None:
    job = made(sdk)

    secret = api_server.request("GET", f"/api/v1/namespaces/{team}/secrets/{job.id}-files")

    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("FineTuneJob", jobs.read(job.id)["metadata"]["uid"])


def secrets_in(server: ApiServer, team: str) -> list[str]:
    items = server.request("GET", f"/api/v1/namespaces/{team}/secrets")["items"]
    return [item["metadata"]["name"] for item in items]


@pytest.mark.parametrize(
    ("options", "param", "says"),
    [
        ({"model": "gpt-9"}, "model", f"names that the platform team has given: {MODEL}"),
        ({"model": "ft:gpt-4o-mini:team::abc"}, "model", "cannot be tuned further yet"),
        ({"model": "hf://x"}, "model", "spec.model.uri"),
        ({"training_file": "file-abc"}, "training_file", "upload it first"),
        ({"validation_file": "file-abc"}, "validation_file", "upload it first"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations", "recorded in MLflow"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method.type", "not supported here"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo", "has no effect"),
        ({"extra_body": {"integrations": 7}}, "integrations", "not supported here"),
        ({"suffix": "hr/bot"}, "suffix", "Invalid value for suffix"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "at most 512"),
        ({"extra_body": {"novelty": 1}}, "novelty", "Unknown parameter"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "greater than or equal to 1"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", "valid integer"),
        ({"hyperparameters": {"learning_rate_multiplier": 1e-200}}, "learning_rate_multiplier", "decimal number"),
        (
            {"hyperparameters": {"n_epochs": 1}, "method": {"type": "supervised"}},
            "hyperparameters", "not a second time",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(
    sdk: openai.OpenAI, jobs: StoredJobs, api_server: ApiServer, team: str, options: Json, param: str, says: str
) -> None:
    found = refusal(lambda: made(sdk, **options))

    assert found["param"] == param
    assert says in found["message"]
    assert found["type"] == "invalid_request_error"
    assert jobs.names() == []
    assert secrets_in(api_server, team) == []


def test_the_validation_file_is_another_one(sdk: openai.OpenAI) -> None:
    file = uploaded(sdk)

    found = refusal(lambda: made(sdk, training_file=file, validation_file=file))

    assert "cannot be tested" in found["message"]


def test_dpo(sdk: openai.OpenAI, jobs: StoredJobs) -> None:
    parameters: Any = {"beta": 0.2, "learning_rate_multiplier": 2.0, "batch_size": 4}
    job = made(sdk, method={"type": "dpo", "dpo": {"hyperparameters": parameters}})

    spec = jobs.read(job.id)["spec"]
    assert (spec["objective"], spec["dpo"]) == ("DPO", {"beta": "0.2"})
    assert spec["training"]["learningRate"] == "4e-05"
    assert spec["training"]["effectiveBatchSize"] == 4
    assert job.method.dpo.hyperparameters.beta == 0.2


def test_a_model_of_a_hub(sdk: openai.OpenAI, jobs: StoredJobs) -> None:
    job = made(sdk, model="HuggingFaceTB/SmolLM2-360M")

    assert jobs.read(job.id)["spec"]["model"]["uri"] == "hf://HuggingFaceTB/SmolLM2-360M"


def test_pages_of_jobs(sdk: openai.OpenAI, jobs: StoredJobs) -> None:
    file = uploaded(sdk)
    ids = [made(sdk, training_file=file, metadata={"number": str(number)}).id for number in range(3)]
    jobs.make("by-hand")

    found = [job.id for job in sdk.fine_tuning.jobs.list(limit=2)]

    assert sorted(found) == sorted(ids)
    first = sdk.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in first.data], first.has_more) == (found[:2], True)
    assert [job.id for job in sdk.fine_tuning.jobs.list(metadata={"number": "1"})] == [ids[1]]
    assert refusal(lambda: sdk.fine_tuning.jobs.list(after="ftjob-x"), openai.NotFoundError)["param"] == "after"
    assert refusal(lambda: sdk.fine_tuning.jobs.list(limit=0))["param"] == "limit"
    assert refusal(lambda: sdk.fine_tuning.jobs.retrieve("by-hand"), openai.NotFoundError)["code"] == "not_found"


def test_pause_resume_and_cancel(sdk: openai.OpenAI, jobs: StoredJobs) -> None:
    job = made(sdk)

    sdk.fine_tuning.jobs.pause(job.id)
    assert jobs.read(job.id)["spec"]["runPolicy"]["suspend"] is True
    jobs.report(job.id, {"state": "Suspended", "conditions": [condition("Suspended", "True", "Suspended")]})
    assert sdk.fine_tuning.jobs.retrieve(job.id).status == "queued"
    assert "The job is paused." in [event.message for event in sdk.fine_tuning.jobs.list_events(job.id)]
    sdk.fine_tuning.jobs.resume(job.id)
    assert jobs.read(job.id)["spec"]["runPolicy"]["suspend"] is False
    assert sdk.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert jobs.read(job.id)["spec"]["runPolicy"]["activeDeadlineSeconds"] == 0
    for action in (sdk.fine_tuning.jobs.cancel, sdk.fine_tuning.jobs.pause, sdk.fine_tuning.jobs.resume):
        assert "already ended: it is cancelled" in refusal(lambda action=action: action(job.id))["message"]
    ended = {"conditions": [condition("Failed", "True", "DeadlineExceeded")], "state": "Failed"}
    jobs.report(job.id, {**ended, "failure": {"code": "DeadlineExceeded", "message": "active for too long"}})
    cancelled = sdk.fine_tuning.jobs.retrieve(job.id)
    assert (cancelled.status, cancelled.error) == ("cancelled", None)
    assert "The job was cancelled." in [event.message for event in sdk.fine_tuning.jobs.list_events(job.id)]


def test_the_life_of_a_job(sdk: openai.OpenAI, jobs: StoredJobs, team: str) -> None:
    job = made(sdk, suffix="hr bot")
    path = sdk.fine_tuning.jobs.retrieve
    plan = [("epochs", "3"), ("effectiveBatchSize", "8"), ("learningRate", "0.0002"), ("totalSteps", "300")]
    training: Json = {
        "state": "Training",
        "plan": {"values": [{"name": name, "value": value} for name, value in plan]},
        "dataset": {"rows": 12, "train": 12, "tokens": 1000, "problems": [
            {"code": "LongRow", "severity": "Warning", "count": 2, "firstRows": ["train.jsonl:7"], "advice": "Shorten."}
        ]},
        "stages": [
            {"name": "Prepare", "state": "Succeeded", "attempt": 1, "startTime": "2026-01-02T03:10:00Z",
             "completionTime": "2026-01-02T03:11:00Z"},
            {"name": "Train", "state": "Running", "attempt": 1, "startTime": "2026-01-02T03:11:00Z"},
        ],
        "progress": {"step": 150, "totalSteps": 300, "percent": 50, "loss": "0.4", "evalLoss": "0.5",
                     "etaSeconds": 60, "reportedAt": "2026-01-02T03:12:00Z"},
    }  # fmt: skip
    jobs.report(job.id, {"state": "Starting"})
    assert path(job.id).status == "queued"
    jobs.report(job.id, training)

    running = path(job.id)
    assert (running.status, running.trained_tokens, running.fine_tuned_model) == ("running", None, None)
    assert running.estimated_finish == 1767323520 + 60
    assert running.hyperparameters.model_dump() == {
        "n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0
    }  # fmt: skip
    events = sdk.fine_tuning.jobs.list_events(job.id, limit=2)
    assert events.has_more
    told = {event.message: event for event in events}
    assert told["Step 150/300: training loss=0.4"].data == {
        "step": 150, "total_steps": 300, "train_loss": 0.4, "valid_loss": 0.5,
    }  # fmt: skip
    assert told["LongRow in 2 rows. Shorten."].level == "warn"
    assert {"Prepare started.", "Prepare succeeded.", "Train started."} <= told.keys()
    assert [*sdk.fine_tuning.jobs.checkpoints.list(job.id)] == []
    done: Json = {
        "state": "Succeeded",
        "conditions": [condition("Complete", "True", "JobSucceeded")],
        "completionTime": "2026-01-02T03:20:00Z",
        "progress": {**training["progress"], "step": 300},
        "mlflow": {"registeredModel": f"{team}.hr bot", "modelVersion": "3", "artifactURI": "mlflow-artifacts:/1"},
    }
    jobs.report(job.id, done)

    ended = path(job.id)
    assert (ended.status, ended.trained_tokens, ended.finished_at) == ("succeeded", 3000, 1767324000)
    assert ended.fine_tuned_model == f"ft:{MODEL}:{team}:hr bot:{job.id.removeprefix('ftjob-')}"
    result: Any = sdk.models.retrieve(ended.fine_tuned_model)
    assert (result.owned_by, result.registered_model, result.version) == (team, f"{team}.hr bot", "3")
    assert [model.id for model in sdk.models.list()] == [MODEL, ended.fine_tuned_model]
    assert refusal(lambda: sdk.models.retrieve("gpt-9"), openai.NotFoundError)["code"] == "model_not_found"
    assert sdk.models.retrieve(MODEL).owned_by == "platform"


def test_a_job_that_fails(sdk: openai.OpenAI, jobs: StoredJobs) -> None:
    job = made(sdk)
    failure = {
        "stage": "Prepare", "code": "DatasetSchema", "message": "train.jsonl:7: a message has an unknown role",
        "advice": "Use system, user, assistant or tool.",
    }  # fmt: skip
    conditions = [condition("Failed", "True", "DatasetSchema")]
    jobs.report(job.id, {"state": "Failed", "failure": failure, "conditions": conditions})

    found = sdk.fine_tuning.jobs.retrieve(job.id)

    assert found.status == "failed"
    assert found.error is not None
    assert (found.error.code, found.error.param) == ("DatasetSchema", "training_file")
    assert found.error.message.startswith("train.jsonl:7: a message has an unknown role. Use system")
    assert next(iter(sdk.fine_tuning.jobs.list_events(job.id))).created_at > 0
    assert any(event.level == "error" for event in sdk.fine_tuning.jobs.list_events(job.id))


class TestRights:
    """Whose key may do what."""

    def test_no_key_and_a_wrong_one(self, service: OpenAiApi, team: str) -> None:
        for key in ("nonsense", "a.b.c"):
            sdk = service.sdk(key, project=team)
            found = refusal(lambda sdk=sdk: sdk.files.list(), openai.AuthenticationError)
            assert found["code"] == "invalid_api_key"
            assert "kubectl create token" in found["message"]

    def test_a_key_without_rights(self, service: OpenAiApi, api_server: ApiServer, team: str) -> None:
        sdk = service.sdk(key_of(api_server, team, "nobody", []))
        calls = (
            lambda: sdk.files.create(file=("a.jsonl", ROWS), purpose="fine-tune"),
            lambda: sdk.files.list(),
            lambda: sdk.files.retrieve("file-" + "0" * 24),
            lambda: sdk.files.content("file-" + "0" * 24),
            lambda: sdk.files.delete("file-" + "0" * 24),
            lambda: sdk.fine_tuning.jobs.create(model=MODEL, training_file="file-" + "0" * 24),
            lambda: sdk.fine_tuning.jobs.list(),
            lambda: sdk.fine_tuning.jobs.retrieve("ftjob-" + "0" * 24),
            lambda: sdk.fine_tuning.jobs.cancel("ftjob-" + "0" * 24),
            lambda: sdk.models.list(),
            lambda: sdk.models.retrieve(f"ft:{MODEL}:{team}::" + "0" * 24),
            lambda: sdk.models.retrieve(MODEL),
        )
        for call in calls:
            assert refusal(call, openai.PermissionDeniedError)["code"] == "permission_denied"

    def test_who_may_only_look(self, service: OpenAiApi, api_server: ApiServer, sdk: openai.OpenAI, team: str) -> None:
        job = made(sdk)
        looking = service.sdk(key_of(api_server, team, "viewer", READ_ONLY))

        assert looking.files.retrieve(job.training_file).filename == "train.jsonl"
        assert looking.fine_tuning.jobs.retrieve(job.id).id == job.id
        for call in (
            lambda: looking.files.content(job.training_file),
            lambda: looking.files.delete(job.training_file),
            lambda: made(looking),
            lambda: looking.fine_tuning.jobs.create(model=MODEL, training_file=job.training_file),
            lambda: looking.fine_tuning.jobs.cancel(job.id),
        ):
            refusal(call, openai.PermissionDeniedError)

    def test_nobody_reads_what_is_of_another_namespace(
        self, service: OpenAiApi, api_server: ApiServer, sdk: openai.OpenAI, team: str
    ) -> None:
        job = made(sdk)
        other = api_server.new_namespace("other")
        stranger = key_of(api_server, other, "tuner", RIGHTS)
        here, there = service.sdk(stranger), service.sdk(stranger, project=team)

        refusal(lambda: here.files.content(job.training_file), openai.NotFoundError)
        refusal(lambda: here.fine_tuning.jobs.retrieve(job.id), openai.NotFoundError)
        found = refusal(lambda: here.fine_tuning.jobs.create(model=MODEL, training_file=job.training_file))
        assert found["param"] == "training_file"
        assert [*here.files.list()] == []
        for call in (
            lambda: there.files.content(job.training_file),
            lambda: there.files.list(),
            lambda: there.fine_tuning.jobs.retrieve(job.id),
        ):
            refusal(call, openai.PermissionDeniedError)

    def test_a_project_is_a_namespace(
        self, service: OpenAiApi, api_server: ApiServer, team: str, jobs: StoredJobs
    ) -> None:
        home = api_server.new_namespace("home")
        key = key_of(api_server, home, "tuner", RIGHTS, also=(team,))

        job = made(service.sdk(key, project=team))

        assert jobs.names() == [job.id]
        assert [*service.sdk(key).fine_tuning.jobs.list()] == []
        assert "no name of one" in refusal(lambda: service.sdk(key, project="Not/One").files.list())["message"]

    def test_a_namespace_that_is_made_again_has_no_files(
        self, service: OpenAiApi, api_server: ApiServer, sdk: openai.OpenAI, team: str
    ) -> None:
        uploaded(sdk)
        uid = api_server.request("GET", f"/api/v1/namespaces/{team}")["metadata"]["uid"]

        assert [entry.name for entry in (service.folder / "files").iterdir() if entry.name.startswith(team)] == [
            f"{team}.{uid}"
        ]

    def test_a_secret_that_may_not_be_made(
        self, service: OpenAiApi, api_server: ApiServer, team: str, jobs: StoredJobs
    ) -> None:
        without = [rule for rule in RIGHTS if "secrets" not in rule["resources"]]
        sdk = service.sdk(key_of(api_server, team, "tuner", without))

        found = refusal(lambda: made(sdk), openai.PermissionDeniedError)

        assert 'cannot create resource "secrets"' in found["message"]
        assert jobs.names() == []

    def test_a_token_of_a_job_is_no_key(
        self, service: OpenAiApi, sdk: openai.OpenAI, api_server: ApiServer, team: str
    ) -> None:
        job = made(sdk)
        secret = api_server.request("GET", f"/api/v1/namespaces/{team}/secrets/{job.id}-files")
        token = base64.b64decode(secret["data"]["HTTPS_TOKEN"]).decode()

        refusal(lambda: service.sdk(token, project=team).files.content(job.training_file), openai.AuthenticationError)

    def test_nothing_secret_is_logged(self, service: OpenAiApi, sdk: openai.OpenAI, key: str) -> None:
        made(sdk)

        assert key not in service.said()
        assert "Bearer" not in service.said()
        assert "assistant" not in service.said()


def test_an_annotation_that_somebody_else_wrote_is_no_job_of_this_api(
    sdk: openai.OpenAI, api_server: ApiServer, team: str
) -> None:
    path = f"/apis/vernacular.dev/v1alpha1/namespaces/{team}/finetunejobs"
    name = "ftjob-" + "a" * 24
    document = {
        "apiVersion": "vernacular.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {
            "name": name, "labels": {f"{GROUP}/openai-api": "true"}, "annotations": {f"{GROUP}/openai-request": "{"},
        },
        "spec": {"model": {"uri": "hf://a/b"}, "dataset": {"train": [{"configMap": {"name": "a", "key": "b"}}]}},
    }  # fmt: skip
    api_server.request("POST", path, document)

    assert [*sdk.fine_tuning.jobs.list()] == []
    refusal(lambda: sdk.fine_tuning.jobs.retrieve(name), openai.NotFoundError)


def test_calls_that_there_are_not(sdk: openai.OpenAI) -> None:
    found = refusal(lambda: sdk.chat.completions.create(model="x", messages=[]), openai.NotFoundError)
    assert "files, fine-tuning jobs and models" in found["message"]
    refusal(lambda: sdk.models.delete("x"), openai.APIStatusError)
