"""Reads lists and watches of Jobs and pods: nine of ten bytes tell nothing that is wanted, and are skipped unparsed.

Documents hold the fields named here and no others; whoever reads another one of a child names it here first.
"""

from typing import Any, TypedDict, cast

import msgspec

from vernacular_operator.kube.api import JOBS, PODS, Kind, Object


class _Owner(TypedDict, total=False):
    controller: bool


class _Metadata(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    labels: dict[str, str]
    annotations: dict[str, str]
    ownerReferences: list[_Owner]
    deletionTimestamp: str
    deletionGracePeriodSeconds: int


class _Template(TypedDict):
    pass


class _Container(TypedDict, total=False):
    name: str
    image: str


class _Spec(TypedDict, total=False):
    suspend: bool
    template: _Template
    nodeName: str
    containers: list[_Container]


class _Condition(TypedDict, total=False):
    type: str
    status: str
    reason: str
    message: str
    lastTransitionTime: str | None


class _ContainerStatus(TypedDict, total=False):
    name: str
    state: dict[str, Any]


class _Status(TypedDict, total=False):
    phase: str
    reason: str
    message: str
    completionTime: str
    conditions: list[_Condition]
    containerStatuses: list[_ContainerStatus]


class _Child(TypedDict, total=False):
    metadata: _Metadata
    spec: _Spec
    status: _Status


class _Children(TypedDict):
    metadata: dict[str, Any]
    items: list[_Child]


class _Stored(TypedDict, total=False):
    metadata: _Metadata


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_CHILDREN = frozenset({JOBS, PODS})
_children, _child = msgspec.json.Decoder(_Children), msgspec.json.Decoder(_Child)
_stored = msgspec.json.Decoder(_Stored)
_event, _whole = msgspec.json.Decoder(_Event), msgspec.json.Decoder()


def read_list(kind: Kind, data: bytes) -> Object:
    """A page of a list. Raises ValueError for what is none."""
    return cast(Object, (_children if kind in _CHILDREN else _whole).decode(data))


def read_stored(kind: Kind, data: bytes) -> Object:
    """What a write made of an object: of all but children the metadata alone. Raises ValueError for what is none."""
    return cast(Object, (_child if kind in _CHILDREN else _stored).decode(data))


def read_event(kind: Kind, line: bytes) -> tuple[str, Object]:
    """Type and object of a line of a watch. Raises ValueError for what is none."""
    event = _event.decode(line)
    # bookmarks and errors carry other objects
    trimmed = kind in _CHILDREN and event.type in ("ADDED", "MODIFIED", "DELETED")
    return event.type, cast(Object, (_child if trimmed else _whole).decode(event.object))
