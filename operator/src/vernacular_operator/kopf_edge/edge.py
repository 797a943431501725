"""Kopf as the watch layer of FineTuneJobs: the event handler that feeds the controller, login, probe and settings."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import kopf

from vernacular.api.constants import GROUP, PLURAL, VERSION
from vernacular_operator.config import OperatorConfig
from vernacular_operator.kopf_edge.storages import NoDiffBase, NoProgress
from vernacular_operator.kube.client import KubernetesClient
from vernacular_operator.runtime.controller import Controller
from vernacular_operator.runtime.executor import FINE_TUNE_JOBS

COMPONENT = "vernacular-operator"


async def watch(
    controller: Controller,
    client: KubernetesClient,
    config: OperatorConfig,
    *,
    stop: asyncio.Event | None = None,
    ready: asyncio.Event | None = None,
    liveness: str | None = None,
) -> None:
    """Watch until `stop` is set or the process is told to end. `liveness` is the URL of the health endpoint."""
    namespace = next(iter(config.watch_namespaces), "")
    await kopf.operator(
        registry=_registry(controller, client),
        settings=_settings(streams=await client.streams_lists(FINE_TUNE_JOBS, namespace)),
        clusterwide=not config.watch_namespaces,
        namespaces=list(config.watch_namespaces),
        standalone=True,
        stop_flag=stop,
        ready_flag=ready,
        liveness_endpoint=liveness,
    )


def _registry(controller: Controller, client: KubernetesClient) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        connection = await client.connection()
        return kopf.ConnectionInfo(
            server=connection.server,
            ca_path=connection.ca_path,
            certificate_path=connection.certificate_path,
            private_key_path=connection.private_key_path,
            insecure=not connection.verify,
            scheme="Bearer" if connection.token else None,
            token=connection.token or None,
            proxy_url=connection.proxy,
        )

    async def job_event(type: str | None, body: Mapping[str, Any], **_: Any) -> None:
        controller.job_event(body, deleted=type == "DELETED", listed=type is None)

    async def probe(**_: Any) -> str:
        controller.check_health()
        return "ok"

    kopf.on.login(registry=registry)(login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(job_event)
    kopf.on.probe(id="work", registry=registry, errors=kopf.ErrorsMode.PERMANENT)(probe)
    return registry


def _settings(*, streams: bool) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.posting.reporting_component = COMPONENT
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.worker_limit = None
    # jitter, so that the watches of a restarted API server do not all end together
    settings.watching.server_timeout = 300 + random.randrange(30)
    settings.watching.client_timeout = settings.watching.server_timeout + 10
    settings.watching.connect_timeout = 30
    settings.watching.reconnect_backoff = 1
    # Kopf ends the operator when a continued list has expired: what exists comes with the watch, or in one page
    settings.watching.initial_streaming = streams
    settings.watching.chunk_size = None
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = [seconds * random.uniform(0.75, 1.25) for seconds in (1, 1, 2, 3, 5, 8, 13)]
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiffBase()
    return settings
