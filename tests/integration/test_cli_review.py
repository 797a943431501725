"""A person reviews the answers of a job, on a real API server and a real MLflow server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xlsxwriter
from mlflow import MlflowClient
from python_calamine import CalamineWorkbook

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs, condition
from support.command_line import shell_in
from support.evaluations import BAD, GOOD, report_of
from support.mlflow_server import MlflowServer
from vernacular_trainer.contract import TextInReports
from vernacular_trainer.disclosure import released_evaluation

pytestmark = pytest.mark.integration

REGRESSED = {"OK?": "no", "base OK?": "yes"}


class World:
    """A job whose evaluation of 12 questions says Promote, published to MLflow with its workbook."""

    def __init__(
        self, server: ApiServer, mlflow: MlflowServer, folder: Path, texts: TextInReports = TextInReports.FULL
    ) -> None:
        self.server = server
        self.namespace = server.new_namespace("cli")
        self.model = f"{self.namespace}.hr-bot"
        self.client = MlflowClient(mlflow.uri)
        self.folder = folder
        report = report_of(folder, [(BAD, GOOD)] * 12)
        self.run_id = self.client.create_run("0").info.run_id
        self.client.log_dict(self.run_id, released_evaluation(report, texts), "reports/evaluation.json")
        if texts is not TextInReports.NONE:
            self.client.log_artifact(self.run_id, str(folder / "reports" / "review.xlsx"), "reports")
        self.client.set_terminated(self.run_id)
        self.client.create_registered_model(self.model)
        self.client.create_model_version(self.model, source=f"runs:/{self.run_id}/adapter", run_id=self.run_id)
        status = {
            "state": "Succeeded",
            "conditions": [condition("Complete", "True", "JobSucceeded")],
            "mlflow": {
                "registeredModel": self.model,
                "modelVersion": "1",
                "runID": self.run_id,
                "url": f"{mlflow.uri}/#/experiments/0/runs/{self.run_id}",
            },
            "evaluation": {
                "verdict": report["verdict"],
                "summary": report["summary"],
                "base": report["base"],
                "tuned": report["tuned"],
                "gainPoints": report["gain_points"],
            },
        }
        self.jobs = StoredJobs(server, self.namespace)
        self.jobs.make("hr-bot", status)
        uid = self.jobs.read("hr-bot")["metadata"]["uid"]
        self.client.set_model_version_tag(self.model, "1", "vernacular.dev/uid", uid)
        self.shell = shell_in(server, self.namespace, folder)

    @property
    def user(self) -> str:
        """As whom the API server knows the certificate of the kubeconfig."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self.server.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        return str(answer["status"]["userInfo"]["username"])

    def fill(self, name: str, marks: dict[str, str], *, published: bool = True) -> str:
        """The published workbook, or the one on the volume, with the same marks in each row."""
        path = str(self.folder / "reports" / "review.xlsx")
        if published:
            path = self.client.download_artifacts(self.run_id, "reports/review.xlsx", str(self.folder))
        header, *rows = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
        with xlsxwriter.Workbook(str(self.folder / name)) as book:
            page = book.add_worksheet("Review")
            for number, row in enumerate([header, *rows]):
                marked = [marks.get(str(title), cell) for title, cell in zip(header, row, strict=True)]
                page.write_row(number, 0, marked if number else row)
        return name

    @property
    def tags(self) -> dict[str, str]:
        """What the version says of its review."""
        tags = self.client.get_model_version(self.model, "1").tags
        prefix = "vernacular.dev/review-"
        return {name.removeprefix(prefix): value for name, value in tags.items() if name.startswith(prefix)}


@pytest.fixture
def world(api_server: ApiServer, mlflow_server: MlflowServer, tmp_path: Path) -> World:
    return World(api_server, mlflow_server, tmp_path)


def test_a_review_is_recorded_and_promotion_follows_it(world: World) -> None:
    done = world.shell.run("review", "hr-bot", world.fill("marked.xlsx", REGRESSED))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "12 of 12 questions reviewed, 24 answers scored otherwise.",
        "Verdict: Regressed, Promote before.",
        world.tags["summary"],
        f"Recorded in run {world.run_id} and on {world.model} version 1.",
    ]
    assert (world.tags["verdict"], world.tags["answers"]) == ("Regressed", done.stdout.splitlines()[0])
    assert world.tags["by"] == world.user
    assert done.stderr == ""
    run = world.client.get_run(world.run_id)
    assert run.data.tags["vernacular.dev/review-verdict"] == "Regressed"
    metrics = {name: value for name, value in run.data.metrics.items() if name.startswith("review/")}
    assert (metrics["review/marked"], metrics["review/changed"]) == (12, 24)
    assert (metrics["review/tuned_correct"], metrics["review/base_correct"]) == (0, 12)
    assert metrics["review/gain_points"] == -100
    assert run.info.status == "FINISHED"
    (review,) = world.client.list_artifacts(world.run_id, "reviews")
    kept = Path(world.client.download_artifacts(world.run_id, review.path, str(world.folder)))
    assert (kept / "marked.xlsx").read_bytes() == (world.folder / "marked.xlsx").read_bytes()
    document = json.loads((kept / "review.json").read_text())
    assert document["before"]["verdict"] == "Promote"
    assert document["result"]["verdict"] == "Regressed"
    assert len(document["changes"]) == 24

    refused = world.shell.run("promote", "hr-bot", "--yes")
    assert refused.returncode == 1
    assert f"The review of version 1 by {world.tags['by']}" in refused.stderr
    assert "Regressed" in refused.stderr
    assert "--force promotes it all the same" in refused.stderr
    assert world.shell.run("promote", "hr-bot", "--yes", "--force").returncode == 0


