"""The stages of a job one after the other on this machine, each in processes of its own as in a pod."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import TextIO

from vernacular.api import FineTuneJob, Stage
from vernacular.api.spec import OnMiss
from vernacular_local.config import Place, stage_config, typed_job
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
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        with _alone(self.folder), secrets_of(self.environment) as secrets, _Stops() as stops:
            self._place = Place(str(self.folder / "workspace"), secrets)
            self._state = load_state(self.folder) or State(uid=str(uuid.uuid4()))
            self._job = typed_job(self.request, self._state.uid)
            if not self.request.tracking:
                self.request = dataclasses.replace(self.request, tracking=local_tracking(self.folder))
            self._open()
            status = self._stages(stops)
            self._close({ExitStatus.DONE: "FINISHED", ExitStatus.FAILED: "FAILED"}.get(status, "KILLED"))
            return status

    def _stages(self, stops: _Stops) -> ExitStatus:
        for stage in _STAGES:
            while stage not in self._state.done:
                if stops.requested:
                    return self._stopped()
                self._keep(self._state.begun(stage))
                report = self._attempt(stage, stops)
                if report.outcome is Outcome.DONE:
                    self._keep(self._state.finished(stage, report.summary))
                elif report.outcome is Outcome.PREEMPTED:
                    return self._stopped()
                elif report.outcome is Outcome.INTERNAL and self._may_try_again():
                    self._say(f"{stage}: {report.message}; trying again")
                else:
                    return self._failed(stage, report)
        return self._ended()

    def _attempt(self, stage: Stage, stops: _Stops) -> StageReport:
        number = self._state.attempts[stage]
        self._say(f"{stage}, attempt {number}")
        config, path = self._config(stage), self.folder / "attempts" / f"{stage.lower()}-{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(config.to_json(), encoding="utf-8")
        report = path.with_suffix(".report")
        command = (sys.executable, "-m", "vernacular_trainer", stage.lower(), "--config", str(path))
        # a group of its own: Ctrl-C of a terminal reaches it once, from here
        process = subprocess.Popen(
            (*command, "--termination-log", str(report)),
            env=dict(self.environment),
            process_group=0,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        stops.pass_on_to(process)
        self._follow(process, path.with_suffix(".log"))
        stops.pass_on_to(None)
        if not report.is_file():
            return StageReport(Outcome.INTERNAL, message=f"the process ended with {process.returncode} and no report")
        return StageReport.from_json(report.read_text(encoding="utf-8"))

    def _follow(self, process: subprocess.Popen[str], log: Path) -> None:
        """Keep everything that the stage says, and show what is for people."""
        assert process.stdout is not None
        with process.stdout, log.open("w", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if found := _FOR_PEOPLE.match(line):
                    self._say(f"  {found.group(1)}")
        process.wait()

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
        self.out.writelines(f"{line}\n" for line in lines if line)
        self.out.flush()


def _gate_missed(job: FineTuneJob, missed: list[str]) -> str:
    gate = job.spec.evaluation.gate
    return "; ".join(missed) if gate and gate.on_miss is OnMiss.FAIL_JOB else ""


class _Stops:
    """Requests to stop (Ctrl-C, SIGTERM), passed on to the stage that runs."""

    def __init__(self) -> None:
        self.requested = False
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Stops:
        self._before = {number: signal.signal(number, self._stop) for number in _STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on_to(self, process: subprocess.Popen[str] | None) -> None:
        """Who is told; None: nobody."""
        self._process = process
        if process and self.requested:
            process.send_signal(signal.SIGTERM)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if self._process:
            self._process.send_signal(signal.SIGTERM)
        if first:
            os.write(sys.stderr.fileno(), b"\nstopping: what was learnt is being saved\n")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two at once would write over each other. Raises LocalError."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"this job runs already in {folder}", "wait for it, or name another --work") from None
        yield


@contextlib.contextmanager
def secrets_of(environment: Mapping[str, str]) -> Iterator[str]:
    """A folder like a mounted Secret with what the environment holds; it goes when the job ends."""
    with tempfile.TemporaryDirectory(prefix="vernacular-secrets-") as folder:
        for name in _SECRETS:
            if value := environment.get(name):
                (Path(folder) / name).write_text(value, encoding="utf-8")
        yield folder
