"""The fault-injecting proxy itself, before the real API server: each fault happens, is recorded, and is repeatable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from support.apiserver import ApiServer
from support.chaos_proxy import ChaosProxy, Write, classify
from support.faults import POSSIBLE, Fault, FaultPlan, Verb, evenly
from vernacular_operator.kube.api import Kind
from vernacular_operator.kube.client import KubernetesClient, connect
from vernacular_operator.kube.errors import ConflictError, InvalidError, KubeError, UnavailableError
from vernacular_operator.telemetry.metrics import Metrics

pytestmark = pytest.mark.integration
MAPS = Kind("", "v1", "configmaps")


@asynccontextmanager
async def client_behind(proxy: ChaosProxy, folder: Path) -> AsyncIterator[KubernetesClient]:
    client = await connect(proxy.write_kubeconfig(folder / "kubeconfig"), Metrics().api_request)
    try:
        yield client
    finally:
        await client.close()


def always(fault: Fault) -> FaultPlan:
    return FaultPlan(1, {fault: 1.0}, longest=0.2)


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    return api_server.new_namespace("proxy")


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        (Fault.CONFLICT, ConflictError, False),
        (Fault.INVALID, InvalidError, False),
        (Fault.TOO_MANY, UnavailableError, False),
        (Fault.ERROR, UnavailableError, False),
        (Fault.RESET, UnavailableError, False),
        (Fault.ERROR_AFTER_WRITE, UnavailableError, True),
        (Fault.RESET_AFTER_WRITE, UnavailableError, True),
    ],
)
async def test_a_write_fails_as_told_and_has_happened_or_not(
    api_server: ApiServer, namespace: str, tmp_path: Path, fault: Fault, error: type[KubeError], written: bool
) -> None:
    with ChaosProxy(api_server, always(fault)) as proxy:
        async with client_behind(proxy, tmp_path) as client:
            with pytest.raises(error):
                await client.create(MAPS, namespace, {"metadata": {"name": "a"}})
    assert (proxy.injected, proxy.requests) == ({fault: 1}, {Verb.CREATE: 1})
    names = [item["metadata"]["name"] for item in api_server.request("GET", _path(namespace))["items"]]
    assert ("a" in names) is written


async def test_a_deletion_that_met_a_conflict_has_not_happened(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    made = api_server.request("POST", _path(namespace), {"metadata": {"name": "a"}})
    with ChaosProxy(api_server, always(Fault.CONFLICT)) as proxy:
        async with client_behind(proxy, tmp_path) as client:
            with pytest.raises(ConflictError):
                await client.delete(MAPS, namespace, "a", uid=made["metadata"]["uid"])
            proxy.calm = True
            with pytest.raises(ConflictError):
                await client.delete(MAPS, namespace, "a", uid="that-of-another")
            assert await client.get(MAPS, namespace, "a")
            await client.delete(MAPS, namespace, "a", uid=made["metadata"]["uid"])
            await client.delete(MAPS, namespace, "a", uid=made["metadata"]["uid"])
    names = [item["metadata"]["name"] for item in api_server.request("GET", _path(namespace))["items"]]
    assert "a" not in names


async def test_a_stale_read_answers_what_was_true_before(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    with ChaosProxy(api_server, always(Fault.STALE_READ)) as proxy:
        async with client_behind(proxy, tmp_path) as client:
            for count in (1, 2):
                await client.create(MAPS, namespace, {"metadata": {"name": f"map-{count}"}})
                seen = [item["metadata"]["name"] async for item in client.list(MAPS, namespace, "")]
                assert "map-2" not in seen
    assert proxy.injected == {Fault.STALE_READ: 1}


async def test_lists_come_in_pages_and_a_continued_one_may_have_expired(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    for count in range(5):
        api_server.request("POST", _path(namespace), {"metadata": {"name": f"map-{count}"}})
    with ChaosProxy(api_server, always(Fault.GONE_LIST), page_size=2) as proxy:
        async with client_behind(proxy, tmp_path) as client:
            with pytest.raises(KubeError) as caught:
                [item async for item in client.list(MAPS, namespace, "")]
            proxy.calm = True
            names = [item["metadata"]["name"] async for item in client.list(MAPS, namespace, "")]
    assert caught.value.status == 410
    assert proxy.injected == {Fault.GONE_LIST: 1}
    assert [name for name in names if name.startswith("map")] == [f"map-{count}" for count in range(5)]


@pytest.mark.parametrize("fault", [Fault.DROPPED_WATCH, Fault.GONE_WATCH, Fault.LATE_EVENTS, Fault.LATENCY])
async def test_a_watch_is_cut_ended_or_late(api_server: ApiServer, namespace: str, fault: Fault) -> None:
    version = api_server.request("GET", _path(namespace))["metadata"]["resourceVersion"]
    api_server.request("POST", _path(namespace), {"metadata": {"name": "seen"}})
    lines: list[bytes] = []
    with ChaosProxy(api_server, always(fault)) as proxy:
        url = f"{proxy.uri}{_path(namespace)}?watch=true&timeoutSeconds=1&resourceVersion={version}"
        broken = False
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(url, ssl=False) as answer:
                    lines = [line async for line in answer.content]
            except aiohttp.ClientError:
                broken = True
    assert broken is (fault is Fault.DROPPED_WATCH)
    assert proxy.injected == {fault: 1}
    if not broken:
        assert b'"seen"' in lines[0]
        assert (b'"code": 410' in lines[-1]) is (fault is Fault.GONE_WATCH)


async def test_every_write_is_told_before_and_after_and_can_be_dropped(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    told: list[Write] = []

    def note(write: Write) -> bool:
        told.append(write)
        return len(told) < 3

    with ChaosProxy(api_server, FaultPlan(1, {})) as proxy:
        proxy.on_write = note
        async with client_behind(proxy, tmp_path) as client:
            await client.create(MAPS, namespace, {"metadata": {"name": "first"}})
            with pytest.raises(UnavailableError):
                await client.create(MAPS, namespace, {"metadata": {"name": "second"}})
    assert [write.done for write in told] == [False, True, False]
    names = [item["metadata"]["name"] for item in api_server.request("GET", _path(namespace))["items"]]
    assert ("first" in names, "second" in names) == (True, False)


def test_the_same_seed_chooses_the_same_faults_whatever_else_runs() -> None:
    alone, beside = (FaultPlan(7, evenly(0.05, 0.1, 0.3)) for _ in range(2))
    wanted = [alone.choose(Verb.PATCH, "finetunejobs/status") for _ in range(500)]
    found = []
    for _ in range(500):
        beside.choose(Verb.GET, "jobs")
        found.append(beside.choose(Verb.PATCH, "finetunejobs/status"))
    assert found == wanted
    other = FaultPlan(8, evenly(0.05, 0.1, 0.3))
    assert [other.choose(Verb.PATCH, "finetunejobs/status") for _ in range(500)] != wanted
    assert {choice.fault for choice in wanted if choice} == {f for f, verbs in POSSIBLE.items() if Verb.PATCH in verbs}


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/apis/batch/v1/namespaces/a/jobs", {}, (Verb.LIST, "jobs")),
        ("GET", "/apis/batch/v1/jobs", {"watch": "true"}, (Verb.WATCH, "jobs")),
        ("GET", "/api/v1/namespaces/kube-system", {}, (Verb.GET, "namespaces")),
        ("GET", "/api/v1/namespaces/a/pods/b", {}, (Verb.GET, "pods")),
        ("GET", "/apis/batch/v1", {}, (Verb.DISCOVER, "")),
        ("GET", "/api", {}, (Verb.DISCOVER, "")),
        ("DELETE", "/api/v1/namespaces/a/pods/b", {}, (Verb.DELETE, "pods")),
        (
            "PATCH",
            "/apis/vernacular.dev/v1alpha1/namespaces/a/finetunejobs/b/status",
            {},
            (Verb.PATCH, "finetunejobs/status"),
        ),
    ],
)
def test_requests_are_told_apart(method: str, path: str, query: dict[str, str], expected: tuple[Verb, str]) -> None:
    assert classify(method, path, query) == expected


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"
