"""Where a stage's pod sees what the user named: ConfigMaps, claims and Secrets, as volumes and as paths in `job.json`.

ConfigMaps and Secrets are optional, because a missing one would leave the pod waiting for ever: prepare says what is
missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vernacular.api import FineTuneJob, Stage
from vernacular.api.sources import ClaimPath, FileRef
from vernacular.api.spec import ServiceSpec
from vernacular_operator.manifests.claim import claim_name
from vernacular_operator.manifests.runtime import runtime_spec
from vernacular_trainer.contract import (
    CLAIMS_ROOT,
    INPUTS_ROOT,
    MODEL_CACHE_ROOT,
    SECRETS_ROOT,
    SERVICE_CREDENTIAL_KEYS,
    TRACKING_CREDENTIAL_KEYS,
    WEIGHTS_AND_BIASES_KEYS,
    WORKSPACE_ROOT,
    FileSource,
    JudgeConfig,
    ServiceConfig,
)

MODEL_SECRET_PATH = f"{SECRETS_ROOT}/model"
TRACKING_SECRET_PATH = f"{SECRETS_ROOT}/mlflow"
WEIGHTS_AND_BIASES_SECRET_PATH = f"{SECRETS_ROOT}/wandb"
JUDGE_SECRET_PATH = f"{SECRETS_ROOT}/judge"
EMBEDDINGS_SECRET_PATH = f"{SECRETS_ROOT}/embeddings"
_KEYS_BY_SCHEME: dict[str, tuple[str, ...]] = {
    "hf": ("HF_TOKEN",),
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "ca.crt"),
    # names of their own: with those of other kinds of Secrets a job could have any of them sent to a server
    "https": ("HTTPS_TOKEN", "HTTPS_USERNAME", "HTTPS_PASSWORD", "ca.crt"),
}
_WITHOUT_BASE_MODEL = frozenset({Stage.PUBLISH})
_FETCHING = frozenset({Stage.PREPARE})
_WITH_TRACKING = frozenset({Stage.PREPARE, Stage.TRAIN, Stage.PUBLISH})


@dataclass(frozen=True)
class Mounts:
    """Volumes of a pod and the mounts of its container."""

    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]


def file_sources(job: FineTuneJob, stage: Stage) -> tuple[FileSource, ...]:
    """The training files, in the user's order."""
    return tuple(
        replace(_source(reference, f"train-{i}", stage), share_percent=reference.share_percent)
        for i, reference in enumerate(job.spec.dataset.train)
    )


def validation_sources(job: FineTuneJob, stage: Stage) -> tuple[FileSource, ...]:
    """The files of rows that are kept back, in the user's order."""
    sources = job.spec.dataset.validation.sources or ()
    return tuple(_source(reference, f"validation-{i}", stage) for i, reference in enumerate(sources))


def questions_source(job: FineTuneJob, stage: Stage) -> FileSource | None:
    """The file of held-out questions; None when the job names none."""
    reference = job.spec.evaluation.questions
    return _source(reference, "questions", stage) if reference else None


def glossary_source(job: FineTuneJob, stage: Stage) -> FileSource | None:
    """The file of the company's terms; None when the job names none."""
    reference = job.spec.evaluation.glossary
    return _source(reference, "glossary", stage) if reference else None


def chat_template_source(job: FineTuneJob, stage: Stage) -> FileSource | None:
    """The job's own chat template; None when the model's holds."""
    reference = job.spec.dataset.chat_template
    return _source(reference, "chat-template", stage) if reference else None


def judge_service(job: FineTuneJob, stage: Stage) -> JudgeConfig | None:
    """The model that compares the answers; None when the job names none, or the stage asks none."""
    judge = job.spec.evaluation.judge if stage == Stage.EVALUATE else None
    return JudgeConfig(_service(judge, JUDGE_SECRET_PATH), judge.max_requests) if judge else None


def embeddings_service(job: FineTuneJob, stage: Stage) -> ServiceConfig | None:
    """The model that embeds the answers; None when the job names none, or the stage asks none."""
    embeddings = job.spec.evaluation.embeddings if stage == Stage.EVALUATE else None
    return _service(embeddings, EMBEDDINGS_SECRET_PATH) if embeddings else None


