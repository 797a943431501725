"""Publish, rights and spool against a real MLflow server, which also goes away in the middle."""

from __future__ import annotations

import dataclasses
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tensorboardX.proto.event_pb2 import Event

from support.mlflow_server import MlflowServer
from support.stage_jobs import AWAY, make_job
from vernacular_trainer.contract import (
    GateConfig,
    JobConfig,
    JobIdentity,
    MethodConfig,
    Outcome,
    PublishConfig,
    Stage,
    StageFailure,
    TrackingConfig,
    WeightsAndBiasesConfig,
)
from vernacular_trainer.data.exports import write_rejected_rows
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.places import Places
from vernacular_trainer.data.problems import Rejected
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.errors import StageError
from vernacular_trainer.evaluation.answers import Answers, BaseExam
from vernacular_trainer.evaluation.report import Results, write_documents
from vernacular_trainer.evaluation.scoring import score
from vernacular_trainer.evaluation.verdict import Evidence, General, Prompted, judge
from vernacular_trainer.stages import publish
from vernacular_trainer.tracking import rights
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.client import connect
from vernacular_trainer.tracking.records import questions_digest
from vernacular_trainer.tracking.shipper import Shipper, SpoolSink, send_to_run
from vernacular_trainer.tracking.spool import Spool
from vernacular_trainer.workspace import Workspace


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def client(mlflow_server: MlflowServer) -> Any:
    return connect(TrackingConfig(mlflow_server.uri, "unused"))


def job_on(uri: str, root: Path, **changes: Any) -> tuple[JobConfig, Workspace]:
    """A job of its own name, whose earlier stages have left what publish needs."""
    name = root.name.replace("_", "-")
    identity = JobIdentity("demo", name, f"uid-{name}", "cluster-1")
    config, workspace = make_job(root, root / "model", root / "train.jsonl", Stage.PUBLISH)
    config = dataclasses.replace(
        config,
        identity=identity,
        tracking=TrackingConfig(uri, f"demo.{name}"),
        publish=PublishConfig(f"demo.{name}"),
    )
    config = dataclasses.replace(config, **changes)
    fill(workspace, "model" if config.method.type == "Full" else "adapter")
    return config, workspace


@dataclass(frozen=True)
class Measured:
    """What is measured beside the questions: the first answer with rows in the prompt; whether a third of what the base
    knew about the world is lost.
    """

    prompted: str = ""
    lost: bool = False


def examined(workspace: Workspace, answers: dict[str, str], measured: Measured | None = None) -> None:
    """The documents of an evaluation with these questions and answers, all of which expect "90 days"."""
    measured = measured or Measured()
    asked = tuple(Question(f"q:{text}", (Message("user", text),), "90 days", topic="notice") for text in answers)
    sampled = (0,) if measured.prompted else ()
    general = ((True,) * 3, (True, True, False)) if measured.lost else ((), ())
    base = Answers(("30 days",) * len(asked), (None,) * len(asked), general[0])
    tuned = Answers(tuple(answers.values()), (-0.405,) * len(asked), general[1])
    scores = [tuple(map(score, asked, texts)) for texts in (base.texts, tuned.texts)]
    prompted = tuple(score(asked[index], measured.prompted) for index in sampled)
    evidence = Evidence(
        asked,
        *scores,
        Prompted(5, sampled, prompted, 300) if sampled else None,
        General(*general) if measured.lost else None,
    )
    exam = BaseExam(base, sampled, (measured.prompted,) * len(sampled), (0.2, 0.1))
    write_documents(workspace, judge(evidence, GateConfig()), Results(evidence, exam, tuned, ()))


