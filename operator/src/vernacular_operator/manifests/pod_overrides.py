"""Merges `podOverrides` into a pod template, as a strategic merge patch would.

Maps are merged by key. Environment, volumes and pull secrets are merged by name, mounts by path. Tolerations are added,
where a patch would replace the operator's own. Everything else is replaced. A request above the limit of a lower layer
raises that limit, and a limit below its request lowers it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from vernacular.api import FineTuneJob, Stage
from vernacular.api.pod_overrides import PodOverride
from vernacular_operator.manifests.quantities import amount
from vernacular_operator.manifests.runtime import runtime_spec

Json = dict[str, Any]

_REPLACED = ("priorityClassName", "schedulerName", "serviceAccountName")
_SAME_TAINT = ("key", "operator", "value", "effect")


def overrides_of(job: FineTuneJob, stage: Stage, *, shared: bool = True) -> tuple[PodOverride, ...]:
    """What the runtime and then the job says about a stage, in that order.

    A volume that is not `shared` (ReadWriteOnce) may be bound to the zone or the node of the first pod that uses it. So
    prepare goes where training goes, unless its own overrides say otherwise, and every stage tolerates what
    training tolerates.
    """
    every = (*(runtime_spec(job.status.runtime).pod_overrides or ()), *(job.spec.pod_overrides or ()))
    own = tuple(item for item in every if _is_about(item, stage))
    if shared or stage == Stage.TRAIN:
        return own
    training = (item for item in every if _is_about(item, Stage.TRAIN) and not _is_about(item, stage))
    return (*(_placement(item, stage) for item in training), *own)


def _is_about(override: PodOverride, stage: Stage) -> bool:
    return override.stages is None or stage in override.stages


def _placement(override: PodOverride, stage: Stage) -> PodOverride:
    if stage != Stage.PREPARE:
        return PodOverride(tolerations=override.tolerations)
    return PodOverride(
        node_selector=override.node_selector, affinity=override.affinity, tolerations=override.tolerations
    )


def merged(template: Mapping[str, Any], overrides: Iterable[PodOverride]) -> Json:
    """The template of a pod with one container, with the overrides merged in order; the template stays as it is."""
    result = copy.deepcopy(dict(template))
    for override in overrides:
        _merge(result, override.to_dict())
    return result


def _merge(template: Json, patch: Json) -> None:
    spec: Json = template["spec"]
    container: Json = spec["containers"][0]
    for name in ("labels", "annotations"):
        _merge_map(template["metadata"], name, patch)
    for name in ("nodeSelector", "affinity"):
        _merge_map(spec, name, patch)
    _merge_resources(container["resources"], patch.get("resources", {}))
    for name in _REPLACED:
        if name in patch:
            spec[name] = patch[name]
    _merge_list(spec, "tolerations", patch.get("tolerations"), _SAME_TAINT)
    _merge_list(spec, "imagePullSecrets", patch.get("imagePullSecrets"), ("name",))
    _merge_list(container, "env", patch.get("env"), ("name",))
    _merge_volumes(spec, container, patch)


def _merge_map(target: Json, name: str, patch: Json) -> None:
    if name in patch:
        target[name] = _deep(target.get(name, {}), patch[name])


def _merge_resources(resources: Json, patch: Json) -> None:
    """Kubernetes refuses a request above its limit: what the patch says nothing about gives way to what it says."""
    for name in ("requests", "limits"):
        _merge_map(resources, name, patch)
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name in requests.keys() & limits.keys():
        if amount(requests[name]) <= amount(limits[name]):
            continue
        if name not in patch.get("limits", {}):
            limits[name] = requests[name]
        elif name not in patch.get("requests", {}):
            requests[name] = limits[name]


def _deep(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {name: _deep(old.get(name), value) for name, value in new.items()}


def _merge_list(target: Json, name: str, added: Iterable[Json] | None, keys: tuple[str, ...]) -> None:
    """Items with the same keys are replaced where they stand, others are added at the end."""
    if not added:
        return
    items = {tuple(item.get(key) for key in keys): item for item in target.get(name, ())}
    target[name] = list((items | {tuple(item.get(key) for key in keys): item for item in added}).values())


def _merge_volumes(spec: Json, container: Json, patch: Json) -> None:
    names: dict[str, str] = {}
    for volume in patch.get("volumes", ()):
        same = _volume_of_claim(spec["volumes"], volume)
        names[volume["name"]] = same["name"] if same else volume["name"]
        if same is None:
            _merge_list(spec, "volumes", [volume], ("name",))
        elif not volume["persistentVolumeClaim"].get("readOnly"):
            # the mounts of the operator's own stay read-only
            same["persistentVolumeClaim"].pop("readOnly", None)
    mounts = [mount | {"name": names[mount["name"]]} for mount in patch.get("volumeMounts", ())]
    _merge_list(container, "volumeMounts", mounts, ("mountPath",))


def _volume_of_claim(volumes: Iterable[Json], wanted: Json) -> Json | None:
    """The pod's volume of the same claim: two volumes of one claim in one pod can hang the kubelet's mounting."""
    claim = wanted.get("persistentVolumeClaim", {}).get("claimName")
    found = (item for item in volumes if claim and item.get("persistentVolumeClaim", {}).get("claimName") == claim)
    return next(found, None)
