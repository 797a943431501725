"""Stage 4, without torch: everything that was found and made goes to MLflow, and the registry gets a new version.

Every call may be repeated: a second attempt finds what the first one left and changes nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vernacular_trainer.contract import JobConfig, PlanValue, PublishConfig, PublishSummary, StageFailure, TextInReports
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.places import shortened
from vernacular_trainer.disclosure import released_data, released_evaluation
from vernacular_trainer.errors import StageError
from vernacular_trainer.evaluation.lineage import compare
from vernacular_trainer.evaluation.report import write_report
from vernacular_trainer.serving import WHOLE_MODEL, AdapterTraits, served
from vernacular_trainer.tracking.client import TAG_PREFIX, away, connect, find_run, identity_tags, refused
from vernacular_trainer.tracking.event_files import write_events
from vernacular_trainer.tracking.papers import TABLE, write_papers
from vernacular_trainer.tracking.records import TAG_LIMIT, attempts, cut, datasets, parameters, questions_digest
from vernacular_trainer.tracking.registry import (
    Promotion,
    promote,
    read_artifact,
    register_version,
    version_before,
)
from vernacular_trainer.tracking.rights import ensure_experiment
from vernacular_trainer.tracking.shipper import send_to_run, ship
from vernacular_trainer.tracking.spool import spool_files
from vernacular_trainer.tracking.weights_and_biases import replay_of, write_run
from vernacular_trainer.workspace import Workspace

PATIENCE_SECONDS = 300.0
UPLOAD_TIMEOUT_SECONDS = 120
# a million rows with ten findings each have as much
MOST_FINDINGS_BYTES = 64 * 2**20
_GAIN = {"": "value", "_low": "low", "_high": "high"}

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Findings:
    """What the earlier stages left, as plain data."""

    data: dict[str, Any]
    evaluation: dict[str, Any]
    # of the whole questions: texts that are held back are all alike
    asked: str

    @classmethod
    def read(cls, workspace: Workspace) -> Findings:
        """Raises FileNotFoundError when a stage before this one has left nothing, StageError (ArgumentRefused) when it
        has left links.
        """
        _require_plain((workspace.data_report, workspace.evaluation_report))
        data, evaluation = (
            json.loads(report.read_text()) for report in (workspace.data_report, workspace.evaluation_report)
        )
        return cls(data, evaluation, questions_digest(evaluation))

    def released(self, texts: TextInReports) -> Findings:
        """The same as it may be published."""
        return Findings(released_data(self.data, texts), released_evaluation(self.evaluation, texts), self.asked)


class Patience:
    """Repeats a call while MLflow is away, with growing pauses, for PATIENCE_SECONDS altogether."""

    def __init__(
        self,
        seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._deadline = clock() + seconds

    def call(self, action: Callable[[], T]) -> T:
        """The result of `action`. Raises StageError (TrackingUnavailable, TrackingAccessDenied)."""
        pause = 1.0
        while True:
            try:
                return action()
            except Exception as error:
                if refused(error):
                    advice = "give the user of tracking.mlflow.credentialsSecretName the right to edit"
                    message = "MLflow does not let this job write its result"
                    raise StageError(StageFailure.TRACKING_ACCESS_DENIED, message, advice) from error
                if not away(error):
                    raise
                if self._clock() + pause > self._deadline:
                    message = "MLflow does not answer; the result stays in the workspace and nothing is lost"
                    advice = "nothing, if MLflow comes back: the stage is tried again. Else check its address"
                    raise StageError(StageFailure.TRACKING_UNAVAILABLE, message, advice) from error
                log.warning("MLflow does not answer, trying again in %.0f s", pause)
                self._sleep(pause)
                pause = min(pause * 2, 30.0)


def run(config: JobConfig, workspace: Workspace, patience: Patience | None = None) -> PublishSummary:
    """Do the stage; safe to repeat. Raises StageError (TrackingUnavailable, TrackingAccessDenied)."""
    patience = patience or Patience()
    findings = Findings.read(workspace)
    client = connect(config.tracking, timeout_seconds=UPLOAD_TIMEOUT_SECONDS)
    run_id = patience.call(lambda: _open_run(client, config))
    if lineage := patience.call(lambda: _lineage(client, config.publish, run_id, findings.evaluation)):
        findings = dataclasses.replace(findings, evaluation={**findings.evaluation, "lineage": lineage})
        write_report(workspace, findings.evaluation)
    serving = dataclasses.asdict(_serving(config, workspace))
    findings = dataclasses.replace(findings, evaluation={**findings.evaluation, "serving": serving})
    findings = findings.released(config.tracking.text_in_reports)
    _write_records(workspace)
    patience.call(lambda: ship(workspace.spool, send_to_run(client, run_id)))
    patience.call(lambda: _log_values(client, run_id, config, findings))
    patience.call(lambda: _log_datasets(client, run_id, findings))
    with tempfile.TemporaryDirectory(dir=workspace.root, prefix=".papers-") as papers:
        write_papers(config, Path(papers), findings.data, findings.evaluation)
        patience.call(lambda: _upload(client, run_id, config, workspace, Path(papers)))
    kind = config.method.result
    tags = {**identity_tags(config.identity), TAG_PREFIX + "base": config.model.uri}
    description = _description(config, findings)
    version = patience.call(lambda: register_version(client, config.publish, run_id, kind, tags, description))
    promotion = patience.call(lambda: _promote(client, config.publish, findings.evaluation["verdict"], version))
    if config.weights_and_biases:
        _mirror(client, run_id, config, workspace, findings)
    if not config.tracking.run_id:
        patience.call(lambda: client.set_terminated(run_id, "FINISHED"))
    location = patience.call(lambda: str(client.get_run(run_id).info.artifact_uri))
    return PublishSummary(
        config.publish.registered_model,
        version,
        config.publish.alias,
        f"{location}/{kind}",
        config.publish.promoted_alias if promotion.done else "",
        promotion.replaced,
    )


def _mirror(client: Any, run_id: str, config: JobConfig, workspace: Workspace, findings: Findings) -> None:
    """Make the run in Weights & Biases too, and keep its files. The result is published already: nothing here fails."""
    wanted, folder = config.weights_and_biases, workspace.weights_and_biases
    assert wanted
    tag = TAG_PREFIX + "weights-and-biases"
    try:
        if client.get_run(run_id).data.tags.get(tag) == "sent":
            return
        points = (point for file in spool_files(workspace.spool) for point in file.points())
        worked = write_run(replay_of(config, parameters(config, findings.data), points), wanted, folder)
        for path in folder.glob("wandb/offline-run-*/*.wandb"):
            client.log_artifact(run_id, str(path), folder.name)
        client.set_tag(run_id, tag, ("sent" if wanted.online else "written") if worked else "failed")
    except Exception as error:
        log.warning("Weights & Biases: %s", type(error).__name__)


def _lineage(client: Any, publish: PublishConfig, run_id: str, evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """What became of the failures of the version before; None when there is none, or its report cannot be had."""
    before = version_before(client, publish.registered_model, run_id)
    if before is None:
        return None
    report = read_artifact(client, before.run_id, "reports/evaluation.json")
    return compare(str(before.version), json.loads(report), evaluation) if report else None


def _serving(config: JobConfig, workspace: Workspace) -> PlanValue:
    """What servers make of the result that ships, whoever trained it."""
    if not config.method.makes_adapter:
        return WHOLE_MODEL
    path = workspace.result / config.method.result / "adapter_config.json"
    _require_plain((path,))
    try:
        return served(AdapterTraits.of_config(dict(json.loads(path.read_bytes()))))
    except (ValueError, TypeError):
        return PlanValue("serving", "not known", "its adapter_config.json cannot be read")


def _promote(client: Any, publish: PublishConfig, verdict: str, version: str) -> Promotion:
    """Only a verdict of Promote promotes, and only where the job asks for it."""
    if publish.promotion != "Automatic" or verdict != "Promote":
        return Promotion(done=False)
    return promote(client, publish.registered_model, publish.promoted_alias, version)


def _open_run(client: Any, config: JobConfig) -> str:
    """The job's run. One that somebody deleted meanwhile is restored: the result has no other place."""
    run_id = config.tracking.run_id or own_run(client, config)
    if client.get_run(run_id).info.lifecycle_stage == "deleted":
        log.warning("run %s was deleted in MLflow while the job went on, and is restored", run_id)
        client.restore_run(run_id)
    return run_id