def fill(workspace: Workspace, kind: str) -> None:
    model = {"uri": "pvc://models/tiny", "architecture": "LlamaForCausalLM", "commit": "", "licence": "apache-2.0"}
    share = {"name": "share of hf://acme/chat", "value": "9 of 12 rows", "reason": "sharePercent 25 of all rows"}
    plan = [{"name": "learningRate", "value": "0.0002", "reason": "default"}, share]
    problem = {"code": "AnswerCut", "count": 2, "severity": "Warning", "first_rows": [], "advice": "Raise it."}
    data: dict[str, Any] = {
        "rows": 40,
        "train": 36,
        "validation": 4,
        "dropped": 0,
        "held_out": {"questions": 1, "provable_points": 100},
        "digest": "sha256:abc",
        "plan_summary": "LoRA rank 16",
    }
    names = (
        ("ConfigMap hr-data, key train.jsonl", "train-0.jsonl"),
        ("pvc://hr/held-out.jsonl", "validation-0.jsonl"),
        ("ConfigMap hr-questions", "questions.jsonl"),
    )
    data["inputs"] = [{"name": name, "file": file, "digest": "sha256:" + "ab" * 32, "bytes": 9} for name, file in names]
    write_json(workspace.data_report, {**data, "plan": plan, "problems": [problem], "model": model})
    write_rejected_rows(workspace.rejected_rows, [Rejected("train.jsonl:3", "BrokenJson")])
    examined(workspace, {"How long?": "90 days"}, Measured(prompted="3 months, i.e. 90 days", lost=True))
    write_json(workspace.plan, {"method": "LoRA"})
    write_json(workspace.result / kind / "adapter_config.json", {"r": 16})
    spool = Spool(workspace.spool, 1)
    for step in range(1, 4):
        spool.append(step, {"train/loss": 3.0 - step})
    spool.close()


def test_what_was_asked_is_known_by_a_digest() -> None:
    first, second = (
        {"messages": [{"role": "user", "content": text}], "expected": "90 days", "answerable": True, "tuned": text}
        for text in ("How long?", "How short?")
    )
    digest = questions_digest({"questions": [first, second]})

    assert questions_digest({"questions": [second, {**first, "tuned": "another answer"}]}) == digest
    assert questions_digest({"questions": [first]}) != digest
    assert questions_digest({"questions": [first, {**second, "expected": "9 days"}]}) != digest
    assert questions_digest({"questions": []}) == ""