def claim_path(uri: str) -> str:
    """Where a pod sees a `pvc://` path; "" for other URIs."""
    found = ClaimPath.parse(uri)
    return f"{CLAIMS_ROOT}/{found.claim}/{found.path}" if found else ""


def claims_of(job: FineTuneJob, stage: Stage) -> tuple[str, ...]:
    """Claims that the stage reads besides the workspace. Prepare sees all, so that it finds what is missing."""
    uris = [] if stage in _WITHOUT_BASE_MODEL else [job.spec.model.uri]
    if stage == Stage.PREPARE:
        uris += [reference.uri for _, reference in _references(job) if reference.uri]
    found = (ClaimPath.parse(uri) for uri in uris)
    return tuple(dict.fromkeys(item.claim for item in found if item))


def dataset_claims(job: FineTuneJob) -> frozenset[str]:
    """Claims of all files that the job names."""
    found = (ClaimPath.parse(reference.uri) for _, reference in _references(job) if reference.uri)
    return frozenset(item.claim for item in found if item)


def stage_mounts(job: FineTuneJob, stage: Stage) -> Mounts:
    """All volumes that bring the user's things into the stage's pod, the workspace included."""
    pairs = [*_claim_mounts(job, stage), *_secret_mounts(job, stage)]
    if stage == Stage.PREPARE:
        pairs += _config_map_mounts(job)
    volumes = {volume["name"]: volume for volume, _ in pairs}
    return Mounts(tuple(volumes.values()), tuple(mount for _, mount in pairs))


def fetches_model(job: FineTuneJob) -> bool:
    """Whether the base model comes from a server."""
    return ClaimPath.parse(job.spec.model.uri) is None


def model_cache(job: FineTuneJob, stage: Stage = Stage.PREPARE) -> str:
    """The claim that keeps for all jobs what is fetched, "" when there is none or the stage has no use for it."""
    fetches_files = any(reference.uri and not ClaimPath.parse(reference.uri) for _, reference in _references(job))
    if stage in _WITHOUT_BASE_MODEL or not (fetches_model(job) or (fetches_files and stage == Stage.PREPARE)):
        return ""
    runtime = runtime_spec(job.status.runtime).storage
    wanted = (job.spec.storage.model_cache if job.spec.storage else None) or (runtime.model_cache if runtime else None)
    return wanted.claim_name if wanted else ""


def _claim_mounts(job: FineTuneJob, stage: Stage) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    workspace, cache = claim_name(job), model_cache(job, stage)
    fills = stage == Stage.PREPARE
    # two volumes of one claim in one pod can hang the kubelet's mounting
    volumes = {workspace: _volume("workspace", persistentVolumeClaim={"claimName": workspace})}
    yield volumes[workspace], _mount("workspace", WORKSPACE_ROOT)
    for i, claim in enumerate(claims_of(job, stage)):
        source = {"claimName": claim, **({} if fills and claim == cache else {"readOnly": True})}
        volume = volumes.setdefault(claim, _volume(f"claim-{i}", persistentVolumeClaim=source))
        yield volume, _mount(volume["name"], f"{CLAIMS_ROOT}/{claim}", read_only=True)
    if cache:
        source = {"claimName": cache, **({} if fills else {"readOnly": True})}
        volume = volumes.setdefault(cache, _volume("model-cache", persistentVolumeClaim=source))
        yield volume, _mount(volume["name"], MODEL_CACHE_ROOT, read_only=not fills)


def _secret_mounts(job: FineTuneJob, stage: Stage) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    secrets = [
        ("tracking-credentials", tracking_secret(job, stage), TRACKING_SECRET_PATH, TRACKING_CREDENTIAL_KEYS),
        (
            "wandb-credentials",
            weights_and_biases_secret(job, stage),
            WEIGHTS_AND_BIASES_SECRET_PATH,
            WEIGHTS_AND_BIASES_KEYS,
        ),
        ("model-credentials", model_secret(job, stage), MODEL_SECRET_PATH, _keys(job.spec.model.uri)),
        *(
            (f"{name}-credentials", service.credentials_name, service.credentials_path, SERVICE_CREDENTIAL_KEYS)
            for name, service in _services(job, stage)
        ),
        *(
            (f"{name}-credentials", _secret_of(reference, stage), f"{SECRETS_ROOT}/{name}", _keys(reference.uri or ""))
            for name, reference in _references(job)
        ),
    ]
    for name, secret, path, keys in secrets:
        if secret:
            # only keys that the stage reads: a job that names a Secret of something else must not get at it
            items = [{"key": key, "path": key} for key in keys]
            source = {"secretName": secret, "items": items, "optional": True, "defaultMode": 0o440}
            yield _volume(name, secret=source), _mount(name, path, read_only=True)


