"""Calls to the API server, each with the token of whoever called this service: it has no rights of its own."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from vernacular.api.constants import GROUP, PLURAL, VERSION
from vernacular_openai.errors import ApiError, refused

Json = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_JSON = "application/json"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):[^:]+")
_TIMEOUT = aiohttp.ClientTimeout(total=30)


@dataclass(frozen=True)
class Caller:
    """Somebody with a token. Every method raises ApiError: what the API server refuses, the caller is refused."""

    session: aiohttp.ClientSession
    address: str
    token: str = field(repr=False)

    async def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = _JSON, accept: str = _JSON
    ) -> Json:
        """Send one request; `path` is that of the REST API."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type, "Accept": accept}
        data = None if body is None else json.dumps(body)
        try:
            async with self.session.request(
                method, self.address + path, data=data, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            message = "The API server of Kubernetes does not answer; try again."
            raise ApiError(503, message, code="kubernetes_unavailable") from None
        document: Json = {}
        with suppress(ValueError):
            document = json.loads(text)
        if answer.status >= 300:
            raise _explained(answer.status, document)
        return document

    async def namespace(self, project: str) -> str:
        """The namespace that is meant: `project`, else the one of the caller's service account."""
        if project:
            if not _LABEL.fullmatch(project):
                raise refused(f"The project is a namespace of Kubernetes; {project!r} is no name of one.", "project")
            return project
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        review = await self.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        account = _SERVICE_ACCOUNT.fullmatch(review["status"]["userInfo"].get("username", ""))
        if not account:
            raise refused(
                "This key is not of a service account, so that its namespace is not known: name it as the project,"
                ' for example OpenAI(project="my-namespace") or OPENAI_PROJECT_ID=my-namespace.',
                "project",
                "project_missing",
            )
        return account.group(1)

    async def identity(self, namespace: str) -> str:
        """Uid of a namespace: another one of the same name, later, is not the same."""
        found = await self.request("GET", f"/api/v1/namespaces/{namespace}")
        return str(found["metadata"]["uid"])

    async def require(self, verb: str, namespace: str) -> None:
        """Go on only if the caller may do this with FineTuneJobs of the namespace."""
        wanted = {"namespace": namespace, "verb": verb, "group": GROUP, "resource": PLURAL}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        review = await self.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        if not review["status"].get("allowed"):
            raise _forbidden(f"This key may not {verb} {PLURAL}.{GROUP} in namespace {namespace}.")


def jobs_path(namespace: str, name: str = "") -> str:
    """Where FineTuneJobs of a namespace are."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    return f"{path}/{name}" if name else path


def secrets_path(namespace: str, name: str = "") -> str:
    """Where Secrets of a namespace are."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    return f"{path}/{name}" if name else path


def _explained(status: int, document: Json) -> ApiError:
    said = str(document.get("message") or "Kubernetes gave no reason.")
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return unauthorised("Kubernetes does not know this API key: it must be a token that has not expired")
        case HTTPStatus.FORBIDDEN:
            return _forbidden(said)
        case HTTPStatus.NOT_FOUND:
            return ApiError(404, said, code="not_found")
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
            return refused(said, code="invalid_job")
        case HTTPStatus.CONFLICT | HTTPStatus.TOO_MANY_REQUESTS:
            return ApiError(status, said, code="try_again")
        case _:
            return ApiError(503, f"Kubernetes answered HTTP {status}: {said}", code="kubernetes_unavailable")


def _forbidden(said: str) -> ApiError:
    return ApiError(403, f"{said} Ask for a Role with the rights that the guide lists.", code="permission_denied")


def unauthorised(message: str) -> ApiError:
    """The key is missing, or nobody's."""
    advice = "make one with kubectl create token SERVICE_ACCOUNT -n NAMESPACE"
    return ApiError(401, f"{message}; {advice}.", code="invalid_api_key")
