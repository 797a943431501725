"""What tells clusters apart that share an MLflow server: it must not change while runs are open."""

from __future__ import annotations

from typing import Any, cast

from vernacular_operator.kube.api import NAMESPACES, Kind, KubeApi, Object
from vernacular_operator.kube.errors import ForbiddenError, NotFoundError
from vernacular_operator.runtime import identity


class Namespaces:
    """An API server that shows these namespaces, and refuses all others."""

    def __init__(self, **uids: str) -> None:
        self._uids = uids

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        assert (kind, namespace) == (NAMESPACES, "")
        if name not in self._uids:
            raise ForbiddenError(f"namespace {name}", 403)
        if not (uid := self._uids[name]):
            raise NotFoundError(f"no namespace {name}", 404)
        return {"metadata": {"name": name, "uid": uid}}


def api(**uids: str) -> KubeApi:
    return cast(KubeApi, cast(Any, Namespaces(**uids)))


async def test_a_cluster_is_known_by_a_namespace_that_every_cluster_has() -> None:
    assert await identity.of_the_cluster(api(**{"kube-system": "uid-1"})) == "uid-1"
    assert await identity.of_the_cluster(api()) == ""


async def test_an_install_is_known_by_the_authority_of_its_cluster_else_by_its_own_namespace() -> None:
    assert await identity.of_an_install(api(system="uid-2"), "ca-1", "system") == "ca-1"
    assert await identity.of_an_install(api(system="uid-2"), "", "system") == "uid-2"


async def test_where_nothing_may_be_known_only_runs_of_known_jobs_are_touched() -> None:
    assert await identity.of_an_install(api(), "", "system") == ""
    assert await identity.of_an_install(api(system=""), "", "system") == ""
    assert await identity.of_an_install(api(system="uid-2"), "", "") == ""
