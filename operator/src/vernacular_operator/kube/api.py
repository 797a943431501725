"""The verbs that the operator needs, on plain dictionaries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of object and where the API server serves it. `group` is "" for the core group."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        """The path before namespaces and names."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


JOBS = Kind("batch", "v1", "jobs")
PODS = Kind("", "v1", "pods")
SERVICES = Kind("", "v1", "services")
CLAIMS = Kind("", "v1", "persistentvolumeclaims")
EVENTS = Kind("", "v1", "events")
NAMESPACES = Kind("", "v1", "namespaces")
WORKLOADS = Kind("kueue.x-k8s.io", "v1beta2", "workloads")

KINDS_OF_CHILDREN = {"Job": JOBS, "Service": SERVICES, "PersistentVolumeClaim": CLAIMS}


@dataclass(frozen=True)
class Page:
    """A part of a list, as of `version`."""

    items: Sequence[Object]
    version: str


class KubeWatch(Protocol):
    """Both methods raise a subclass of KubeError when the call fails."""

    def pages(self, kind: Kind, namespace: str, selector: str = "") -> AsyncIterator[Page]:
        """Read all objects of a namespace ("" for all namespaces), a page at a time."""
        ...

    def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Follow what happens after a version: ADDED, MODIFIED, DELETED or BOOKMARK, with the object.

        Ends when the server ends it. Raises GoneError when the version is too old to go on from.
        """
        ...


class KubeApi(Protocol):
    """Every method raises a subclass of KubeError when the call fails."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Read one object; an empty namespace for cluster-scoped kinds."""
        ...

    def list(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Object]:
        """Read all objects of a namespace ("" for all namespaces) with these labels and fields, in chunks."""
        ...

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Create an object; the answer is the object as stored."""
        ...

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """Merge-patch the status subresource; the answer is the object as stored."""
        ...

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        """Delete exactly the object with this uid, its dependents in the background. Gone already is success.

        Raises KubeError, ConflictError also when another object has the name by now: a watch is about to tell of that.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class KubeClient(KubeApi, KubeWatch, Protocol):
    """Everything that the operator does with the API server."""
