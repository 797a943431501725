"""`job.json` of a stage on this machine: the one that the operator writes, with the paths of this machine. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from vernacular.api import FineTuneJob
from vernacular_local.request import HERE, LocalError, LocalFile, LocalRequest
from vernacular_operator.config import Images, Mlflow, OperatorConfig
from vernacular_operator.manifests.job_config import Attempt, job_config
from vernacular_trainer.contract import (
    ComputeConfig,
    EvaluationConfig,
    FileSource,
    JobConfig,
    ModelConfig,
    ServiceConfig,
    WeightsAndBiasesConfig,
)

# nothing of it reaches a document: images are of a cluster, and the address of MLflow is replaced
_OPERATOR = OperatorConfig(images=Images(data="none", trainer="none"), mlflow=Mlflow(tracking_uri="http://localhost"))
_NAMESPACE = "local"


@dataclass(frozen=True)
class Place:
    """Where a job's files are on this machine: its workspace, and the folder of secrets while it runs ("": none)."""

    workspace: str
    secrets: str = ""


def typed_job(request: LocalRequest, uid: str) -> FineTuneJob:
    """The job with the identity that it has here."""
    metadata = request.job["metadata"]
    own = {"name": metadata["name"], "namespace": metadata.get("namespace") or _NAMESPACE, "uid": uid}
    return FineTuneJob.model_validate({**request.job, "metadata": own, "status": {}})


def stage_config(request: LocalRequest, attempt: Attempt, place: Place, *, folded: bool = True) -> JobConfig:
    """The document of one attempt. `folded`: all ranks run on this machine, in one pod so to speak.

    Raises LocalError for what only a cluster has.
    """
    made = job_config(attempt, _OPERATOR)
    if made.trainer:
        raise LocalError("the job has a trainer of its own, in an image", "submit it to a cluster")
    evaluation = _evaluation(made.evaluation, request.files, place)
    train = tuple(_here(source, request.files, place) for source in made.dataset.train)
    validation = tuple(_here(source, request.files, place) for source in made.dataset.validation)
    template = made.dataset.chat_template and _here(made.dataset.chat_template, request.files, place)
    files = (*train, *validation, template, evaluation.questions, evaluation.glossary)
    return replace(
        made,
        workspace=place.workspace,
        model=_model(made.model, request.model, place),
        dataset=replace(made.dataset, train=train, validation=validation, chat_template=template, cache=""),
        evaluation=evaluation,
        tracking=replace(made.tracking, uri=request.tracking, credentials_name="", credentials_path=""),
        weights_and_biases=_weights_and_biases(made.weights_and_biases, place),
        compute=_folded(made.compute, request.gpus) if folded else made.compute,
        https=replace(made.https, hosts=_servers((source for source in files if source), made.model.endpoint)),
    )


def _evaluation(made: EvaluationConfig, files: Mapping[str, LocalFile], place: Place) -> EvaluationConfig:
    judge = made.judge
    return replace(
        made,
        questions=made.questions and _here(made.questions, files, place),
        glossary=made.glossary and _here(made.glossary, files, place),
        judge=judge and replace(judge, service=_service(judge.service, place)),
        embeddings=made.embeddings and _service(made.embeddings, place),
    )


def _service(service: ServiceConfig, place: Place) -> ServiceConfig:
    return replace(service, credentials_path=place.secrets if service.credentials_name else "")


def _weights_and_biases(made: WeightsAndBiasesConfig | None, place: Place) -> WeightsAndBiasesConfig | None:
    return made and replace(made, credentials_path=place.secrets if made.credentials_path else "")


def _servers(sources: Iterable[FileSource], *endpoints: str) -> tuple[str, ...]:
    """The servers of the job's own https:// files and buckets: which of them a person's machine asks, the person
    decides.
    """
    found = [urlsplit(url) for source in sources for url in (source.uri, source.endpoint)]
    found += map(urlsplit, endpoints)
    ports = {"http": ":80", "https": ""}
    return tuple(
        dict.fromkeys(url.netloc + ("" if url.port else ports[url.scheme]) for url in found if url.scheme in ports)
    )


def _here(source: FileSource, files: Mapping[str, LocalFile], place: Place) -> FileSource:
    prefix = f"ConfigMap {HERE}, key "
    if source.name.startswith(prefix):
        file = files[source.name.removeprefix(prefix)]
        return replace(source, name=file.name, path=file.path)
    if not source.uri:
        advice = "write {file: PATH} there, or name the rows to train on with --data"
        raise LocalError(f"{source.name} is in a cluster, and not on this machine", advice)
    return replace(source, credentials_path=place.secrets if source.credentials_name else "")


def _model(model: ModelConfig, folder: str, place: Place) -> ModelConfig:
    if folder:
        return ModelConfig(f"file://{folder}", folder)
    if model.uri.startswith("pvc://"):
        raise LocalError(f"{model.uri} is on a claim of a cluster", "name the folder of the model with --model")
    path = f"{place.workspace}/model"
    return replace(model, path=path, cache="", credentials_path=place.secrets if model.credentials_name else "")


def _folded(compute: ComputeConfig, gpus: int | None) -> ComputeConfig:
    """The ranks of all pods as those of one; the rows of an optimizer step stay the same."""
    if gpus is not None:
        ranks = gpus or compute.world_size
        return replace(compute, pods=1, processes_per_pod=ranks, gpus_per_pod=gpus, rendezvous_host="")
    return dataclasses.replace(
        compute,
        pods=1,
        processes_per_pod=compute.world_size,
        gpus_per_pod=compute.gpus_per_pod * compute.pods,
        rendezvous_host="",
    )
