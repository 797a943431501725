"""The operator's configuration file: typed, strict, with an error text that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

_WEB_SERVER = r"^([*][.])?[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[1-9][0-9]{0,4})?$"


class ConfigError(ValueError):
    """The configuration file cannot be used; the text says where and why."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


def _without_login(url: str) -> str:
    """Addresses are written into pods, job.json and status, where everybody can read them."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("must not hold a user or password; put them into the Secret that the jobs or the chart name")
    return url


class Images(_Section):
    """Images of the stages: `data` for prepare and publish, `trainer` for train and evaluate."""

    data: str = Field(min_length=1)
    trainer: str = Field(min_length=1)
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


class Mlflow(_Section):
    """`tracking_uri` is the address that pods and operator use, `external_url` the one that people open."""

    tracking_uri: str = Field(pattern=r"^https?://")
    external_url: str = ""

    @field_validator("tracking_uri", "external_url")
    @classmethod
    def _address(cls, value: str) -> str:
        return _without_login(value).rstrip("/")

    @property
    def people_url(self) -> str:
        """The address for links that people follow."""
        return self.external_url or self.tracking_uri


class Storage(_Section):
    """Defaults of `spec.storage.workspace`; an empty `storage_class_name` is the cluster's default class. Files of
    rows in a cache that jobs share may have `cached_files_gib`; 0: as many as the claim holds.
    """

    size: str = "20Gi"
    storage_class_name: str = ""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    cached_files_gib: Annotated[int, Field(alias="cachedFilesGiB", ge=0, le=1_048_576)] = 100


class Resources(_Section):
    """Container resources of one stage, as in a container."""

    requests: Mapping[str, str] = Field(default_factory=dict)
    limits: Mapping[str, str] = Field(default_factory=dict)


class StageResources(_Section):
    """Container resources per stage."""

    prepare: Resources = Resources()
    train: Resources = Resources()
    evaluate: Resources = Resources()
    publish: Resources = Resources()


class PodOverridePermissions(_Section):
    """What users may set in `podOverrides` of their jobs beyond placement and resources.

    `env` and `volumes` let a user run code of their own in every stage, with the credentials that the stage is given.
    `service_account_names` are ServiceAccounts that a job may name; "*" stands for all of them.
    """

    env: bool = False
    volumes: bool = False
    service_account_names: tuple[str, ...] = ()

    def allows_service_account(self, name: str) -> bool:
        """Whether a job may run its pods under this account."""
        return not {name, "*"}.isdisjoint(self.service_account_names)


class HuggingFace(_Section):
    """`endpoint` is a mirror of the hub ("" for the public one)."""

    endpoint: str = ""

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        return _without_login(value)


class S3(_Section):
    """Where s3:// uris without an endpoint are read from ("" for AWS), and the region ("" for the SDK's default)."""

    endpoint: str = ""
    region: str = ""

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        return _without_login(value)


class Https(_Section):
    """Web servers that https:// files of jobs may be on, and lead to: HOST, HOST:PORT or *.DOMAIN. None: there are no
    such files. `max_file_gib`: the size beyond which a file is refused.
    """

    hosts: tuple[Annotated[str, Field(pattern=_WEB_SERVER, max_length=260)], ...] = Field(default=(), max_length=64)
    max_file_gib: Annotated[int, Field(alias="maxFileGiB", ge=1, le=1024)] = 10


class Kueue(_Section):
    """`enabled`: Kueue's Workloads are watched, so that a job says what its queue waits for. `follow_up_priority_class`
    is the WorkloadPriorityClass of what follows a training ("": the job's own).
    """

    enabled: bool = False
    follow_up_priority_class: str = Field(default="", max_length=63)


class OperatorConfig(_Section):
    """The whole file. Unknown keys are refused."""

    images: Images
    mlflow: Mlflow
    watch_namespaces: tuple[str, ...] = ()
    storage: Storage = Storage()
    resources: StageResources = StageResources()
    pod_overrides: PodOverridePermissions = PodOverridePermissions()
    hugging_face: HuggingFace = HuggingFace()
    s3: S3 = S3()
    https: Https = Https()
    kueue: Kueue = Kueue()
    run_as_user: Annotated[int, Field(ge=1)] = 65532
    grace_period_seconds: Annotated[int, Field(ge=1)] = 120
    workers: Annotated[int, Field(ge=1, le=64)] = 16
    progress_interval_seconds: Annotated[float, Field(gt=0)] = 10
    resync_seconds: Annotated[float, Field(gt=0)] = 300


def load_config(path: Path) -> OperatorConfig:
    """Read the configuration file. Raises ConfigError when it is missing, not YAML, or does not fit."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    return parse_config(document, str(path))


def parse_config(document: Any, where: str = "configuration") -> OperatorConfig:
    """Check a parsed document. Raises ConfigError that names every wrong field."""
    try:
        return OperatorConfig.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{where}: {problems}") from None
