"""Cases for `podOverrides`, which jobs and runtimes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.crd_cases import Accepted, Case, Refused, accepts, refuses, text
from support.finetunejobs import Json, at

ONE = "podOverrides[]"
AFFINITY = f"{ONE}.affinity"
OBJECT_NAME = "must be the name of an object in this namespace"
LABELS = "must be labels with their values: letters, digits, '-', '_' and '.', like example.com/pool: gpu"
LABEL = "must be the name of a label, like example.com/pool"
LABEL_VALUE = "must be the value of a label: letters, digits, '-', '_' and '.', at most 63 characters"
OWN_LABELS = "labels of vernacular.dev, app.kubernetes.io and batch.kubernetes.io are the operator's; use others"
ANNOTATIONS = "names of annotations consist of letters, digits, '-', '_' and '.', like example.com/note"
OWN_ANNOTATIONS = "annotations of vernacular.dev are the operator's, and those of AppArmor and seccomp cannot be set"
RESOURCES = 'must be resources with their amounts in quotes, like memory: "8Gi"'
VARIABLE = "must be the name of an environment variable: letters, digits and '_'"
VOLUME_NAME = "must be a name of lower-case letters, digits and '-' that the operator does not use itself"
MOUNT_PATH = "must be an absolute path like /scratch, outside of /workspace"
MOUNT_OF_NOTHING = "a mount names a volume of the same override; add it to volumes"
KINDS_OF_VOLUMES = "write exactly one of emptyDir and persistentVolumeClaim; other kinds of volumes cannot be set here"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
POOL = {"key": "example.com/pool", "operator": "In", "values": ["gpu"]}
SCRATCH = {"name": "scratch", "emptyDir": {}}


def member(path: str, given: Json, name: str, good: Sequence[Any], bad: Sequence[Any], says: str) -> list[Case]:
    """One field of an object whose other fields are given."""
    field = f"{path}.{name}".replace("[]", "")
    return [
        *(Accepted(field, at(path, given | {name: value})) for value in good),
        *(Refused(field, at(path, given | {name: value}), says) for value in bad),
    ]


def label_map(path: str) -> list[Case]:
    return [
        *accepts(path, {}, {"example.com/pool": "gpu-1", "zone": ""}, {f"k{i}": "v" for i in range(16)}),
        *refuses(path, LABELS, {"a b": "x"}, {"a": "x y"}, {"/a": "x"}, {"a": "-x"}),
        *refuses(path, "must have at most 16 items", {f"k{i}": "v" for i in range(17)}),
        *refuses(path, "must be of type string", {"a": True}),
        *refuses(path, "may not be more than 63", {"a": "x" * 64}),
    ]


NODE_VALUES = "In and NotIn need values, Gt and Lt one integer, Exists and DoesNotExist have no values"
POD_VALUES = "In and NotIn need values, Exists and DoesNotExist have none"
SELECTOR_MISSING = "matchLabelKeys narrows a labelSelector: add one, or remove matchLabelKeys"
VALUES: Json = {"In": ["a", "b"], "NotIn": ["a"], "Exists": None, "DoesNotExist": None, "Gt": ["40"], "Lt": ["40"]}


def requirement(operator: str, values: list[str] | None) -> Json:
    return {"key": "zone", "operator": operator, **({} if values is None else {"values": values})}


def requirements(path: str, *operators: str) -> list[Case]:
    """A list of requirements on labels, at `path` without brackets."""
    one, says = f"{path}[]", NODE_VALUES if "Gt" in operators else POD_VALUES
    wrong = [requirement(each, None if VALUES[each] else ["a"]) for each in operators]
    wrong += [requirement(each, values) for each in ("Gt", "Lt") if each in operators for values in (["1", "2"], ["a"])]
    return [
        *accepts(path, *([requirement(each, VALUES[each])] for each in operators)),
        *refuses(path, says, *([each] for each in wrong)),
        *member(one, POOL, "key", ["zone"], ["a b", "a/"], LABEL),
        *member(one, POOL, "operator", ["In", "NotIn"], ["in"], "Unsupported value"),
        *member(one, POOL, "values", [["a", ""], ["v"] * 32], [["a b"]], LABEL_VALUE),
        *member(one, POOL, "values", [], [["v"] * 33], "must have at most 32 items"),
        *refuses(path, "must have at most 8 items", [POOL] * 9),
        *refuses(path, "should have at least 1 items", []),
    ]


def label_selector(path: str, given: Json) -> list[Case]:
    """A selector that is a field of a term with other fields."""
    cases = [
        *label_map(f"{path}.matchLabels"),
        *requirements(f"{path}.matchExpressions", "In", "NotIn", "Exists", "DoesNotExist"),
    ]
    for case in cases:
        _merge_into_item(case.patch, path.rpartition(".")[0], given)
    return cases


def _merge_into_item(patch: Json, path: str, given: Json) -> None:
    node: Any = patch
    for name in path.split("."):
        node = node[name.removesuffix("[]")]
        node = node[0] if name.endswith("[]") else node
    node.update(given | node)


def pod_terms(path: str) -> list[Case]:
    """`podAffinity` or `podAntiAffinity`."""
    term = {"topologyKey": "kubernetes.io/hostname"}
    weighted = f"{path}.{PREFERRED}[]"
    cases = [
        *member(weighted, {"podAffinityTerm": term}, "weight", [1, 100], [0], "greater than or equal to 1"),
        *member(weighted, {"podAffinityTerm": term}, "weight", [], [101], "less than or equal to 100"),
        *refuses(f"{path}.{REQUIRED}", "must have at most 8 items", [term] * 9),
        *refuses(f"{path}.{PREFERRED}", "must have at most 8 items", [{"weight": 1, "podAffinityTerm": term}] * 9),
    ]
    required, preferred = pod_term(f"{path}.{REQUIRED}[]"), pod_term(f"{weighted}.podAffinityTerm")
    for case in preferred:
        _merge_into_item(case.patch, weighted, {"weight": 1})
    return [*cases, *required, *preferred]


def pod_term(path: str) -> list[Case]:
    term: Json = {"topologyKey": "kubernetes.io/hostname"}
    selecting = term | {"labelSelector": {"matchLabels": {"team": "hr"}}}
    return [
        *member(path, term, "topologyKey", ["topology.kubernetes.io/zone"], ["a b"], LABEL),
        *member(path, selecting, "matchLabelKeys", [["vernacular.dev/job-uid"]], [["a b"]], LABEL),
        *member(path, selecting, "matchLabelKeys", [["a"] * 8], [["a"] * 9], "must have at most 8 items"),
        *member(path, term, "matchLabelKeys", [], [["a"]], SELECTOR_MISSING),
        *member(path, term, "namespaces", [["other"]], [["Other"], ["a.b"]], "must be the name of a namespace"),
        *member(path, term, "namespaces", [["a"] * 16], [["a"] * 17], "must have at most 16 items"),
        *label_selector(f"{path}.labelSelector", term),
        *label_selector(f"{path}.namespaceSelector", term),
    ]


def node_affinity(path: str) -> list[Case]:
    terms = f"{path}.{REQUIRED}.nodeSelectorTerms"
    operators = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
    term = {"matchExpressions": [POOL]}
    weighted = f"{path}.{PREFERRED}[]"
    preferred = requirements(f"{weighted}.preference.matchExpressions", *operators)
    for case in preferred:
        _merge_into_item(case.patch, weighted, {"weight": 1})
    return [
        *requirements(f"{terms}[].matchExpressions", *operators),
        *refuses(terms, "must have at most 8 items", [term] * 9),
        *refuses(terms, "should have at least 1 items", []),
        *preferred,
        *member(weighted, {"preference": term}, "weight", [1, 100], [0], "greater than or equal to 1"),
        *member(weighted, {"preference": term}, "weight", [], [101], "less than or equal to 100"),
        *refuses(f"{path}.{PREFERRED}", "must have at most 8 items", [{"weight": 1, "preference": term}] * 9),
    ]


def tolerations(path: str) -> list[Case]:
    one, no_execute = f"{path}[]", {"key": "a", "effect": "NoExecute"}
    seconds = "tolerationSeconds belongs to effect NoExecute; remove it, or set effect: NoExecute"
    every = "without a key the toleration is for every taint: write operator: Exists, or a key"
    value = "value belongs to operator Equal; remove it, or set operator: Equal"
    return [
        *member(one, {"operator": "Exists"}, "key", ["nvidia.com/gpu"], ["a b"], LABEL),
        *member(one, {"key": "a"}, "operator", ["Exists", "Equal"], ["exists"], "Unsupported value"),
        *member(one, {}, "operator", ["Exists"], ["Equal"], every),
        *member(one, {"key": "a"}, "value", ["gpu", ""], ["a b"], LABEL_VALUE),
        *member(one, {"key": "a", "operator": "Exists"}, "value", [], ["gpu"], value),
        *member(
            one, {"key": "a"}, "effect", ["NoSchedule", "PreferNoSchedule", "NoExecute"], ["x"], "Unsupported value"
        ),
        *member(one, no_execute, "tolerationSeconds", [0, 2**31 - 1], [-1], "greater than or equal to 0"),
        *member(one, no_execute, "tolerationSeconds", [], [2**31], "less than or equal to 2147483647"),
        *member(one, {"key": "a"}, "tolerationSeconds", [], [5], seconds),
        *refuses(path, "must have at most 16 items", [{"key": f"k{i}"} for i in range(17)]),
        *refuses(path, "should have at least 1 items", []),
    ]


def environment(path: str) -> list[Case]:
    one = f"{path}[]"
    return [
        *member(one, {"value": ""}, "name", ["NCCL_DEBUG", "_a1"], ["1A", "A-B", "A=B"], VARIABLE),
        *member(one, {"value": ""}, "name", [], ["A" * 129], "may not be more than 128"),
        *member(one, {"name": "A"}, "value", ["", "a b$(C)", "x" * 1024], ["x" * 1025], "may not be more than 1024"),
        *refuses(path, "Duplicate value", [{"name": "A", "value": "1"}] * 2),
        *refuses(path, "must have at most 32 items", [{"name": f"A{i}", "value": ""} for i in range(33)]),
        *refuses(path, "[0].value: Required value", [{"name": "A"}]),
    ]


def volumes(path: str) -> list[Case]:
    one = f"{path}[]"
    own = ["workspace", "job", "tmp", "shm", "questions", "model-cache", "claim-0", "train-12", "model-credentials"]
    claim = {"claimName": "c"}
    return [
        *member(one, {"emptyDir": {}}, "name", ["scratch", "claim", "train-x"], ["S", "-a", *own], VOLUME_NAME),
        *member(f"{one}.emptyDir", {}, "medium", ["Memory"], ["RAM"], "Unsupported value"),
        *member(f"{one}.emptyDir", {}, "sizeLimit", ["10Gi"], ["big", "0"], "must be a size above 0"),
        *member(f"{one}.persistentVolumeClaim", claim, "claimName", ["data"], ["Data"], OBJECT_NAME),
        *member(f"{one}.persistentVolumeClaim", claim, "readOnly", [True, False], ["yes"], "must be of type boolean"),
        *refuses(path, KINDS_OF_VOLUMES, [{"name": "a"}], [SCRATCH | {"persistentVolumeClaim": claim}]),
        *refuses(path, "Duplicate value", [SCRATCH] * 2),
        *refuses(path, "must have at most 8 items", [SCRATCH | {"name": f"v{i}"} for i in range(9)]),
    ]


def _named(cases: list[Case]) -> list[Case]:
    """Volumes in list items need their name."""
    for case in cases:
        for volume in case.patch["podOverrides"][0]["volumes"]:
            if case.field.startswith(("podOverrides.volumes.emptyDir", "podOverrides.volumes.persistent")):
                volume.setdefault("name", "scratch")
    return cases


def volume_mounts(path: str) -> list[Case]:
    one, mount = f"{path}[]", {"name": "scratch", "mountPath": "/scratch"}
    bad = ["scratch", "/", "/a/../b", "/workspace", "/workspace/x", "/secrets/x", "/etc", "/dev/shm", "/a/"]
    cases = [
        *member(one, mount, "name", ["scratch"], ["other"], MOUNT_OF_NOTHING),
        *member(one, mount, "name", [], ["workspace", "job"], VOLUME_NAME),
        *member(one, mount, "mountPath", ["/scratch", "/opt/x.d/y"], [path for path in bad if path != "/"], MOUNT_PATH),
        *member(one, mount, "mountPath", [], ["/"], "at least 2 chars long"),
        *member(one, mount, "readOnly", [True, False], [1], "must be of type boolean"),
        *refuses(path, "must have at most 8 items", [mount] * 9),
    ]
    for case in cases:
        case.patch["podOverrides"][0]["volumes"] = [SCRATCH]
    return cases


def resources(path: str) -> list[Case]:
    return [
        *accepts(path, {"memory": "8Gi", "cpu": "500m", "example.com/nic": "1"}, {"cpu": "0"}),
        *refuses(path, RESOURCES, {"memory": "8GiB"}, {"cpu": "-1"}, {"a b": "1"}),
        *refuses(path, "must be of type string", {"cpu": 4}),
        *refuses(path, "must have at most 16 items", {f"a{i}": "1" for i in range(17)}),
    ]


def own_names() -> list[Case]:
    labels = ("vernacular.dev/stage", "app.kubernetes.io/name", "batch.kubernetes.io/x", "job-name", "controller-uid")
    profile = "container.apparmor.security.beta.kubernetes.io/stage"
    return [
        *refuses(f"{ONE}.labels", OWN_LABELS, *({name: "x"} for name in labels)),
        *accepts(f"{ONE}.annotations", {"k8s.v1.cni.cncf.io/networks": "rdma@eth1", "a": "x" * 1024}),
        *refuses(f"{ONE}.annotations", ANNOTATIONS, {"a b": "x"}),
        *refuses(f"{ONE}.annotations", OWN_ANNOTATIONS, {"vernacular.dev/job": "{}"}, {profile: "unconfined"}),
        *refuses(f"{ONE}.annotations", "may not be more than 1024", {"a": "x" * 1025}),
    ]


POD_OVERRIDES: list[Case] = [
    *accepts(f"{ONE}.stages", ["Train"], ["Prepare", "Train", "Evaluate", "Publish"]),
    *refuses(f"{ONE}.stages", "Unsupported value", ["train"]),
    *refuses(f"{ONE}.stages", "must have at most 4 items", ["Train"] * 5),
    *refuses(f"{ONE}.stages", "should have at least 1 items", []),
    *accepts("podOverrides", [{}], [{}] * 8),
    *refuses("podOverrides", "must have at most 8 items", [{}] * 9),
    *refuses("podOverrides", "should have at least 1 items", []),
    *label_map(f"{ONE}.nodeSelector"),
    *label_map(f"{ONE}.labels"),
    *own_names(),
    *tolerations(f"{ONE}.tolerations"),
    *node_affinity(f"{AFFINITY}.nodeAffinity"),
    *pod_terms(f"{AFFINITY}.podAffinity"),
    *pod_terms(f"{AFFINITY}.podAntiAffinity"),
    *text(f"{ONE}.priorityClassName", 253, ("high",), ("High_1",), OBJECT_NAME),
    *text(f"{ONE}.schedulerName", 253, ("volcano",), ("Volcano_1",), OBJECT_NAME),
    *text(f"{ONE}.serviceAccountName", 253, ("s3-reader",), ("S3_reader",), OBJECT_NAME),
    *member(f"{ONE}.imagePullSecrets[]", {}, "name", ["registry"], ["Registry"], OBJECT_NAME),
    *refuses(f"{ONE}.imagePullSecrets", "must have at most 8 items", [{"name": f"a{i}"} for i in range(9)]),
    *resources(f"{ONE}.resources.requests"),
    *resources(f"{ONE}.resources.limits"),
    *environment(f"{ONE}.env"),
    *_named(volumes(f"{ONE}.volumes")),
    *volume_mounts(f"{ONE}.volumeMounts"),
]
