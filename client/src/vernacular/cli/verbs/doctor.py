"""`vernacular doctor`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from vernacular.cli.checkup import RIGHTS, Health, Seen, field_names, findings
from vernacular.cli.cluster.client import ApiError, Client
from vernacular.cli.cluster.jobs import GROUP_PATH, PLURAL, Jobs, open_jobs, refusals
from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.mlflow import Mlflow, address_of
from vernacular.cli.registry import Registry
from vernacular.cli.screens.doctor import report
from vernacular.cli.screens.values import pick
from vernacular.cli.terminal import Terminal
from vernacular.cli.validation import job_schema

Json = dict[str, Any]

_NOT_FOUND = 404
_OPERATOR = "app.kubernetes.io/name=vernacular,app.kubernetes.io/component=operator"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_SCHEMA = "dev.vernacular.v1alpha1.FineTuneJob"


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Say whether a cluster is ready for jobs."""
    known = frozenset(field_names(job_schema()["properties"]["spec"]))
    found = findings(_look(open_jobs(options), options.mlflow), known, datetime.now(UTC))
    terminal.write(report(found, terminal.paint, terminal.width))
    return ExitCode.REFUSED if any(item.health is Health.BAD for item in found) else ExitCode.DONE


def _look(jobs: Jobs, mlflow: str | None) -> Seen:
    """Raises CliError when the cluster does not answer; everything else is a finding."""
    client = jobs.client
    with refusals(jobs.namespace):
        version = client.get("/version").get("gitVersion", "")
    if not _is_served(client):
        return Seen(jobs.namespace, version, served=False)
    try:
        present = jobs.all()
    except CliError:
        present = []
    address, trouble = _mlflow(mlflow, present)
    return Seen(
        namespace=jobs.namespace,
        version=version,
        served=True,
        fields=_fields(client),
        allowed=frozenset(verb for verb in RIGHTS if _may(jobs, verb)),
        operators=_items(client, "/api/v1/pods", labelSelector=_OPERATOR),
        jobs=present,
        nodes=_items(client, "/api/v1/nodes"),
        classes=_items(client, "/apis/storage.k8s.io/v1/storageclasses"),
        mlflow=address,
        mlflow_trouble=trouble,
    )


def _is_served(client: Client) -> bool:
    """Whether the cluster has the CRD; where that may not be seen, the rest says what is wrong."""
    try:
        client.get(GROUP_PATH)
    except ApiError as error:
        return error.code != _NOT_FOUND
    return True


def _get(client: Client, path: str, **query: str) -> Json | None:
    try:
        return client.get(path, **query)
    except ApiError:
        return None


def _items(client: Client, path: str, **query: str) -> list[Json] | None:
    document = _get(client, path, **query)
    return None if document is None else document.get("items") or []


def _fields(client: Client) -> frozenset[str] | None:
    schemas = pick(_get(client, f"/openapi/v3{GROUP_PATH}") or {}, "components.schemas") or {}
    spec = pick(schemas.get(_SCHEMA) or {}, "properties.spec")
    return frozenset(field_names(spec)) if spec else None


def _may(jobs: Jobs, verb: str) -> bool:
    group = GROUP_PATH.split("/")[2]
    what = {"namespace": jobs.namespace, "verb": verb, "group": group, "resource": PLURAL}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    with refusals(jobs.namespace):
        answer = jobs.client.create(_REVIEWS, {**review, "spec": {"resourceAttributes": what}})
    return bool(pick(answer, "status.allowed"))


def _mlflow(flag: str | None, jobs: Sequence[Json]) -> tuple[str, str]:
    """Address of MLflow, "" when nothing says so, and what is wrong with it."""
    try:
        address = address_of(flag, os.environ, jobs)
    except CliError:
        return "", ""
    try:
        Registry(Mlflow(address, os.environ)).models("")
    except CliError as error:
        return address, error.message
    return address, ""
