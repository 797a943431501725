"""Checks before anything expensive starts that this job may write to its experiment and its registered model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from vernacular_trainer.contract import TRACKING_CREDENTIAL_KEYS, JobConfig, StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.tracking.client import (
    TAG_PREFIX,
    away,
    connect,
    identity_tags,
    read_credentials,
    refused,
    rejected,
)

REACHED = "Reached"
AWAY = "Away"
_NAMESPACE_TAG = TAG_PREFIX + "namespace"


def check_rights(config: JobConfig) -> str:
    """Make the experiment and the registered model if they are missing and tag both; done twice it changes nothing.

    Returns REACHED, or AWAY when the server does not answer now: the operator waits for it before training.
    Raises StageError (SecretMissing, TrackingAccessDenied, ArgumentRefused for names that MLflow does not take).
    """
    tracking = config.tracking
    if tracking.credentials_name and not read_credentials(tracking):
        message = f"the Secret {tracking.credentials_name} of tracking.mlflow has none of the keys of MLflow"
        advice = "give it MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        raise StageError(StageFailure.SECRET_MISSING, message, advice)
    _check_alias(config.publish.alias)
    _check_alias(config.publish.promoted_alias)
    client = connect(tracking)
    tags = {key: value for key, value in identity_tags(config.identity).items() if key.endswith("/namespace")}
    try:
        _write(
            "the experiment", tracking.experiment, config, lambda: _tag_experiment(client, tracking.experiment, tags)
        )
        name = config.publish.registered_model
        namespace = config.identity.namespace
        _write("the registered model", name, config, lambda: ensure_registered_model(client, name, namespace))
    except StageError:
        raise
    except Exception as error:
        if away(error):
            return AWAY
        raise
    return REACHED


def ensure_registered_model(client: Any, name: str, namespace: str) -> None:
    """Make the registered model unless it exists, and tag it with the namespace of its jobs.

    Raises StageError (ArgumentRefused) when it is another namespace's: nobody else may move its aliases. Raises what
    MLflow raises.
    """
    _create_unless_present(lambda: client.create_registered_model(name))
    owner = client.get_registered_model(name).tags.get(_NAMESPACE_TAG)
    if owner is None:
        client.set_registered_model_tag(name, _NAMESPACE_TAG, namespace)
    elif owner != namespace:
        message = f"the registered model {name} in MLflow belongs to namespace {owner}"
        advice = f"choose another name in publish.registeredModel; else have its tag {_NAMESPACE_TAG} changed in MLflow"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, advice, name)


def ensure_experiment(client: Any, name: str) -> str:
    """Id of the experiment, made if it is missing. Raises what MLflow raises."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        _create_unless_present(lambda: client.create_experiment(name))
        experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id)


def _tag_experiment(client: Any, name: str, tags: dict[str, str]) -> None:
    identifier = ensure_experiment(client, name)
    for key, value in tags.items():
        client.set_experiment_tag(identifier, key, value)


def _check_alias(alias: str) -> None:
    """MLflow would refuse such an alias only when the training is done."""
    if not re.fullmatch(r"[\w-]{1,255}", alias) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        message = f"publish.alias {alias} cannot be an alias in MLflow"
        advice = "use letters, digits, _ and -, and not latest or v1, which MLflow keeps for itself"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, advice)


def _create_unless_present(create: Callable[[], Any]) -> None:
    try:
        create()
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
            raise


def _write(what: str, name: str, config: JobConfig, write: Callable[[], None]) -> None:
    try:
        write()
    except StageError:
        raise
    except Exception as error:
        if rejected(error):
            message = f"MLflow does not take the name of {what}, {name}, or it was deleted there"
            advice = "choose another name, without / and :"
            raise StageError(StageFailure.ARGUMENT_REFUSED, message, advice, config.tracking.uri) from None
        if not refused(error):
            raise
        secret = config.tracking.credentials_name
        given = any(os.environ.get(key) for key in TRACKING_CREDENTIAL_KEYS)
        who = (
            f"the credentials of the Secret {secret}" if secret else "these credentials" if given else "no credentials"
        )
        message = f"MLflow does not let this job write to {what} {name} with {who}"
        advice = "name a Secret whose user may edit it in tracking.mlflow.credentialsSecretName, or choose another name"
        raise StageError(StageFailure.TRACKING_ACCESS_DENIED, message, advice, config.tracking.uri) from None
