"""The FineTuneJob that a call asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from vernacular.api.constants import API_VERSION, GROUP, KIND
from vernacular_openai.config import ServiceConfig, merged
from vernacular_openai.errors import ApiError, refused
from vernacular_openai.schemas import CreateJob, Dpo, DpoHyperparameters, Hyperparameters, Method, Supervised
from vernacular_openai.store import StoredFile

Json = dict[str, Any]
LABEL = f"{GROUP}/openai-api"
ANNOTATION = f"{GROUP}/openai-request"
JOB_PREFIX = "ftjob-"
JOB_ID = re.compile(r"ftjob-[a-z0-9]{24}")

# the learning rates that a job's plan chooses, by objective and whether every weight is trained
LEARNING_RATES = {("SFT", False): 2e-4, ("SFT", True): 2e-5, ("DPO", False): 2e-5, ("DPO", True): 1e-6}
_MODEL_URI = re.compile(r"(hf|s3|pvc)://.+")
_HUB_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]+")


class Asked(BaseModel):
    """What was asked for, kept in an annotation of the job: what the spec does not say."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int
    metadata: dict[str, str] | None = None
    method: Method


@dataclass(frozen=True)
class Files:
    """Files of a job, and the Secret with the token that lets prepare read them."""

    training: StoredFile
    validation: StoredFile | None
    secret: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(file.id for file in (self.training, self.validation) if file)


def asked(wanted: CreateJob, seed: int) -> Asked:
    """What is kept of a call; `seed` counts when it names none."""
    given = wanted.model_dump(include={"model", "training_file", "validation_file", "suffix", "metadata"})
    return Asked(**given, seed=seed if wanted.seed is None else wanted.seed, method=_method(wanted))


def asked_of(job: Mapping[str, Any]) -> Asked | None:
    """What a job was made from; None when it was not made here."""
    metadata = job["metadata"]
    text = (metadata.get("annotations") or {}).get(ANNOTATION)
    if not text or LABEL not in (metadata.get("labels") or {}):
        return None
    try:
        return Asked.model_validate_json(text)
    except ValidationError:
        return None


def fine_tune_job(name: str, request: Asked, files: Files, config: ServiceConfig) -> Json:
    """The job to create. Raises ApiError."""
    spec = merged(config.job_defaults, _model(request.model, config))
    dataset = {**spec.get("dataset", {}), "train": [_source(files.training, files.secret, config)]}
    if files.validation:
        dataset["validation"] = {"sources": [_source(files.validation, files.secret, config)]}
    objective = "DPO" if request.method.type == "dpo" else "SFT"
    spec = {**spec, "dataset": dataset, "objective": objective, "training": _training(request, spec, objective)}
    if objective == "SFT":
        spec.pop("dpo", None)
    if isinstance(found := hyperparameters(request.method), DpoHyperparameters) and found.beta != "auto":
        spec["dpo"] = {"beta": _decimal(found.beta)}
    if request.suffix:
        spec = merged(spec, {"publish": {"registeredModel": request.suffix}})
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "labels": {LABEL: "true"},
            "annotations": {ANNOTATION: request.model_dump_json(exclude_none=True)},
        },
        "spec": spec,
    }


def secret(name: str, token: str, authority: str) -> Json:
    """The Secret that lets prepare pods of a job read its files. `authority` is a certificate, "" for none."""
    values = {"HTTPS_TOKEN": token, **({"ca.crt": authority} if authority else {})}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {LABEL: "true"}},
        "type": "Opaque",
        "stringData": values,
    }


def owner_patch(job: Mapping[str, Any]) -> Json:
    """What lets a Secret go with its job."""
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    return {"metadata": {"ownerReferences": [owner]}}


def hyperparameters(method: Method) -> Hyperparameters:
    """Those of the method."""
    if method.type == "dpo":
        return (method.dpo or Dpo()).hyperparameters
    return (method.supervised or Supervised()).hyperparameters


def _method(wanted: CreateJob) -> Method:
    if wanted.method:
        return wanted.method
    return Method(type="supervised", supervised=Supervised(hyperparameters=wanted.hyperparameters or Hyperparameters()))


def _model(name: str, config: ServiceConfig) -> Json:
    """Parts of the spec that the name of a model stands for. Raises ApiError."""
    if name in config.models:
        return dict(config.models[name])
    if name.startswith("ft:"):
        raise refused(
            f"{name} is the result of a job: it cannot be tuned further yet. Tune its base model with all rows.",
            "model",
            "model_not_found",
        )
    if _MODEL_URI.fullmatch(name):
        return {"model": {"uri": name}}
    if _HUB_MODEL.fullmatch(name):
        return {"model": {"uri": f"hf://{name}"}}
    raise _unknown_model(name, config)


def _unknown_model(name: str, config: ServiceConfig) -> ApiError:
    known = ", ".join(config.models) or "the platform team has named none"
    return refused(
        f"The model {name} is not known here. Write ORGANISATION/MODEL or hf://ORGANISATION/MODEL of a hub,"
        f" s3://BUCKET/PATH/, pvc://CLAIM/PATH, or one of the names that the platform team has given: {known}.",
        "model",
        "model_not_found",
    )


def _source(file: StoredFile, secret_name: str, config: ServiceConfig) -> Json:
    return {
        "uri": f"https://{config.download_host}/download/{file.id}/{safe_name(file.filename)}",
        "credentials": {"secretName": secret_name},
    }


def safe_name(filename: str) -> str:
    """A name for addresses and for places in messages: its letters, digits, '-' and '_', and its last suffix."""
    stem, dot, suffix = filename.rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    words = [_OTHER_CHARACTERS.sub("-", part).strip("-") for part in (stem, suffix)]
    return ".".join((words[0][:80] or "rows", *(word[:16] for word in words[1:] if word)))


def _training(request: Asked, spec: Mapping[str, Any], objective: str) -> Json:
    training: Json = {**spec.get("training", {}), "seed": request.seed}
    found = hyperparameters(request.method)
    if found.n_epochs != "auto":
        training.pop("maxSteps", None)
        training["epochs"] = found.n_epochs
    if found.batch_size != "auto":
        training["effectiveBatchSize"] = found.batch_size
    if found.learning_rate_multiplier != "auto":
        whole = spec.get("method", {}).get("type") == "Full"
        usual = float(training.get("learningRate") or LEARNING_RATES[objective, whole])
        training["learningRate"] = _decimal(usual * found.learning_rate_multiplier)
    return training


def _decimal(value: float) -> str:
    return f"{value:.6g}"


def metadata_matches(request: Asked, wanted: Mapping[str, str] | None) -> bool:
    """Whether a job has this metadata; None: has none."""
    if wanted is None:
        return request.metadata is None
    return wanted.items() <= (request.metadata or {}).items()
