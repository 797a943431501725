"""Where files and models of a spec come from: ConfigMaps, claims, buckets, hubs and web servers."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ConfigDict, Field

from vernacular.api.base import SpecModel, cel, rules
from vernacular.api.strings import ConfigMapKey, Endpoint, FileURI, ModelURI, ObjectName, Revision

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
        "!has(self.revision) || (has(self.uri) && self.uri.startsWith('hf://'))",
        "revision belongs to hf:// data sets; remove it, other files are read as they are",
    ),
    cel(
        "!has(self.credentials) || (has(self.uri) && !self.uri.startsWith('pvc://'))",
        "credentials are for files of servers; remove them, a ConfigMap or a pvc:// path needs none",
    ),
    cel(
        "!has(self.credentials) || !has(self.uri) || !self.uri.startsWith('mlflow://')",
        "files of runs are read with the login of tracking.mlflow.credentialsSecretName; remove credentials",
    ),
)
_ENDPOINT = (
    "Address of the server of an s3:// uri, like https://minio.example.com:9000. Default: the operator's, else AWS."
)
_CREDENTIALS = (
    "Secret with HF_TOKEN for hf://; for s3:// with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, if need be"
    " AWS_SESSION_TOKEN, AWS_REGION and ca.crt, the certificate of the server's authority. Only prepare pods see it."
    " Absent: hf:// without a token, s3:// with the identity of that pod's ServiceAccount, if it has one."
)
_FILE_CREDENTIALS = (
    f"{_CREDENTIALS} For https:// a Secret with HTTPS_TOKEN, or HTTPS_USERNAME and HTTPS_PASSWORD, or ca.crt alone."
)
_FILES = (
    "pvc://CLAIM/PATH/FILE: a file on a claim in this namespace. s3://BUCKET/KEY: an object. https://HOST/PATH/FILE: a"
    " file of a web server that the platform team allows. mlflow://runs/RUN/PATH/FILE: a file of a run of this"
    " namespace."
)


class FileRef(SpecModel):
    """A file: a key of a ConfigMap, a path on a claim, or a file of a bucket, of a hub's data set or a web server."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *_SOURCE_RULES,
            cel(
                "!has(self.uri) || !(self.uri.endsWith('/') || self.uri.matches('^hf://[^/]+/[^/]+$'))",
                "this is one file; a folder, which ends with '/', or a whole data set is for dataset.train",
            ),
        )
    )

    config_map: ConfigMapKeyRef | None = Field(default=None, description="A key of a ConfigMap in this namespace.")
    uri: FileURI | None = Field(
        default=None,
        description=f"{_FILES} hf://ORGANISATION/DATASET/FILE: a file of a data set of a hub.",
    )
    revision: Revision | None = Field(
        default=None, description="Branch, tag or commit of an hf:// data set. Default: main."
    )
    endpoint: Endpoint | None = Field(default=None, description=_ENDPOINT)
    credentials: SecretRef | None = Field(default=None, description=_FILE_CREDENTIALS)


class RowsRef(FileRef):
    """A file of rows, or all files of rows in a folder of a bucket or of a data set."""

    model_config = ConfigDict(json_schema_extra=rules(*_SOURCE_RULES))

    uri: FileURI | None = Field(
        default=None,
        description=f"{_FILES} hf://ORGANISATION/DATASET/FILE: a file of a hub. With '/' at the end: all data files"
        " below it in the order of their names. hf://ORGANISATION/DATASET: those of its training split.",
    )


class TrainingSource(RowsRef):
    """Rows to train on, and how much they count beside others."""

    share_percent: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="How much of all rows shall be of this source; which of its rows, a hash of their content decides."
        " Absent: all its rows.",
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
    revision: Revision | None = Field(
        default=None, description="Branch, tag or commit of an hf:// model. Default: main."
    )
    endpoint: Endpoint | None = Field(default=None, description=_ENDPOINT)
    credentials: SecretRef | None = Field(default=None, description=f"For a private model: {_CREDENTIALS}")
