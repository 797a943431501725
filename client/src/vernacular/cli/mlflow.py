"""An MLflow server over its REST API."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.screens.values import pick

Json = dict[str, Any]

TAG_PREFIX = "vernacular.dev/"
_API = "/api/2.0/mlflow/"
_PAGE = 100
_TIMEOUT = 30


class MissingError(CliError):
    """MLflow does not know what was asked for."""


class Mlflow:
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

    def get(self, path: str, query: Mapping[str, Any]) -> Json:
        """Read something. Raises MissingError when there is no such thing."""
        return self._decoded(self._answer("GET", f"{_API}{path}", params=query))

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        """Change something, or search."""
        return self._decoded(self._answer("POST", f"{_API}{path}", json=body))

    def delete(self, path: str, body: Mapping[str, Any]) -> None:
        """Remove something."""
        self._decoded(self._answer("DELETE", f"{_API}{path}", json=body))

    def artifact(self, run_id: str, path: str) -> str:
        """The text of an artifact of a run, as MLflow gives it to its own pages."""
        response = self._answer("GET", "/get-artifact", params={"run_uuid": run_id, "path": path})
        if response.status_code != 200:
            raise CliError(f"MLflow does not give {path} of run {run_id}: {response.status_code}", "")
        return response.text

    def delete_artifacts(self, path: str) -> None:
        """Remove a folder of the store that MLflow itself keeps."""
        self._decoded(self._answer("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{path}"))

    def pages(
        self, path: str, field: str, query: Mapping[str, Any], *, searches: bool = False, size: int = _PAGE
    ) -> Iterator[Json]:
        """Every item of a list; `searches`: by POST."""
        wanted = {**query, "max_results": size}
        while True:
            page = self.post(path, wanted) if searches else self.get(path, wanted)
            yield from page.get(field) or ()
            if not (token := page.get("next_page_token")):
                return
            wanted["page_token"] = token

    def _answer(self, method: str, path: str, **content: Any) -> httpx2.Response:
        try:
            return self._http.request(method, f"{self.address}{path}", **content)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CliError(
                f"MLflow at {self.address} does not answer: {error or type(error).__name__}",
                "name the address that this machine reaches it at with --mlflow or $MLFLOW_TRACKING_URI",
                ExitCode.NO_ACCESS,
            ) from None

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
            kind = MissingError if response.status_code == 404 else CliError
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


def open_mlflow(flag: str | None, jobs: Sequence[Mapping[str, Any]]) -> Mlflow:
    """The MLflow server that the command line, the environment or these jobs name. Raises CliError."""
    return Mlflow(address_of(flag, os.environ, jobs), os.environ)


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