def test_everything_is_published_and_a_second_time_changes_nothing(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    experiment = client.create_experiment(config.tracking.experiment)
    run_id = client.create_run(experiment).info.run_id
    config = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, run_id=run_id))

    summary = publish.run(config, workspace)
    again = publish.run(config, workspace)

    assert again == summary
    name = config.publish.registered_model
    assert (summary.registered_model, summary.model_version, summary.alias) == (name, "1", "candidate")
    assert summary.artifact_uri.endswith("/adapter")
    run = client.get_run(run_id)
    assert run.data.params["learningRate"] == "0.0002"
    assert run.data.params["share.0"] == "hf://acme/chat: 9 of 12 rows"
    assert run.data.params["datasetDigest"] == "sha256:abc"
    assert run.data.tags["vernacular.dev/name"] == config.identity.name
    assert run.data.tags["vernacular.dev/uid"] == config.identity.uid
    report = json.loads(workspace.evaluation_report.read_text())
    assert run.data.tags["vernacular.dev/questions"] == questions_digest(report)
    verdict = {name.removeprefix("verdict/"): value for name, value in run.data.metrics.items() if "verdict/" in name}
    gain = {name: verdict.pop(name) for name in ("gain_points", "gain_points_low", "gain_points_high")}
    assert gain["gain_points_low"] < gain["gain_points"] == gain["gain_points_high"] == 100
    assert verdict == {
        "base_correct": 0,
        "base_wrong": 1,
        "base_declined": 0,
        "base_invented": 0,
        "base_exact": 0,
        "base_f1": 0.5,
        "base_rouge_l": 0.5,
        "tuned_correct": 1,
        "tuned_wrong": 0,
        "tuned_declined": 0,
        "tuned_invented": 0,
        "tuned_exact": 1,
        "tuned_f1": 1,
        "tuned_rouge_l": 1,
        "tuned_perplexity": pytest.approx(1.4993),
        "prompted_correct": 1,
        "prompted_asked": 1,
        "prompted_tokens_per_request": 300,
        "prompted_seconds_per_request": 0.2,
        "base_seconds_per_request": 0.1,
        "general_regression_percent": 33,
    }
    assert [point.value for point in client.get_metric_history(run_id, "train/loss")] == [2.0, 1.0, 0.0]
    assert len(client.get_metric_history(run_id, "verdict/tuned_correct")) == 1
    paths = {item.path for folder in ("", "reports", "adapter") for item in client.list_artifacts(run_id, folder)}
    assert paths >= {
        "adapter/adapter_config.json",
        "reports/data.json",
        "reports/data.html",
        "reports/rejected.xlsx",
        "reports/evaluation.json",
        "reports/evaluation.html",
        "reports/review.xlsx",
        "reports/evaluation_table.json",
        "plan.json",
        "model_card.md",
    }
    version = client.get_model_version_by_alias(name, "candidate")
    assert (version.version, version.run_id, version.source) == ("1", run_id, f"runs:/{run_id}/adapter")
    assert version.tags["vernacular.dev/uid"] == config.identity.uid
    assert f"FineTuneJob demo/{config.identity.name}" in version.description
    assert len(client.search_model_versions(f"name = '{name}'")) == 1
    assert run.data.params["modelRevision"] == "main"
    assert [
        (item.dataset.name, item.dataset.digest, json.loads(item.dataset.source)["digest"], item.tags[0].value)
        for item in client.get_run(run_id).inputs.dataset_inputs
    ] == [
        ("ConfigMap hr-data, key train.jsonl", ("ab" * 32)[:36], "sha256:" + "ab" * 32, "training"),
        ("pvc://hr/held-out.jsonl", ("ab" * 32)[:36], "sha256:" + "ab" * 32, "evaluation"),
        ("ConfigMap hr-questions", ("ab" * 32)[:36], "sha256:" + "ab" * 32, "evaluation"),
    ]


