"""`job.json`: what one attempt of one stage needs to know, from the resource and the operator's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from vernacular.api import FineTuneJob
from vernacular.api import Stage as ApiStage
from vernacular.api.constants import DEFAULT_PROMOTED_ALIAS, DEFAULT_SPLIT_PERCENT
from vernacular.api.names import child_name, tracking_name
from vernacular.api.spec import TrainingSpec, ValidationSpec, WeightsAndBiasesMode
from vernacular_operator.config import OperatorConfig
from vernacular_operator.manifests import inputs
from vernacular_operator.manifests.repair import repair_of
from vernacular_operator.manifests.runtime import runtime_spec
from vernacular_trainer.contract import (
    MODEL_CACHE_ROOT,
    WORKSPACE_ROOT,
    CheckpointsConfig,
    ComputeConfig,
    DatasetConfig,
    EarlyStoppingConfig,
    EvaluationConfig,
    GateConfig,
    HttpsConfig,
    JobConfig,
    JobIdentity,
    MethodConfig,
    ModelConfig,
    ObjectiveConfig,
    PublishConfig,
    Stage,
    TextInReports,
    TrackingConfig,
    TrainerConfig,
    TrainingConfig,
    WeightsAndBiasesConfig,
)


@dataclass(frozen=True)
class Attempt:
    """One attempt of one stage. `cluster` tells clusters apart ("" when unknown)."""

    job: FineTuneJob
    stage: ApiStage
    number: int
    run_id: str = ""
    cluster: str = ""

    @property
    def name(self) -> str:
        """Name of the attempt's Job and Service."""
        return child_name(self.job.metadata.name, self.job.metadata.uid, self.stage, self.number)

    @property
    def pods(self) -> int:
        """How many pods the attempt has: only training has more than one."""
        return self.job.spec.compute.pods if self.stage == ApiStage.TRAIN else 1


def experiment_name(job: FineTuneJob) -> str:
    """The MLflow experiment, with the namespace before it."""
    mlflow = job.spec.tracking.mlflow if job.spec.tracking else None
    return tracking_name(job.metadata.namespace, (mlflow.experiment if mlflow else None) or job.metadata.name)


def registered_model_name(job: FineTuneJob) -> str:
    """The registered model, with the namespace before it."""
    return tracking_name(job.metadata.namespace, job.spec.publish.registered_model or job.metadata.name)


def job_config(attempt: Attempt, config: OperatorConfig) -> JobConfig:
    """The document of one attempt."""
    job, metadata = attempt.job, attempt.job.metadata
    workspace = f"{WORKSPACE_ROOT}/{metadata.uid}"
    return JobConfig(
        stage=Stage(attempt.stage.value),
        attempt=attempt.number,
        identity=JobIdentity(metadata.namespace, metadata.name, metadata.uid, attempt.cluster),
        workspace=workspace,
        model=_model(attempt, workspace),
        dataset=_dataset(attempt, config),
        tracking=_tracking(attempt, config),
        weights_and_biases=_weights_and_biases(attempt),
        publish=_publish(job),
        objective=ObjectiveConfig(job.spec.objective.value, job.spec.dpo.beta if job.spec.dpo else None),
        method=_method(job),
        training=_training(job.spec.training or TrainingSpec()),
        compute=_compute(attempt),
        checkpoints=CheckpointsConfig(job.spec.checkpoints.every_steps, job.spec.checkpoints.keep),
        evaluation=_evaluation(attempt),
        repair=repair_of(job.status) if attempt.stage == ApiStage.TRAIN else None,
        trainer=TrainerConfig(job.spec.trainer.command) if job.spec.trainer else None,
        https=https_config(config) if attempt.stage == ApiStage.PREPARE else HttpsConfig(),
        grace_period_seconds=grace_period(job, config),
    )


def grace_period(job: FineTuneJob, config: OperatorConfig) -> int:
    """Seconds that a training has to save when it is asked to stop."""
    return job.spec.checkpoints.grace_period_seconds or config.grace_period_seconds


def https_config(config: OperatorConfig) -> HttpsConfig:
    """Where https:// files may lead."""
    return HttpsConfig(config.https.hosts, config.https.max_file_gib)


def _model(attempt: Attempt, workspace: str) -> ModelConfig:
    model = attempt.job.spec.model
    secret = inputs.model_secret(attempt.job, attempt.stage)
    return ModelConfig(
        uri=model.uri,
        path=inputs.claim_path(model.uri) or f"{workspace}/model",
        revision=model.revision or "main",
        endpoint=model.endpoint or "",
        cache=_cache(attempt),
        credentials_name=secret,
        credentials_path=inputs.MODEL_SECRET_PATH if secret else "",
    )