def own_run(client: Any, config: JobConfig) -> str:
    """The run of a job that no operator accompanies: found by the job's uid, or opened."""
    experiment = ensure_experiment(client, config.tracking.experiment)
    if run_id := find_run(client, experiment, config.identity.uid):
        return run_id
    opened = client.create_run(experiment, tags=identity_tags(config.identity), run_name=config.identity.name)
    return str(opened.info.run_id)


def _write_records(workspace: Workspace) -> None:
    spooled = spool_files(workspace.spool)
    write_json(workspace.attempts_report, attempts(spooled))
    write_events((point for file in spooled for point in file.points()), workspace.events)


def _log_values(client: Any, run_id: str, config: JobConfig, findings: Findings) -> None:
    from mlflow.entities import Metric, Param, RunTag

    evaluation = findings.evaluation
    now = int(time.time() * 1000)
    verdict = verdict_metrics(evaluation)
    known = client.get_run(run_id).data.metrics
    tags = {**identity_tags(config.identity), TAG_PREFIX + "attempt": str(config.attempt)}
    tags |= {
        TAG_PREFIX + "verdict": evaluation["verdict"],
        TAG_PREFIX + "text-in-reports": config.tracking.text_in_reports,
        "mlflow.note.content": cut(_description(config, findings), TAG_LIMIT),
    }
    if findings.asked:
        tags[TAG_PREFIX + "questions"] = findings.asked
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": TABLE, "type": "table"}])
    client.log_batch(
        run_id,
        metrics=[Metric(key, float(value), now, 0) for key, value in verdict.items() if known.get(key) != value],
        params=[Param(key, value) for key, value in parameters(config, findings.data).items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def _log_datasets(client: Any, run_id: str, findings: Findings) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client.log_inputs(
        run_id,
        datasets=[
            DatasetInput(
                Dataset(item.name, item.digest, "vernacular", item.source, profile=item.profile),
                [InputTag("mlflow.data.context", item.context)],
            )
            for item in datasets(findings.data)
        ],
    )


def verdict_metrics(evaluation: dict[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation that runs are compared by; what was not measured is left out."""
    prompted, general = evaluation["prompted"] or {}, evaluation["general_regression_percent"]
    measures = {
        f"{model}_{name}": value
        for model, found in evaluation.get("measures", {}).items()
        for name, value in found.items()
    }
    values = {
        **{f"{model}_{name}": value for model in ("base", "tuned") for name, value in evaluation[model].items()},
        **{f"gain_points{suffix}": evaluation["gain_points"][name] for suffix, name in _GAIN.items()},
        **measures,
        **{
            f"{model}_terms_{name}": evaluation["glossary"][model][name]
            for model in ("base", "tuned")
            for name in ("right", "used", "expanded", "forbidden")
            if evaluation.get("glossary", {}).get("terms")
        },
        "prompted_correct": prompted.get("counts", {}).get("correct"),
        "prompted_asked": prompted.get("asked"),
        "prompted_tokens_per_request": prompted.get("tokens_per_request"),
        **_asked_twice(evaluation),
        **{f"judge_{name}": value for name, value in _judged(evaluation).items()},
        "general_regression_percent": general,
    }
    return {f"verdict/{name}": float(value) for name, value in values.items() if value is not None}


def _asked_twice(evaluation: dict[str, Any]) -> dict[str, float]:
    """How many questions are answered alike in all their wordings, and what a request to the base takes."""
    consistency, values = evaluation.get("consistency") or {}, {}
    if consistency.get("questions"):
        values = {"reworded_asked": consistency["questions"]}
        values |= {f"{model}_consistent": consistency[model] for model in ("base", "tuned")}
    if evaluation["prompted"]:
        values["prompted_seconds_per_request"] = evaluation["latency"]["with_rows"]
        values["base_seconds_per_request"] = evaluation["latency"]["without"]
    return values


def _judged(evaluation: dict[str, Any]) -> dict[str, float]:
    """How often the judge preferred what; nothing when none was asked, or none answered."""
    judge = evaluation.get("judge") or {}
    counts = {name: judge[name] for name in ("tuned", "base", "equal", "unsure") if judge}
    if not sum(counts.values()):
        return {}
    return {**counts, **{f"points{suffix}": judge["points"][name] for suffix, name in _GAIN.items()}}


def _upload(client: Any, run_id: str, config: JobConfig, workspace: Workspace, papers: Path) -> None:
    """The result, what holds no texts as it is, and of what does the `papers`."""
    kind = config.method.result
    result = workspace.result / kind
    findings = (shortened(workspace.findings, MOST_FINDINGS_BYTES),) if workspace.findings.exists() else ()
    optional = [workspace.rejected_rows, workspace.row_digests, workspace.environment_report]
    if config.tracking.text_in_reports is not TextInReports.NONE:
        # personal data in it is masked
        optional.append(workspace.questions_to_write)
    reports = (workspace.attempts_report, *findings, *(path for path in optional if path.exists()))
    folders = (result, workspace.events)
    _require_plain((*folders, *(path for folder in folders for path in folder.rglob("*")), *reports, workspace.plan))
    client.log_artifacts(run_id, str(result), kind)
    client.log_artifacts(run_id, str(workspace.events), workspace.events.name)
    for path in reports:
        client.log_artifact(run_id, str(path), "reports")
    client.log_artifact(run_id, str(workspace.plan))
    client.log_artifacts(run_id, str(papers))


def _require_plain(paths: Iterable[Path]) -> None:
    """A link in the workspace could lead to this pod's credentials. Raises StageError (ArgumentRefused)."""
    for path in paths:
        if os.path.realpath(path) != str(path.absolute()):
            message = f"{path.name} in the workspace is a link, or lies behind one: only plain files are published"
            raise StageError(StageFailure.ARGUMENT_REFUSED, message, "leave copies instead of links", path.name)


def _description(config: JobConfig, findings: Findings) -> str:
    identity = config.identity
    return (
        f"{config.model.uri} fine-tuned by the FineTuneJob {identity.namespace}/{identity.name}. "
        f"{findings.evaluation['summary']}"
    )