def _services(job: FineTuneJob, stage: Stage) -> Iterator[tuple[str, ServiceConfig]]:
    """The models behind servers that the stage asks, each with the name of its volume."""
    if judge := judge_service(job, stage):
        yield "judge", judge.service
    if embeddings := embeddings_service(job, stage):
        yield "embeddings", embeddings


def _service(service: ServiceSpec, folder: str) -> ServiceConfig:
    secret = service.credentials.secret_name if service.credentials else ""
    return ServiceConfig(service.endpoint, service.model, secret, folder if secret else "")


def _keys(uri: str) -> tuple[str, ...]:
    """What a Secret for this uri may hold."""
    return _KEYS_BY_SCHEME.get(uri.partition("://")[0], ())


def _config_map_mounts(job: FineTuneJob) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for name, reference in _references(job):
        if source := reference.config_map:
            items = [{"key": source.key, "path": source.key}]
            volume = _volume(name, configMap={"name": source.name, "items": items, "optional": True})
            yield volume, _mount(name, f"{INPUTS_ROOT}/{name}", read_only=True)


def model_secret(job: FineTuneJob, stage: Stage) -> str:
    """Name of the Secret with the model's credentials, "" when there is none, or the stage fetches no model."""
    credentials = job.spec.model.credentials
    return credentials.secret_name if credentials and stage in _FETCHING else ""


def _secret_of(reference: FileRef, stage: Stage) -> str:
    return reference.credentials.secret_name if reference.credentials and stage in _FETCHING else ""


def tracking_secret(job: FineTuneJob, stage: Stage) -> str:
    """Name of the Secret with the credentials for MLflow, "" when there is none, or the stage writes nothing there.

    A trainer of the user's own is code that could read it out, and gets none.
    """
    if stage == Stage.TRAIN and job.spec.trainer:
        return ""
    mlflow = job.spec.tracking.mlflow if job.spec.tracking else None
    return (mlflow.credentials_secret_name if mlflow and stage in _WITH_TRACKING else None) or ""


def weights_and_biases_secret(job: FineTuneJob, stage: Stage) -> str:
    """Name of the Secret with the key for Weights & Biases, "" when there is none, or the stage sends nothing there."""
    wanted = job.spec.tracking.weights_and_biases if job.spec.tracking else None
    return (wanted.secret_name if wanted and stage == Stage.PUBLISH else None) or ""


def _references(job: FineTuneJob) -> Iterator[tuple[str, FileRef]]:
    """All files that the job names, each with the name of its volume."""
    evaluation = job.spec.evaluation
    yield from ((f"train-{i}", reference) for i, reference in enumerate(job.spec.dataset.train))
    kept_back = job.spec.dataset.validation.sources or ()
    yield from ((f"validation-{i}", reference) for i, reference in enumerate(kept_back))
    single = {
        "questions": evaluation.questions,
        "glossary": evaluation.glossary,
        "chat-template": job.spec.dataset.chat_template,
    }
    yield from ((name, reference) for name, reference in single.items() if reference)


def _source(reference: FileRef, folder: str, stage: Stage) -> FileSource:
    if reference.config_map:
        name, key = reference.config_map.name, reference.config_map.key
        return FileSource(name=f"ConfigMap {name}, key {key}", path=f"{INPUTS_ROOT}/{folder}/{key}")
    uri = reference.uri or ""
    if path := claim_path(uri):
        return FileSource(name=uri, path=path)
    secret = _secret_of(reference, stage)
    return FileSource(
        name=uri,
        uri=uri,
        revision=reference.revision or "main",
        endpoint=reference.endpoint or "",
        credentials_name=secret,
        credentials_path=f"{SECRETS_ROOT}/{folder}" if secret else "",
    )


def _volume(name: str, **source: Any) -> dict[str, Any]:
    return {"name": name, **source}


def _mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}
