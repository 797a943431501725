"""MLflow's registered models, over its REST API."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.screens.values import pick

Json = dict[str, Any]

TAG_PREFIX = "vernacular.dev/"
REPLACED = TAG_PREFIX + "replaced-version"
# the tag of a version that replaced none: MLflow takes no empty tags
NOTHING = "none"
_API = "/api/2.0/mlflow/"
_PAGE = "100"
_TIMEOUT = 30


@dataclass(frozen=True)
class Reviewed:
    """What a person's review of a version came to, as its tags say."""

    verdict: str
    summary: str
    by: str
    at: str


@dataclass(frozen=True)
class Version:
    """One version of a registered model. `job` and `uid` are those of the FineTuneJob that made it, "" when none did.

    `replaced` is the version that it replaced when it was first promoted, "" when it never was. `review` is the newest,
    None when there was none.
    """

    model: str
    number: int
    aliases: tuple[str, ...]
    job: str
    created_ms: int
    replaced: str
    uid: str = ""
    run_id: str = ""
    review: Reviewed | None = None


class _MissingError(CliError):
    """MLflow does not know what was asked for."""


class Registry:
    """One MLflow server. Every method raises CliError."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        self.address = address.rstrip("/")
        token = environment.get("MLFLOW_TRACKING_TOKEN")
        name, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=httpx2.BasicAuth(name, password or "") if name else None,
            verify=_tls(environment),
            timeout=_TIMEOUT,
        )

    def models(self, prefix: str) -> list[str]:
        """Names of all models that begin so."""
        query = {"filter": f"name LIKE '{prefix}%'"} if prefix else {}
        return [item["name"] for item in self._pages("registered-models/search", "registered_models", query)]

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, the newest first. Raises CliError when there is no such model."""
        document = self._send("GET", "registered-models/get", {"name": model})
        aliases = pick(document, "registered_model.aliases") or []
        quote = '"' if "'" in model else "'"
        found = self._pages("model-versions/search", "model_versions", {"filter": f"name = {quote}{model}{quote}"})
        return sorted((_version(item, aliases) for item in found), key=lambda version: -version.number)

    def verdict(self, version: Version) -> str:
        """The verdict on a version, as its run keeps it; "" when there is none."""
        try:
            document = self._send("GET", "runs/get", {"run_id": version.run_id}) if version.run_id else {}
        except _MissingError:
            document = {}
        tags = pick(document, "run.data.tags") or ()
        return next((tag["value"] for tag in tags if tag["key"] == TAG_PREFIX + "verdict"), "")

    def promote(self, version: Version, alias: str, replaced: str) -> None:
        """Point an alias to a version, which keeps what it replaced at first, so that there is a way back."""
        own = {"name": version.model, "version": str(version.number)}
        if not version.replaced:
            self._send("POST", "model-versions/set-tag", {**own, "key": REPLACED, "value": replaced or NOTHING})
        self._send("POST", "registered-models/alias", {**own, "alias": alias})

    def _pages(self, path: str, field: str, query: Mapping[str, str]) -> Iterator[Json]:
        wanted = {**query, "max_results": _PAGE}
        while True:
            page = self._send("GET", path, wanted)
            yield from page.get(field) or ()
            if not (token := page.get("next_page_token")):
                return
            wanted["page_token"] = token

    def _send(self, method: str, path: str, values: Mapping[str, str]) -> Json:
        url, reads = f"{self.address}{_API}{path}", method == "GET"
        try:
            response = self._http.request(method, url, params=values if reads else None, json=None if reads else values)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CliError(
                f"MLflow at {self.address} does not answer: {error or type(error).__name__}",
                "name the address that this machine reaches it at with --mlflow or $MLFLOW_TRACKING_URI",
                ExitCode.NO_ACCESS,
            ) from None
        return self._decoded(response)

    def _decoded(self, response: httpx2.Response) -> Json:
        try:
            document = response.json()
        except ValueError:
            document = None
        if response.status_code in (401, 403):
            raise CliError(
                f"MLflow at {self.address} does not allow this",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of one who may",
                ExitCode.NO_ACCESS,
            )
        if not isinstance(document, dict):
            raise CliError(f"{self.address} is no MLflow server", "name its address with --mlflow", ExitCode.NO_ACCESS)
        if response.status_code >= 400:
            kind = _MissingError if response.status_code == 404 else CliError
            raise kind(f"MLflow refuses: {document.get('message', response.status_code)}", "")
        return document


def address_of(flag: str | None, environment: Mapping[str, str], jobs: Sequence[Mapping[str, Any]]) -> str:
    """Where MLflow is: as told, else where these jobs have their runs. Raises CliError when nothing says so."""
    if told := flag or environment.get("MLFLOW_TRACKING_URI"):
        return told
    urls = (pick(job, "status.mlflow.url") for job in reversed(jobs))
    found = next((url for url in urls if url and urlsplit(url).scheme in ("http", "https")), None)
    if not found:
        raise CliError("no job says where MLflow is", "name its address with --mlflow or $MLFLOW_TRACKING_URI")
    return str(found).partition("/#/")[0]


def open_registry(flag: str | None, jobs: Sequence[Mapping[str, Any]]) -> Registry:
    """The MLflow server that the command line, the environment or these jobs name. Raises CliError."""
    return Registry(address_of(flag, os.environ, jobs), os.environ)


def _version(item: Json, aliases: Sequence[Json]) -> Version:
    tags = {tag["key"]: tag["value"] for tag in item.get("tags") or ()}
    number = int(item["version"])
    return Version(
        item["name"],
        number,
        tuple(sorted(each["alias"] for each in aliases if int(each["version"]) == number)),
        tags.get(TAG_PREFIX + "name", ""),
        int(item.get("creation_timestamp") or 0),
        tags.get(REPLACED, ""),
        tags.get(TAG_PREFIX + "uid", ""),
        item.get("run_id") or "",
        _review(tags),
    )


def _review(tags: Mapping[str, str]) -> Reviewed | None:
    verdict, summary, by, at = (tags.get(f"{TAG_PREFIX}review-{key}", "") for key in ("verdict", "summary", "by", "at"))
    return Reviewed(verdict, summary, by, at) if verdict else None


def _tls(environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    if environment.get("MLFLOW_TRACKING_INSECURE_TLS") == "true":
        return False
    path = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    try:
        return ssl.create_default_context(cafile=path) if path else True
    except OSError as error:
        raise CliError(
            f"the certificate {path} of MLFLOW_TRACKING_SERVER_CERT_PATH cannot be used: {error.strerror or error}",
            "name a file with the certificate of MLflow's authority, as PEM",
            ExitCode.NO_ACCESS,
        ) from None