def test_what_mlflow_has_no_room_for_is_cut_and_says_so(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    data = json.loads(workspace.data_report.read_text())
    data["plan"] = [{"name": "targetModules", "value": "q_proj " * 200, "reason": "as written"}]
    evaluation = json.loads(workspace.evaluation_report.read_text())
    write_json(workspace.data_report, data)
    write_json(workspace.evaluation_report, {**evaluation, "summary": "many words " * 1000})

    publish.run(config, workspace)

    found = client.get_run(publish.own_run(client, config)).data
    assert len(found.params["targetModules"]) == 500
    assert found.params["targetModules"].endswith(" … (cut)")
    assert found.tags["mlflow.note.content"].endswith("… (cut)")


@pytest.mark.parametrize(("most", "name"), [(10**6, "findings.csv.gz"), (10, "cut-findings.csv.gz")])
def test_places_of_findings_are_published_as_far_as_there_is_room(
    tmp_path: Path,
    mlflow_server: MlflowServer,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    name: str,
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    places = Places()
    places.add("Duplicate", "train.jsonl:7", "train.jsonl:2")
    places.save(workspace.findings)
    monkeypatch.setattr(publish, "MOST_FINDINGS_BYTES", most)

    publish.run(config, workspace)

    paths = {item.path for item in client.list_artifacts(publish.own_run(client, config), "reports")}
    assert {path for path in paths if "findings" in path} == {f"reports/{name}"}


def test_the_attempts_and_an_event_file_of_tensorboard_are_published(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    second = Spool(workspace.spool, 2, lambda: 4_000_000_000.0)
    for step in range(3, 6):
        second.append(step, {"train/loss": 3.0 - step, "eval/loss": 9.0})
    second.close()

    publish.run(config, workspace)
    publish.run(config, workspace)

    run_id = publish.own_run(client, config)
    attempts = json.loads(Path(client.download_artifacts(run_id, "reports/attempts.json", str(tmp_path))).read_text())
    assert [(item["attempt"], item["first_step"], item["last_step"]) for item in attempts] == [(1, 1, 3), (2, 3, 5)]
    assert (attempts[1]["began"], attempts[1]["ended"]) == ("2096-10-02T07:06:40+00:00",) * 2
    (file,) = client.list_artifacts(run_id, "tensorboard")
    events = scalars(Path(client.download_artifacts(run_id, file.path, str(tmp_path))))
    for name in ("train/loss", "eval/loss"):
        history = [(name, point.step, point.value) for point in client.get_metric_history(run_id, name)]
        assert [event for event in events if event[0] == name] == history


def scalars(file: Path) -> list[tuple[str, int, float]]:
    """Name, step and value of each event. A record is its length and a check sum, the event, and another check sum."""
    data, position, found = file.read_bytes(), 0, []
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        event = Event.FromString(data[position + 12 : position + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        position += length + 16
    return found


@pytest.mark.parametrize(("fails", "tag"), [(False, "written"), (True, "failed")])
def test_the_files_of_weights_and_biases_are_published_and_their_failure_fails_nothing(
    tmp_path: Path,
    mlflow_server: MlflowServer,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
    tag: str,
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path, weights_and_biases=WeightsAndBiasesConfig("hr"))
    if fails:
        monkeypatch.setattr("vernacular_trainer.tracking.weights_and_biases.sys.executable", "/no/such/python")

    assert publish.run(config, workspace).model_version == "1"

    run_id = publish.own_run(client, config)
    assert client.get_run(run_id).data.tags["vernacular.dev/weights-and-biases"] == tag
    files = [item.path for item in client.list_artifacts(run_id, "wandb")]
    assert files == ([] if fails else [f"wandb/run-{config.identity.uid}.wandb"])


def test_no_namespace_can_move_the_alias_of_anothers_model(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    publish.run(config, workspace)
    name = config.publish.registered_model
    (tmp_path / "theirs").mkdir()
    theirs, left = job_on(
        mlflow_server.uri,
        tmp_path / "theirs",
        identity=JobIdentity("other", "hr", "uid-theirs"),
        publish=config.publish,
    )

    for action in (lambda: rights.check_rights(theirs), lambda: publish.run(theirs, left)):
        with pytest.raises(StageError) as caught:
            action()
        assert caught.value.code is StageFailure.ARGUMENT_REFUSED
        assert caught.value.message == f"the registered model {name} in MLflow belongs to namespace demo"
        assert "publish.registeredModel" in caught.value.advice

    assert client.get_registered_model(name).tags["vernacular.dev/namespace"] == "demo"
    assert client.get_model_version_by_alias(name, "candidate").version == "1"
    assert len(client.search_model_versions(f"name = '{name}'")) == 1


def judged(workspace: Workspace, verdict: str) -> None:
    report = json.loads(workspace.evaluation_report.read_text())
    write_json(workspace.evaluation_report, {**report, "verdict": verdict})


def next_job(first: JobConfig, root: Path, verdict: str) -> tuple[JobConfig, Workspace]:
    """Another job that publishes to the same registered model."""
    config, workspace = job_on(first.tracking.uri, root, publish=first.publish)
    judged(workspace, verdict)
    return config, workspace


def test_only_a_verdict_of_promote_moves_the_promoted_alias_and_what_it_replaced_is_known(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    config = dataclasses.replace(config, publish=dataclasses.replace(config.publish, promotion="Automatic"))
    judged(workspace, "Promote")

    first = publish.run(config, workspace)
    held = publish.run(*next_job(config, tmp_path / "held", "Hold"))
    second = publish.run(*next_job(config, tmp_path / "second", "Promote"))
    again = publish.run(*next_job(config, tmp_path / "second", "Promote"))

    assert (first.promoted_alias, first.replaced_version) == ("champion", "")
    assert (held.model_version, held.promoted_alias, held.replaced_version) == ("2", "", "")
    assert (second.model_version, second.promoted_alias, second.replaced_version) == ("3", "champion", "1")
    assert again == second
    aliases = client.get_registered_model(config.publish.registered_model).aliases
    assert {name: str(version) for name, version in aliases.items()} == {"candidate": "3", "champion": "3"}


def test_what_became_of_the_failures_of_the_version_before_is_told(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    examined(workspace, {"How long?": "30 days", "Until when?": "90 days", "How many?": "no", "Gone?": "no"})
    publish.run(config, workspace)
    assert "lineage" not in json.loads(workspace.evaluation_report.read_text())
    config, workspace = next_job(config, tmp_path / "next", "Hold")
    examined(workspace, {"how LONG?": "90 days", "Until when?": "30 days", "How many?": "no", "<new>?": "no"})

    publish.run(config, workspace)
    publish.run(config, workspace)

    run_id = client.get_model_version_by_alias(config.publish.registered_model, "candidate").run_id
    published = Path(client.download_artifacts(run_id, "reports", str(tmp_path)))
    assert json.loads((published / "evaluation.json").read_text())["lineage"] == {
        "version": "1",
        "asked_by_both": 3,
        "fixed": [{"row": "q:how LONG?", "phrasing": 0, "asked": "how LONG?"}],
        "still_failing": [{"row": "q:How many?", "phrasing": 0, "asked": "How many?"}],
        "newly_failing": [{"row": "q:Until when?", "phrasing": 0, "asked": "Until when?"}],
    }
    assert "Since version 1" in (published / "evaluation.html").read_text()


def test_a_version_before_without_a_report_is_no_hindrance(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    client.create_registered_model(config.publish.registered_model)
    run_id = client.create_run(client.create_experiment("someone else's")).info.run_id
    client.create_model_version(config.publish.registered_model, f"runs:/{run_id}/model", run_id=run_id)

    assert publish.run(config, workspace).model_version == "2"
    assert "lineage" not in json.loads(workspace.evaluation_report.read_text())


def test_promotion_by_hand_moves_no_alias_but_the_candidate(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    judged(workspace, "Promote")

    assert publish.run(config, workspace).promoted_alias == ""
    assert set(client.get_registered_model(config.publish.registered_model).aliases) == {"candidate"}


@pytest.mark.parametrize("where", ["result/adapter/notes.txt", "result", "plan.json", "reports/data.json"])
def test_a_link_that_could_lead_to_credentials_is_not_followed(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient, where: str
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    place, elsewhere = workspace.root / where, tmp_path / "elsewhere"
    if place.exists():
        place.rename(elsewhere)
    else:
        elsewhere.write_text("canary-4711")
    place.symlink_to(elsewhere)

    with pytest.raises(StageError) as caught:
        publish.run(config, workspace)

    assert caught.value.code == StageFailure.ARGUMENT_REFUSED
    assert "is a link, or lies behind one" in caught.value.message
    assert client.list_artifacts(publish.own_run(client, config)) == []


def test_the_table_of_answers_can_be_read_by_mlflow(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    publish.run(config, workspace)
    run_id = publish.own_run(client, config)

    path = client.download_artifacts(run_id, "reports/evaluation_table.json", str(tmp_path))

    table = json.loads(Path(path).read_text())
    assert table["columns"][:2] == ["question", "expected"]
    with_rows = "3 months, i.e. 90 days"
    assert table["data"] == [
        ["How long?", "90 days", "30 days", "wrong", "90 days", "correct", with_rows, "notice", ""]
    ]
    logged = json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": "reports/evaluation_table.json", "type": "table"}]


def test_without_an_operator_publish_opens_one_run_and_ends_it(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path, method=MethodConfig("Full"))

    first = publish.run(config, workspace)
    second = publish.run(config, workspace)

    assert first == second
    assert first.artifact_uri.endswith("/model")
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"


def test_a_new_run_gives_a_new_version_and_the_alias_moves(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    for attempt in ("a", "b"):
        (tmp_path / attempt).mkdir()
        config, workspace = job_on(
            mlflow_server.uri, tmp_path / attempt, publish=PublishConfig("demo.shared", "newest")
        )
        summary = publish.run(config, workspace)

    assert summary.model_version == "2"
    assert client.get_model_version_by_alias("demo.shared", "newest").version == "2"


def test_the_model_card_says_where_the_model_comes_from_and_what_it_cannot(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    write_json(workspace.result / "adapter" / "adapter_config.json", {"r": 16, "modules_to_save": ["lm_head"]})

    publish.run(config, workspace)

    run_id = publish.own_run(client, config)
    card = Path(client.download_artifacts(run_id, "model_card.md", str(tmp_path))).read_text()
    assert card.startswith("---\nbase_model: pvc://models/tiny\nlicense: apache-2.0\n---\n")
    for part in ("sha256:abc", "LoRA rank 16", "Tuned 1 of 1 right", "**Inconclusive**", "AnswerCut: 2 rows", "Limits"):
        assert part in card
    refused = "vLLM refuses modules_to_save (lm_head), SGLang and TGI pass over it"
    assert refused in card
    page = Path(client.download_artifacts(run_id, "reports/evaluation.html", str(tmp_path))).read_text()
    assert f"With changes: {refused}" in page


def test_an_adapter_whose_settings_cannot_be_read_is_published(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, workspace = job_on(mlflow_server.uri, tmp_path)
    (workspace.result / "adapter" / "adapter_config.json").write_text("[1")

    publish.run(config, workspace)

    card = client.download_artifacts(publish.own_run(client, config), "model_card.md", str(tmp_path))
    assert "its adapter_config.json cannot be read" in Path(card).read_text()


def test_an_outage_loses_and_doubles_no_point_and_publish_waits_for_its_end(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    run_id = client.create_run(client.create_experiment(f"demo.{tmp_path.name}.outage")).info.run_id
    tracking = TrackingConfig(mlflow_server.uri, f"demo.{tmp_path.name}", run_id)
    config, workspace = job_on(mlflow_server.uri, tmp_path, tracking=tracking)
    failed = threading.Event()

    def connection() -> Any:
        send = send_to_run(connect(tracking), run_id)

        def watched(points: Any) -> None:
            try:
                send(points)
            except Exception:
                failed.set()
                raise

        return watched

    spool = Spool(workspace.spool, 2)
    shipper = Shipper(spool, workspace.spool, connection, Allowance(6000), interval=0.05, longest_pause=0.5)
    sink = SpoolSink(spool, shipper, close_seconds=60)
    for step in range(4, 1501):
        sink.log(step, {"train/loss": step / 8, "train/grad_norm": 1.0})
    mlflow_server.stop()
    for step in range(1501, 1521):
        sink.log(step, {"train/loss": step / 8})
    assert failed.wait(60)

    def start_instead_of_sleeping(seconds: float) -> None:
        mlflow_server.start()

    summary = publish.run(config, workspace, publish.Patience(sleep=start_instead_of_sleeping))
    sink.log(1521, {"train/loss": 1.0})
    sink.close()
    # a server that was cut off in the middle of a request may have kept it: sending again must not double it
    for file in workspace.spool.glob("*.sent"):
        file.unlink()
    publish.ship(workspace.spool, send_to_run(client, run_id))

    assert summary.model_version == "1"
    assert [point.step for point in client.get_metric_history(run_id, "train/loss")] == list(range(1, 1522))
    assert [point.step for point in client.get_metric_history(run_id, "train/grad_norm")] == list(range(4, 1501))


def test_a_run_that_was_deleted_meanwhile_is_restored_and_gets_everything(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = client.create_run(client.create_experiment(f"demo.{tmp_path.name}")).info.run_id
    tracking = TrackingConfig(mlflow_server.uri, f"demo.{tmp_path.name}", run_id)
    config, workspace = job_on(mlflow_server.uri, tmp_path, tracking=tracking)
    client.delete_run(run_id)
    with pytest.raises(Exception, match="must be in the 'active' state"):
        publish.ship(workspace.spool, send_to_run(client, run_id))

    assert publish.run(config, workspace).model_version == "1"

    assert client.get_run(run_id).info.lifecycle_stage == "active"
    assert [point.step for point in client.get_metric_history(run_id, "train/loss")] == [1, 2, 3]
    assert f"run {run_id} was deleted in MLflow" in caplog.text


def test_rights_are_checked_by_writing_what_may_be_written_twice(
    tmp_path: Path, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    config, _ = job_on(mlflow_server.uri, tmp_path)

    assert [rights.check_rights(config), rights.check_rights(config)] == [rights.REACHED, rights.REACHED]
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    assert experiment.tags["vernacular.dev/namespace"] == "demo"
    assert client.get_registered_model(config.publish.registered_model).tags == {"vernacular.dev/namespace": "demo"}


@pytest.mark.parametrize("alias", ["latest", "Latest", "v2", "a b", ""])
def test_an_alias_that_mlflow_keeps_for_itself_is_refused_before_training(tmp_path: Path, alias: str) -> None:
    config, _ = job_on(AWAY, tmp_path, publish=PublishConfig("demo.a", alias))

    with pytest.raises(StageError) as caught:
        rights.check_rights(config)

    assert caught.value.code is StageFailure.ARGUMENT_REFUSED
    assert "publish.alias" in caught.value.message


def test_a_name_that_mlflow_does_not_take_is_refused_before_training(
    tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    config, _ = job_on(mlflow_server.uri, tmp_path, publish=PublishConfig("demo/a:b"))

    with pytest.raises(StageError) as caught:
        rights.check_rights(config)

    assert caught.value.code is StageFailure.ARGUMENT_REFUSED
    assert "the registered model, demo/a:b" in caught.value.message


def test_a_server_that_is_away_is_no_error_of_prepare(tmp_path: Path) -> None:
    config, _ = job_on(AWAY, tmp_path)

    assert rights.check_rights(config) == rights.AWAY


@pytest.fixture
def refusing_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """A server that answers every request with one status; its address and the credentials it was shown."""
    shown: list[str] = []

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            self.send_response(request.param)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"refuse")

        do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", shown
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("refusing_server", [401, 403], indirect=True)
def test_missing_rights_fail_in_prepare_and_in_publish(
    tmp_path: Path, refusing_server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, shown = refusing_server
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "MLFLOW_TRACKING_TOKEN").write_text("right\n")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")
    tracking = TrackingConfig(uri, "demo.hr-bot", "", "mlflow-login", str(tmp_path / "secret"))
    config, workspace = job_on(uri, tmp_path, tracking=tracking)

    with pytest.raises(StageError) as checked:
        rights.check_rights(config)
    with pytest.raises(StageError) as published:
        publish.run(config, workspace)

    assert checked.value.code is published.value.code is StageFailure.TRACKING_ACCESS_DENIED
    assert "to the experiment demo.hr-bot with the credentials of the Secret mlflow-login" in checked.value.message
    assert "tracking.mlflow.credentialsSecretName" in checked.value.advice
    assert checked.value.outcome is Outcome.USER_ERROR
    assert set(shown) == {"Bearer right"}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_publish_waits_for_a_server_that_is_away_and_then_asks_for_another_attempt(tmp_path: Path) -> None:
    config, workspace = job_on(AWAY, tmp_path)
    clock = Clock()

    with pytest.raises(StageError) as caught:
        publish.run(config, workspace, publish.Patience(seconds=100, clock=clock, sleep=clock.sleep))

    assert caught.value.code is StageFailure.TRACKING_UNAVAILABLE
    assert caught.value.outcome is Outcome.INTERNAL
    assert "nothing is lost" in caught.value.message
    assert clock.pauses == [1, 2, 4, 8, 16, 30, 30]
