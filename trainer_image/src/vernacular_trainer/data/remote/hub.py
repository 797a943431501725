"""Repositories of a model hub, and what its refusals mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vernacular_trainer.contract import ModelConfig, StageFailure
from vernacular_trainer.errors import StageError

HUB_SCHEME = "hf://"


def endpoint() -> str | None:
    """The mirror that the environment names, None for the public hub."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return os.environ.get("HF_ENDPOINT") or None


@contextlib.contextmanager
def explained(model: ModelConfig) -> Iterator[None]:
    """What the hub refuses is a StageError (ModelNotFound, ModelAccessDenied)."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise _denied(model, error) from None
    except RepositoryNotFoundError as error:
        if _status(error) in (401, 403):
            raise _denied(model, error) from None
        advice = "check the spelling: hf://<organisation>/<model>; for a private model name a Secret with HF_TOKEN"
        raise StageError(StageFailure.MODEL_NOT_FOUND, f"{model.uri} does not exist", advice) from None
    except RevisionNotFoundError:
        message = f"{model.uri} has no revision {model.revision}"
        advice = "write a branch, tag or commit of the model in model.revision"
        raise StageError(StageFailure.MODEL_NOT_FOUND, message, advice) from None
    except Exception as error:
        if _status(error) in (401, 403):
            raise _denied(model, error) from None
        raise


def hub_token(model: ModelConfig) -> str | None:
    """The token of the Secret, None without one. Raises StageError (SecretMissing)."""
    if not model.credentials_name:
        return None
    file = Path(model.credentials_path) / "HF_TOKEN"
    if not file.is_file() or not (token := file.read_text().strip()):
        message = f"the Secret {model.credentials_name} of model.credentials has no key HF_TOKEN"
        advice = f"kubectl create secret generic {model.credentials_name} --from-literal=HF_TOKEN=<token>"
        raise StageError(StageFailure.SECRET_MISSING, message, advice)
    return token


def _denied(model: ModelConfig, error: Exception) -> StageError:
    who = f"with the token of the Secret {model.credentials_name}" if model.credentials_name else "without a token"
    advice = "accept the model's terms on its page, and name a Secret with the key HF_TOKEN in model.credentials"
    evidence = f"HTTP {_status(error)}"
    message = f"{model.uri} may not be read {who}"
    return StageError(StageFailure.MODEL_ACCESS_DENIED, message, advice, evidence)


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)
