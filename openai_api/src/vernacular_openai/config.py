"""The service's configuration file: which models may be named how, and how much may be stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from vernacular.api.spec import FineTuneJobSpec

Json = dict[str, Any]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=128)]

_MIB = 2**20
_SOME_ROWS: Json = {"dataset": {"train": [{"uri": "https://files.example.com/rows.jsonl"}]}}


class ConfigError(ValueError):
    """The configuration file cannot be used; the text says where and why."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class FilesConfig(_Section):
    """Limits of uploaded files in MiB: of one, and of all files of a namespace together."""

    max_file_mib: Annotated[int, Field(alias="maxFileMiB", ge=1)] = 512
    max_namespace_mib: Annotated[int, Field(alias="maxNamespaceMiB", ge=1)] = 10_240

    @property
    def max_file_bytes(self) -> int:
        """Bytes beyond which a file is refused."""
        return self.max_file_mib * _MIB

    @property
    def max_namespace_bytes(self) -> int:
        """Bytes beyond which a namespace may store no more."""
        return self.max_namespace_mib * _MIB


class ServiceConfig(_Section):
    """The whole file. Unknown keys are refused.

    `download_host` is where prepare pods reach the service, HOST (at port 443) or HOST:PORT. `job_defaults` are
    parts of the spec of every job, `models` names and the parts of the spec that jobs of this model get besides.
    """

    download_host: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[1-9][0-9]{0,4})?$", max_length=260)
    job_defaults: Mapping[str, Any] = Field(default_factory=dict)
    models: Mapping[ModelName, Mapping[str, Any]] = Field(default_factory=dict)
    files: FilesConfig = FilesConfig()

    @field_validator("models")
    @classmethod
    def _with_uri(cls, models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        for name, parts in models.items():
            if not isinstance(parts.get("model"), dict) or not parts["model"].get("uri"):
                raise ValueError(f"{name} must say which model it is: {name}: {{model: {{uri: hf://ORG/MODEL}}}}")
        return models

    @model_validator(mode="after")
    def _make_jobs(self) -> ServiceConfig:
        for name, parts in {"hf://org/model": {"model": {"uri": "hf://org/model"}}, **self.models}.items():
            try:
                FineTuneJobSpec.model_validate(merged(merged(self.job_defaults, parts), _SOME_ROWS))
            except ValidationError as error:
                raise ValueError(f"jobs of {name} would have a spec that is refused: {_first(error)}") from None
        return self


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Json:
    """Both documents in one; where both say something, `above` counts."""
    both = {
        key: merged(below[key], value) if isinstance(below.get(key), dict) and isinstance(value, dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def load_config(path: Path) -> ServiceConfig:
    """Read the file. Raises ConfigError."""
    try:
        return ServiceConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(map(str, found["loc"]))
    return f"{place}: {found['msg']}" if place else found["msg"]
