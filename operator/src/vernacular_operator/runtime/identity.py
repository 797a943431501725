"""What tells the runs of this cluster from those of others that share an MLflow server."""

from __future__ import annotations

from vernacular_operator.kube.api import NAMESPACES, KubeApi
from vernacular_operator.kube.errors import ForbiddenError, NotFoundError


async def of_the_cluster(api: KubeApi) -> str:
    """For an operator that watches all of the cluster; "" without the right to know."""
    return await _uid(api, "kube-system")


async def of_an_install(api: KubeApi, authority: str, namespace: str) -> str:
    """For an operator without rights in the cluster: the digest of its certificate authority, else, where its server
    has a certificate of a public one, the uid of the operator's own namespace; "" when neither is known.

    The namespaces that it watches come and go; its own stays.
    """
    return authority or (await _uid(api, namespace) if namespace else "")


async def _uid(api: KubeApi, namespace: str) -> str:
    try:
        found = await api.get(NAMESPACES, "", namespace)
    except (ForbiddenError, NotFoundError):
        return ""
    return str(found["metadata"]["uid"])
