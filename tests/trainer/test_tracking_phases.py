"""What a stage does at the moment is told to its run, and nothing about that holds up the stage."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from support.mlflow_server import MlflowServer
from support.stage_jobs import make_job
from vernacular_trainer.contract import PHASE_TAG, JobConfig, Phase, PhaseReport, Stage, TrackingConfig
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.phases import PhaseReporter, Tell, reporting, tell_run


class Heard:
    """Collects what is told; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.texts: list[str] = []
        self._failures = failures
        self._changed = threading.Condition()

    def connect(self) -> Tell:
        if self._failures:
            self._failures -= 1
            raise ConnectionError
        return self.tell

    def tell(self, text: str) -> None:
        with self._changed:
            self.texts.append(text)
            self._changed.notify_all()

    def wait(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.texts) >= count, 30)
        return self.texts


@pytest.fixture
def config(tmp_path: Path) -> JobConfig:
    return make_job(tmp_path, tmp_path, ())[0]


def test_each_phase_is_told_once_and_again_when_it_gets_on(config: JobConfig) -> None:
    heard, sizes = Heard(), iter(["1 GB", "1 GB", "2 GB"])
    reporter = PhaseReporter(config, heard.connect, Allowance(1000), interval=0.01)
    reporter.start()
    reporter.enter(Phase.DOWNLOADING, lambda: next(sizes, "2 GB"))
    heard.wait(2)
    reporter.enter(Phase.TOKENISING)
    texts = heard.wait(3)
    reporter.stop()

    assert texts == [
        "Prepare attempt 1: Downloading, 1 GB",
        "Prepare attempt 1: Downloading, 2 GB",
        "Prepare attempt 1: Tokenising",
    ]


def test_a_tracker_that_is_away_is_tried_again(config: JobConfig) -> None:
    heard = Heard(failures=3)
    reporter = PhaseReporter(config, heard.connect, Allowance(1000), interval=0.01)
    reporter.start()
    reporter.enter(Phase.TOKENISING)

    assert heard.wait(1) == ["Prepare attempt 1: Tokenising"]
    reporter.stop()


@pytest.mark.parametrize(
    ("stage", "tracking", "tells"),
    [
        (Stage.PREPARE, TrackingConfig("http://mlflow", "e"), True),
        (Stage.TRAIN, TrackingConfig("http://mlflow", "e", run_id="r"), True),
        (Stage.TRAIN, TrackingConfig("http://mlflow", "e"), False),
        (Stage.PREPARE, TrackingConfig("", "e"), False),
    ],
)
def test_a_job_without_a_run_tells_nothing(
    config: JobConfig, stage: Stage, tracking: TrackingConfig, tells: bool
) -> None:
    before = _reporters()
    with reporting(dataclasses.replace(config, stage=stage, tracking=tracking), Allowance()):
        assert len(_reporters() - before) == int(tells)


def _reporters() -> set[threading.Thread]:
    """Other threads of the process come and go."""
    return {thread for thread in threading.enumerate() if thread.name == "phase-reporter"}


def test_prepare_finds_the_run_of_its_job_and_later_stages_know_it(config: JobConfig, tmp_path: Path) -> None:
    with MlflowServer(tmp_path / "mlflow") as server:
        client, tracking = MlflowClient(server.uri), TrackingConfig(server.uri, "demo.hr-bot")
        preparing = dataclasses.replace(config, tracking=tracking)
        with pytest.raises(LookupError):
            tell_run(preparing)
        experiment = client.create_experiment("demo.hr-bot")
        run_id = client.create_run(experiment, tags={"vernacular.dev/uid": "uid-1"}).info.run_id
        training = dataclasses.replace(config, stage=Stage.TRAIN, tracking=dataclasses.replace(tracking, run_id=run_id))
        for job in (preparing, training):
            text = PhaseReport(job.stage, 1, Phase.SAVING).to_text()
            tell_run(job)(text)
            assert client.get_run(run_id).data.tags[PHASE_TAG] == text


@pytest.mark.parametrize(
    "report",
    [
        PhaseReport(Stage.PREPARE, 1, Phase.DOWNLOADING, "3.2 GB of hf://org/model so far"),
        PhaseReport(Stage.TRAIN, 12, Phase.SAVING),
        PhaseReport(Stage.EVALUATE, 2, Phase.EVALUATING, "a, b: c"),
    ],
)
def test_a_tag_is_read_as_it_was_written(report: PhaseReport) -> None:
    assert PhaseReport.from_text(report.to_text()) == report


@pytest.mark.parametrize("text", ["", "Train", "Train attempt x: Saving", "Sleep attempt 1: Saving", "a: b, c"])
def test_other_tags_are_none_of_ours(text: str) -> None:
    assert PhaseReport.from_text(text) is None
