"""What a caller wrote, checked, with errors that name the field and say why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vernacular_openai.errors import ApiError, refused
from vernacular_openai.schemas import CreateJob

_METHODS = "supervised and dpo"
# how pydantic calls the types of a union
_TRIED = ("literal[", "constrained-")


def create_job(body: bytes) -> CreateJob:
    """The job that a body asks for. Raises ApiError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise refused("The body is no JSON.") from None
    if not isinstance(document, dict):
        raise refused("The body must be a JSON object.")
    _refuse_what_is_not_there(document)
    try:
        wanted = CreateJob.model_validate(document)
    except ValidationError as error:
        raise _named(error) from None
    _check_method(wanted)
    return wanted


def whole_number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A number from 1 to `most` of a query. Raises ApiError."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise refused(f"{name} must be a whole number from 1 to {most}.", name)
    return int(text)


def metadata_filter(query: Mapping[str, str]) -> dict[str, str] | None:
    """What `metadata[KEY]=VALUE` asks for; None for `metadata=null`, jobs without metadata. Raises ApiError."""
    found = {
        key.removeprefix("metadata[").removesuffix("]"): value
        for key, value in query.items()
        if key.startswith("metadata[") and key.endswith("]")
    }
    plain = query.get("metadata")
    if plain is None:
        return found
    if plain != "null" or found:
        raise refused("Write metadata[KEY]=VALUE, or metadata=null for jobs without metadata.", "metadata")
    return None


def _refuse_what_is_not_there(document: Mapping[str, Any]) -> None:
    """What the OpenAI API has and this one has not gets an answer that says so."""
    method = document.get("method")
    if isinstance(method, dict) and method.get("type") == "reinforcement":
        raise refused(f"Reinforcement fine-tuning is not supported here; the methods are {_METHODS}.", "method.type")
    if document.get("integrations"):
        raise refused(
            "Integrations are not supported here: every job is recorded in MLflow. For Weights & Biases make a"
            " FineTuneJob with spec.tracking.weightsAndBiases, or ask the platform team to set it in jobDefaults.",
            "integrations",
        )


def _check_method(wanted: CreateJob) -> None:
    method = wanted.method
    if method and wanted.hyperparameters:
        raise refused("Write the hyperparameters in method, and not a second time beside it.", "hyperparameters")
    for name in ("supervised", "dpo"):
        if method and method.type != name and getattr(method, name) is not None:
            raise refused(f"The method is of type {method.type}, so method.{name} has no effect.", f"method.{name}")


def _named(error: ValidationError) -> ApiError:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    name = _field(errors[0]["loc"])
    # a value that fits none of several types is an error of each: the last one says what a value must be
    found = [each for each in errors if _field(each["loc"]) == name][-1]
    match found["type"]:
        case "extra_forbidden":
            return refused(f"Unknown parameter: {name}.", name, "unknown_parameter")
        case "missing":
            return refused(f"Missing required parameter: {name}.", name, "missing_required_parameter")
        case _:
            return refused(f"Invalid value for {name}: {found['msg']}.", name, "invalid_value")


def _field(place: tuple[int | str, ...]) -> str:
    """The name of a field, without the types that were tried."""
    return ".".join(part for part in map(str, place) if not part.startswith(_TRIED))