def test_without_texts_in_mlflow_the_workbook_of_the_volume_is_reviewed_and_stays_there(
    api_server: ApiServer, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    world = World(api_server, mlflow_server, tmp_path, TextInReports.NONE)

    done = world.shell.run("review", "hr-bot", world.fill("marked.xlsx", REGRESSED, published=False))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "tracking.textInReports of the job is None; what it says is recorded, the workbook is not: keep it."
    )
    assert world.tags["verdict"] == "Regressed"
    (review,) = world.client.list_artifacts(world.run_id, "reviews")
    kept = Path(world.client.download_artifacts(world.run_id, review.path, str(world.folder)))
    assert [path.name for path in kept.iterdir()] == ["review.json"]
    marks = json.loads((kept / "review.json").read_text())["marks"]
    assert [(len(mark["digest"]), mark["tuned"], mark["base"]) for mark in marks] == [(64, False, True)] * 12
    assert GOOD not in (kept / "review.json").read_text()

    other = tmp_path / "other"
    report_of(other, [(BAD, "90 days")] * 12)
    refused = world.shell.run("review", "hr-bot", str(other / "reports" / "review.xlsx"))
    assert refused.returncode == 1
    assert "take review.xlsx from the folder reports/ of the job's workspace volume" in refused.stderr


def test_a_second_review_counts_and_the_first_is_kept(world: World) -> None:
    first, second = world.fill("first.xlsx", REGRESSED), world.fill("second.xlsx", {"OK?": "yes"})
    assert world.shell.run("review", "hr-bot", first, "--reviewer", "Ada").returncode == 0

    assert world.shell.run("review", "hr-bot", second, "--reviewer", "Grace Hopper").returncode == 0

    assert (world.tags["verdict"], world.tags["by"]) == ("Promote", "Grace Hopper")
    assert len(world.client.list_artifacts(world.run_id, "reviews")) == 2
    assert world.shell.run("promote", "hr-bot").returncode == 0


def test_a_dry_run_and_a_refused_workbook_record_nothing(world: World) -> None:
    tried = world.shell.run("review", "hr-bot", world.fill("a.xlsx", REGRESSED), "--dry-run")
    refused = world.shell.run("review", "hr-bot", world.fill("b.xlsx", {"OK?": "oui"}))
    unmarked = world.shell.run("review", "hr-bot", world.fill("c.xlsx", {}))

    assert (tried.returncode, refused.returncode, unmarked.returncode) == (0, 1, 1)
    assert "Verdict: Regressed" in tried.stdout
    assert "Nothing was recorded." in tried.stdout
    assert "b.xlsx, cell E2: 'oui' is neither yes nor no" in refused.stderr
    assert "no answer is marked" in unmarked.stderr
    assert world.tags == {}
    assert world.client.list_artifacts(world.run_id, "reviews") == []
    assert "vernacular.dev/review-verdict" not in world.client.get_run(world.run_id).data.tags


def test_what_there_is_nothing_to_review_of(world: World) -> None:
    name = world.fill("marked.xlsx", REGRESSED)
    world.jobs.make("fresh")
    away = world.shell.run("review", "hr-bot", name, "--mlflow", "http://127.0.0.1:9")
    fresh = world.shell.run("review", "fresh", name)
    nobody = world.shell.run("review", "hr-bot", name, "--reviewer", "\x1b[2J")
    run = world.client.create_run("0").info.run_id
    status = world.jobs.read("hr-bot")["status"]
    world.jobs.report("hr-bot", {"mlflow": {**status["mlflow"], "runID": run}})
    unpublished = world.shell.run("review", "hr-bot", name)
    world.jobs.report("hr-bot", {"mlflow": {**status["mlflow"], "runID": "f" * 32}})
    unknown = world.shell.run("review", "hr-bot", name)

    assert away.returncode == 4
    assert "MLflow at http://127.0.0.1:9 does not answer" in away.stderr
    assert fresh.returncode == 1
    assert "fresh has not been evaluated" in fresh.stderr
    assert nobody.returncode == 1
    assert "printable characters" in nobody.stderr
    assert unpublished.returncode == 1
    assert f"run {run} has no reports/evaluation.json" in unpublished.stderr
    assert unknown.returncode == 1
    assert "MLflow refuses: RESOURCE_DOES_NOT_EXIST: Run with id=ffff" in unknown.stderr
