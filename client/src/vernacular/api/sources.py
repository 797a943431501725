"""Where files and models of a spec come from: ConfigMaps, claims, buckets and hubs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

from vernacular.api.base import Checked, SpecModel, cel, rules
from vernacular.api.strings import ConfigMapKey, Endpoint, FileURI, ModelURI, ObjectName

_CLAIM_SCHEME = "pvc://"


@dataclass(frozen=True)
class ClaimPath:
    """A `pvc://` URI taken apart; `path` is relative to the root of the claim, without slashes at its ends."""

    claim: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> ClaimPath | None:
        """None when the URI is of another scheme."""
        if not uri.startswith(_CLAIM_SCHEME):
            return None
        claim, _, path = uri.removeprefix(_CLAIM_SCHEME).partition("/")
        return cls(claim, path.strip("/"))


class ConfigMapKeyRef(SpecModel):
    """One key of a ConfigMap in the job's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: ConfigMapKey = Field(description="Key in the ConfigMap.")


class SecretRef(SpecModel):
    """A Secret in the job's namespace."""

    secret_name: ObjectName = Field(description="Name of the Secret.")


_SOURCE_RULES = (
    cel("has(self.configMap) != has(self.uri)", "write exactly one of configMap and uri"),
    cel(
        "!has(self.endpoint) || (has(self.uri) && self.uri.startsWith('s3://'))",
        "endpoint is the address of an s3:// server; remove it, or write an s3:// uri",
    ),
    cel(
        "!has(self.credentials) || (has(self.uri) && self.uri.startsWith('s3://'))",
        "credentials are for s3:// files; remove them, a ConfigMap or a pvc:// path needs none",
    ),
)
_ENDPOINT = (
    "Address of the server of an s3:// uri, like https://minio.example.com:9000. Default: the operator's, else AWS."
)
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, if need be AWS_SESSION_TOKEN, AWS_REGION and ca.crt, the certificate"
    " of the server's authority. Only the prepare pod sees it. Absent: the identity of that pod's ServiceAccount, else"
    " none."
)


class FileRef(SpecModel):
    """A file: a key of a ConfigMap, a path on a claim, or an object of a bucket."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *_SOURCE_RULES,
            cel(
                "!has(self.uri) || !self.uri.endsWith('/')",
                "this is one file; a folder, which ends with '/', is for dataset.train",
            ),
        )
    )

    config_map: ConfigMapKeyRef | None = Field(default=None, description="A key of a ConfigMap in this namespace.")
    uri: FileURI | None = Field(
        default=None,
        description="pvc://CLAIM/PATH/FILE: a file on a claim in this namespace. s3://BUCKET/KEY: an object.",
    )
    endpoint: Endpoint | None = Field(default=None, description=_ENDPOINT)
    credentials: SecretRef | None = Field(default=None, description=f"Secret for an s3:// file: {_CREDENTIALS}")


class TrainingSource(FileRef):
    """A file of rows, or all files of rows in a folder of a bucket."""

    model_config = ConfigDict(json_schema_extra=rules(*_SOURCE_RULES))

    uri: FileURI | None = Field(
        default=None,
        description="pvc://CLAIM/PATH/FILE: a file on a claim in this namespace. s3://BUCKET/KEY: an object, or with"
        " '/' at its end all data files below it in the order of their names.",
    )


class ModelSpec(SpecModel):
    """The base model."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.revision) || self.uri.startsWith('hf://')",
                "revision belongs to hf:// models; remove it, other models are read as they are",
            ),
            cel(
                "!has(self.credentials) || !self.uri.startsWith('pvc://')",
                "credentials are for hf:// and s3:// models; remove them, a pvc:// path needs none",
            ),
            cel(
                "!has(self.endpoint) || self.uri.startsWith('s3://')",
                "endpoint is the address of an s3:// server; remove it, or write an s3:// uri",
            ),
        )
    )

    uri: ModelURI = Field(
        description="pvc://CLAIM/PATH (a model folder on a claim), s3://BUCKET/PATH (a model folder in a bucket) or"
        " hf://ORGANISATION/MODEL."
    )
    revision: (
        Annotated[
            str,
            Field(min_length=1, max_length=256),
            Checked(r"[A-Za-z0-9][A-Za-z0-9._/-]*", "must be a branch, tag or commit of the model"),
        ]
        | None
    ) = Field(default=None, description="Branch, tag or commit of an hf:// model. Default: main.")
    endpoint: Endpoint | None = Field(default=None, description=_ENDPOINT)
    credentials: SecretRef | None = Field(
        default=None,
        description=f"Secret for a private model. hf://: HF_TOKEN, only the prepare pod sees it. s3://: {_CREDENTIALS}",
    )