def _dataset(attempt: Attempt, config: OperatorConfig) -> DatasetConfig:
    dataset, cache = attempt.job.spec.dataset, _cache(attempt)
    return DatasetConfig(
        train=inputs.file_sources(attempt.job, attempt.stage),
        teaches=dataset.teaches.value,
        validation=inputs.validation_sources(attempt.job, attempt.stage),
        chat_template=inputs.chat_template_source(attempt.job, attempt.stage),
        validation_split_percent=_split_percent(dataset.validation),
        format=dataset.format.value,
        columns=dict(dataset.columns or {}),
        system_prompt=dataset.system_prompt or "",
        duplicates=dataset.duplicates.value,
        personal_data=dataset.personal_data.value,
        max_bad_rows_percent=dataset.max_bad_rows_percent,
        cache=cache,
        cache_gib=config.storage.cached_files_gib if cache else 0,
    )


def _split_percent(validation: ValidationSpec) -> int:
    """The percentage of training rows to keep back; none where rows of their own are."""
    if validation.sources:
        return 0
    return DEFAULT_SPLIT_PERCENT if validation.split_percent is None else validation.split_percent


def _cache(attempt: Attempt) -> str:
    """Where prepare keeps for all jobs what it fetches; no other stage does."""
    return MODEL_CACHE_ROOT if attempt.stage == ApiStage.PREPARE and inputs.model_cache(attempt.job) else ""


def _tracking(attempt: Attempt, config: OperatorConfig) -> TrackingConfig:
    secret = inputs.tracking_secret(attempt.job, attempt.stage)
    return TrackingConfig(
        uri=config.mlflow.tracking_uri,
        experiment=experiment_name(attempt.job),
        run_id=attempt.run_id,
        credentials_name=secret,
        credentials_path=inputs.TRACKING_SECRET_PATH if secret else "",
        text_in_reports=TextInReports(attempt.job.spec.tracking.text_in_reports.value),
    )


def _weights_and_biases(attempt: Attempt) -> WeightsAndBiasesConfig | None:
    tracking = attempt.job.spec.tracking
    if not tracking or not (wanted := tracking.weights_and_biases):
        return None
    secret = inputs.weights_and_biases_secret(attempt.job, attempt.stage)
    return WeightsAndBiasesConfig(
        project=wanted.project,
        entity=wanted.entity or "",
        online=wanted.mode == WeightsAndBiasesMode.ONLINE,
        credentials_path=inputs.WEIGHTS_AND_BIASES_SECRET_PATH if secret else "",
    )


def _publish(job: FineTuneJob) -> PublishConfig:
    publish = job.spec.publish
    return PublishConfig(
        registered_model=registered_model_name(job),
        alias=publish.alias,
        promotion=publish.promotion.value,
        promoted_alias=publish.promoted_alias or DEFAULT_PROMOTED_ALIAS,
    )


def _evaluation(attempt: Attempt) -> EvaluationConfig:
    job, stage = attempt.job, attempt.stage
    return EvaluationConfig(
        questions=inputs.questions_source(job, stage),
        glossary=inputs.glossary_source(job, stage),
        gate=_gate(job),
        judge=inputs.judge_service(job, stage),
        embeddings=inputs.embeddings_service(job, stage),
    )


def _gate(job: FineTuneJob) -> GateConfig:
    gate = job.spec.evaluation.gate
    if gate is None:
        return GateConfig()
    return GateConfig(
        min_correct_percent=gate.min_correct_percent,
        max_wrong_percent=gate.max_wrong_percent,
        max_invented_percent=gate.max_invented_percent,
        min_gain_points=gate.min_gain_points,
        max_general_regression_percent=gate.max_general_regression_percent,
    )


def _method(job: FineTuneJob) -> MethodConfig:
    method, lora = job.spec.method, job.spec.method.lora
    if lora is None:
        return MethodConfig(type=method.type.value)
    return MethodConfig(
        type=method.type.value,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout_percent=lora.dropout_percent,
        target_modules=lora.target_modules,
        variant=lora.variant,
    )


def _training(training: TrainingSpec) -> TrainingConfig:
    early = training.early_stopping
    return TrainingConfig(
        epochs=training.epochs,
        max_steps=training.max_steps,
        learning_rate=training.learning_rate,
        effective_batch_size=training.effective_batch_size,
        micro_batch_size=training.micro_batch_size,
        max_sequence_length=training.max_sequence_length,
        precision=training.precision,
        scheduler=training.scheduler,
        warmup_percent=training.warmup_percent,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        loss=training.loss,
        gradient_checkpointing=training.gradient_checkpointing,
        packing=training.packing,
        evaluate_every_steps=training.evaluate_every_steps,
        optimizer=training.optimizer,
        extra_arguments=dict(training.extra_arguments),
        keep=training.keep,
        early_stopping=EarlyStoppingConfig(early.patience, early.min_delta) if early else None,
    )


def _compute(attempt: Attempt) -> ComputeConfig:
    compute = attempt.job.spec.compute
    return ComputeConfig(
        pods=compute.pods,
        processes_per_pod=compute.processes_per_pod,
        gpus_per_pod=compute.gpus_per_pod,
        gpu_memory_gib=runtime_spec(attempt.job.status.runtime).gpu_memory_gib or 0,
        strategy=compute.strategy,
        offload=compute.offload or "None",
        rendezvous_host=f"{attempt.name}-0.{attempt.name}" if attempt.pods > 1 else "",
    )
