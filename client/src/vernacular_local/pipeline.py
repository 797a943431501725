"""The stages of a job one after the other on this machine, each in processes of its own as in a pod."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from vernacular.api import FineTuneJob, Stage
from vernacular.api.spec import OnMiss
from vernacular_local.config import Place, stage_config, typed_job
from vernacular_local.processes import StageProcess, Stops, alone
from vernacular_local.records import close_run, local_tracking, open_run
from vernacular_local.request import LocalError, LocalRequest
from vernacular_local.state import State, load_state
from vernacular_operator.manifests.job_config import Attempt
from vernacular_trainer.contract import SERVICE_KEY, WEIGHTS_AND_BIASES_KEYS, JobConfig, Outcome, StageReport

REQUEST_FILE = "request.json"
_STAGES = (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH)
# what the Secrets of a job hold, by the names of the environment
_SECRETS = (
    "HF_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "HTTPS_TOKEN",
    "HTTPS_USERNAME",
    "HTTPS_PASSWORD",
    SERVICE_KEY,
    *WEIGHTS_AND_BIASES_KEYS,
)
# what the stages log themselves; libraries and traces of errors are for the log file alone
_FOR_PEOPLE = re.compile(r"[-0-9]+ [0-9:,]+ \[0\] vernacular_trainer\.(?:stages|training)[.\w]*: (.*)")


class ExitStatus(IntEnum):
    """How a job on this machine ended, in the exit statuses of the command line."""

    DONE = 0
    FAILED = 3
    PREEMPTED = 85


@dataclass
class Pipeline:
    """One job in its work folder. `run` returns the exit status; every step that is done is kept at once."""

    request: LocalRequest
    folder: Path
    out: TextIO
    environment: Mapping[str, str]

    def run(self) -> ExitStatus:
        """Do what is left to do. Raises LocalError when it cannot begin."""
        with alone(self.folder) as lock, secrets_of(self.environment) as secrets, Stops() as stops:
            self._process = StageProcess(self.environment, lock, stops)
            self._place = Place(str(self.folder / "workspace"), secrets)
            self._state = load_state(self.folder) or State(uid=str(uuid.uuid4()))
            self._job = typed_job(self.request, self._state.uid)
            if not self.request.tracking:
                self.request = dataclasses.replace(self.request, tracking=local_tracking(self.folder))
            self._open()
            status = self._stages(stops)
            self._close({ExitStatus.DONE: "FINISHED", ExitStatus.FAILED: "FAILED"}.get(status, "KILLED"))
            return status

    def _stages(self, stops: Stops) -> ExitStatus:
        for stage in _STAGES:
            while stage not in self._state.done:
                if stops.requested:
                    return self._stopped()
                self._keep(self._state.begun(stage))
                report = self._attempt(stage)
                if report.outcome is Outcome.DONE:
                    self._keep(self._state.finished(stage, report.summary))
                elif report.outcome is Outcome.PREEMPTED:
                    return self._stopped()
                elif report.outcome is Outcome.INTERNAL and self._may_try_again():
                    self._say(f"{stage}: {report.message}; trying again")
                else:
                    return self._failed(stage, report)
        return self._ended()

    def _attempt(self, stage: Stage) -> StageReport:
        number = self._state.attempts[stage]
        self._say(f"{stage}, attempt {number}")
        config, path = self._config(stage), self.folder / "attempts" / f"{stage.lower()}-{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(config.to_json(), encoding="utf-8")
        report = path.with_suffix(".report")
        stage_of = (sys.executable, "-m", "vernacular_trainer", stage.lower(), "--with-parent")
        command = (*stage_of, "--config", str(path), "--termination-log", str(report))
        ended = self._process.run(command, path.with_suffix(".log"), self._show)
        if not report.is_file():
            return StageReport(Outcome.INTERNAL, message=f"the process ended with {ended} and no report")
        return StageReport.from_json(report.read_text(encoding="utf-8"))

    def _show(self, line: str) -> None:
        if found := _FOR_PEOPLE.match(line):
            self._say(f"  {found.group(1)}")

    def _config(self, stage: Stage) -> JobConfig:
        number = max(1, self._state.attempts.get(stage, 0))
        return stage_config(self.request, Attempt(self._job, stage, number, self._state.run_id), self._place)

    def _may_try_again(self) -> bool:
        if self._state.restarts >= self._job.spec.run_policy.max_restarts:
            return False
        self._keep(dataclasses.replace(self._state, restarts=self._state.restarts + 1))
        return True

    def _open(self) -> None:
        config = self._config(Stage.PREPARE)
        try:
            run_id = open_run(config, self._state.run_id, self.folder)
        except Exception as error:
            raise LocalError(
                f"MLflow at {config.tracking.uri} cannot open a run: {error}",
                "check its address and MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or leave --mlflow out",
            ) from error
        self._keep(dataclasses.replace(self._state, run_id=run_id))

    def _close(self, status: str) -> None:
        config = self._config(Stage.PREPARE)
        try:
            close_run(config, self._state.run_id, status)
        except Exception as error:
            # what the job made is in its folder; the run alone says less than is true
            self._say(f"MLflow at {config.tracking.uri} was not told the end: {error}")

    def _stopped(self) -> ExitStatus:
        self._say("stopped, and what was learnt is saved; the same command goes on")
        return ExitStatus.PREEMPTED

    def _failed(self, stage: Stage, report: StageReport) -> ExitStatus:
        place = f" ({report.evidence})" if report.evidence else ""
        log = self.folder / "attempts" / f"{stage.lower()}-{self._state.attempts[stage]}.log"
        self._say(f"{stage} has failed: {report.code}: {report.message}{place}", report.advice, f"log: {log}")
        return ExitStatus.FAILED

    def _ended(self) -> ExitStatus:
        evaluation, published = self._state.done[Stage.EVALUATE], self._state.done[Stage.PUBLISH]
        self._say(
            f"{evaluation['summary']}",
            f"verdict: {evaluation['verdict']}",
            f"{published['registered_model']} version {published['model_version']}, alias {published['alias']}",
            f"model: {self.folder / 'workspace' / 'result'}",
        )
        if self.request.tracking.startswith("sqlite:"):
            self._say(f"records: mlflow ui --backend-store-uri {self.request.tracking}")
        if missed := _gate_missed(self._job, evaluation["gate_missed"]):
            self._say(f"the job has failed: the gate was missed: {missed}")
            return ExitStatus.FAILED
        return ExitStatus.DONE

    def _keep(self, state: State) -> None:
        self._state = state
        state.save(self.folder)

    def _say(self, *lines: str) -> None:
        try:
            self.out.writelines(f"{line}\n" for line in lines if line)
            self.out.flush()
        except OSError:
            # the terminal or the reader is gone; what was said stands in the folder, and the job goes on
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.out.fileno())
            os.close(nowhere)


def _gate_missed(job: FineTuneJob, missed: list[str]) -> str:
    gate = job.spec.evaluation.gate
    return "; ".join(missed) if gate and gate.on_miss is OnMiss.FAIL_JOB else ""


@contextlib.contextmanager
def secrets_of(environment: Mapping[str, str]) -> Iterator[str]:
    """A folder like a mounted Secret with what the environment holds; it goes when the job ends."""
    with tempfile.TemporaryDirectory(prefix="vernacular-secrets-") as folder:
        for name in _SECRETS:
            if value := environment.get(name):
                (Path(folder) / name).write_text(value, encoding="utf-8")
        yield folder
