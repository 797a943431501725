"""Merging `podOverrides` into pod templates, and what a job may set in them."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from support.worlds import NOW, config, fine_tune_job, world
from vernacular.api import ConditionType, FailureCode, Stage
from vernacular.api.pod_overrides import PodOverride
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt
from vernacular_operator.manifests.pod_overrides import merged, overrides_of
from vernacular_operator.manifests.quantities import amount

Json = dict[str, Any]
OVERRIDES = TypeAdapter(tuple[PodOverride, ...])


def template() -> Json:
    return {
        "metadata": {"labels": {"own": "1"}, "annotations": {"vernacular.dev/job": "{}"}},
        "spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [
                {
                    "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                    "resources": {"requests": {"memory": "2Gi", "cpu": "1"}, "limits": {"memory": "4Gi"}},
                    "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
                }
            ],
            "volumes": [
                {"name": "workspace", "persistentVolumeClaim": {"claimName": "w"}},
                {"name": "claim-0", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
            ],
        },
    }


def merge(*overrides: Json) -> Json:
    return merged(template(), OVERRIDES.validate_python(overrides))


def container(pod: Json) -> Json:
    found: Json = pod["spec"]["containers"][0]
    return found


def test_without_overrides_nothing_changes_and_the_template_is_never_touched() -> None:
    original = template()
    before = copy.deepcopy(original)

    assert merged(original, ()) == before
    merged(original, OVERRIDES.validate_python([{"labels": {"own": "2"}, "resources": {"limits": {"memory": "1Gi"}}}]))
    assert original == before


def test_maps_are_merged_by_key_and_the_later_override_wins() -> None:
    pod = merge(
        {"labels": {"team": "hr", "own": "2"}, "nodeSelector": {"pool": "a", "zone": "1"}},
        {"annotations": {"note": "x"}, "nodeSelector": {"pool": "b"}},
    )

    assert pod["metadata"]["labels"] == {"own": "2", "team": "hr"}
    assert pod["metadata"]["annotations"] == {"vernacular.dev/job": "{}", "note": "x"}
    assert pod["spec"]["nodeSelector"] == {"pool": "b", "zone": "1"}


def test_single_values_are_replaced() -> None:
    pod = merge(
        {"priorityClassName": "low", "schedulerName": "volcano", "serviceAccountName": "a"},
        {"priorityClassName": "high"},
    )

    assert (pod["spec"]["priorityClassName"], pod["spec"]["schedulerName"]) == ("high", "volcano")
    assert pod["spec"]["serviceAccountName"] == "a"


def test_tolerations_are_added_and_one_of_the_same_taint_is_replaced() -> None:
    pod = merge(
        {"tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]},
        {"tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]},
    )

    assert pod["spec"]["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    ]


def test_affinities_are_merged_and_their_lists_replaced() -> None:
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}
    far = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "host"}]}}
    rack = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "rack"}]}}

    assert merge({"affinity": near}, {"affinity": far}, {"affinity": rack})["spec"]["affinity"] == rack | far


def test_named_lists_are_merged_by_name() -> None:
    pod = merge(
        {"env": [{"name": "A", "value": "1"}], "imagePullSecrets": [{"name": "x"}]},
        {"env": [{"name": "B", "value": ""}, {"name": "A", "value": "2"}], "imagePullSecrets": [{"name": "x"}]},
        {"env": [{"name": "NODE_NAME", "value": "n"}], "imagePullSecrets": [{"name": "y"}]},
    )

    assert container(pod)["env"] == [
        {"name": "NODE_NAME", "value": "n"},
        {"name": "A", "value": "2"},
        {"name": "B", "value": ""},
    ]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "x"}, {"name": "y"}]


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        pytest.param(
            {"requests": {"memory": "3Gi"}},
            {"requests": {"memory": "3Gi", "cpu": "1"}, "limits": {"memory": "4Gi"}},
            id="within the limit",
        ),
        pytest.param(
            {"requests": {"memory": "8Gi"}},
            {"requests": {"memory": "8Gi", "cpu": "1"}, "limits": {"memory": "8Gi"}},
            id="a request raises the limit of a lower layer",
        ),
        pytest.param(
            {"limits": {"memory": "500M", "cpu": "250m"}},
            {"requests": {"memory": "500M", "cpu": "250m"}, "limits": {"memory": "500M", "cpu": "250m"}},
            id="a limit lowers the request of a lower layer",
        ),
        pytest.param(
            {"requests": {"memory": "8Gi"}, "limits": {"memory": "6Gi"}},
            {"requests": {"memory": "8Gi", "cpu": "1"}, "limits": {"memory": "6Gi"}},
            id="a contradiction of the user's own is left to the API server, which names it",
        ),
    ],
)
def test_resources_of_a_lower_layer_give_way(patch: Json, result: Json) -> None:
    assert container(merge({"resources": patch}))["resources"] == result


def test_volumes_are_merged_by_name_and_mounts_by_path() -> None:
    mount = {"name": "scratch", "mountPath": "/scratch"}
    pod = merge(
        {"volumes": [{"name": "scratch", "emptyDir": {}}], "volumeMounts": [mount]},
        {
            "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
            "volumeMounts": [mount | {"readOnly": True}],
        },
    )

    assert pod["spec"]["volumes"][2:] == [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}]
    assert container(pod)["volumeMounts"][1:] == [{"name": "scratch", "mountPath": "/scratch", "readOnly": True}]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_claim_that_the_pod_has_already_is_not_a_second_volume(read_only: bool) -> None:
    source = {"claimName": "models", "readOnly": read_only}
    pod = merge(
        {
            "volumes": [{"name": "mine", "persistentVolumeClaim": source}],
            "volumeMounts": [{"name": "mine", "mountPath": "/models"}],
        }
    )

    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["workspace", "claim-0"]
    assert pod["spec"]["volumes"][1]["persistentVolumeClaim"].get("readOnly", False) == read_only
    assert container(pod)["volumeMounts"][-1] == {"name": "claim-0", "mountPath": "/models", "readOnly": False}


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", "1"), ("500m", "0.5"), ("1.5Gi", "1610612736"), ("2k", "2000"), ("1e3", "1000"), ("100n", "1e-7")],
)
def test_quantities(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


def test_what_is_no_quantity_says_so() -> None:
    with pytest.raises(ValueError, match="'1GiB' is no quantity"):
        amount("1GiB")


def test_overrides_reach_the_pods_of_their_stages_alone() -> None:
    job = fine_tune_job(
        podOverrides=[
            {"labels": {"all": "1"}},
            {"stages": ["Prepare", "Publish"], "labels": {"cpu": "1"}},
            {"stages": ["Train"], "labels": {"gpu": "1"}},
        ]
    )

    def labels(stage: Stage) -> set[str]:
        manifest = stage_job(Attempt(job, stage, 1), config())
        assert not {"all", "cpu", "gpu"} & set(manifest["metadata"]["labels"])
        return {"all", "cpu", "gpu"} & set(manifest["spec"]["template"]["metadata"]["labels"])

    assert {stage: labels(stage) for stage in Stage} == {
        Stage.PREPARE: {"all", "cpu"},
        Stage.TRAIN: {"all", "gpu"},
        Stage.EVALUATE: {"all"},
        Stage.PUBLISH: {"all", "cpu"},
    }
    assert len(overrides_of(job, Stage.EVALUATE)) == 1


ON_GPU_NODES = {
    "stages": ["Train"],
    "nodeSelector": {"pool": "gpu", "zone": "a"},
    "tolerations": [{"key": "gpu-nodes", "operator": "Exists"}],
    "priorityClassName": "high",
    "labels": {"gpu": "1"},
}


def pod_spec(stage: Stage, access_mode: str, *overrides: Json, **workspace: Any) -> Json:
    storage = {"workspace": workspace or {"accessMode": access_mode}}
    job = fine_tune_job(podOverrides=[ON_GPU_NODES, *overrides], storage=storage, compute={"gpusPerPod": 1})
    spec: Json = stage_job(Attempt(job, stage, 1), config())["spec"]["template"]["spec"]
    return spec


def tolerated(spec: Json) -> set[str]:
    return {item["key"] for item in spec["tolerations"]} & {"gpu-nodes", "nvidia.com/gpu"}


def test_prepare_makes_a_volume_of_one_zone_where_training_goes() -> None:
    spec = pod_spec(Stage.PREPARE, "ReadWriteOnce")

    assert spec["nodeSelector"] == {"pool": "gpu", "zone": "a"}
    assert tolerated(spec) == {"gpu-nodes", "nvidia.com/gpu"}
    assert "priorityClassName" not in spec
    assert "limits" not in spec["containers"][0]["resources"]


def test_prepare_goes_elsewhere_when_its_own_overrides_say_so() -> None:
    spec = pod_spec(Stage.PREPARE, "ReadWriteOnce", {"stages": ["Prepare"], "nodeSelector": {"pool": "cpu"}})

    assert spec["nodeSelector"] == {"pool": "cpu", "zone": "a"}


@pytest.mark.parametrize("stage", [Stage.EVALUATE, Stage.PUBLISH])
def test_later_stages_may_follow_the_volume_but_are_not_pinned(stage: Stage) -> None:
    spec = pod_spec(stage, "ReadWriteOnce")

    assert "nodeSelector" not in spec
    assert tolerated(spec) == {"gpu-nodes", "nvidia.com/gpu"}


@pytest.mark.parametrize("workspace", [{"accessMode": "ReadWriteMany"}, {"claimName": "mine"}])
def test_a_volume_that_every_node_can_use_or_that_exists_pins_nothing(workspace: Json) -> None:
    spec = pod_spec(Stage.PREPARE, "", **workspace)

    assert "nodeSelector" not in spec
    assert tolerated(spec) == set()


NOT_ALLOWED = [
    pytest.param({"env": [{"name": "A", "value": "1"}]}, "env", "config.podOverrides.env to true", id="env"),
    pytest.param(
        {"volumes": [{"name": "a", "emptyDir": {}}]}, "volumes", "config.podOverrides.volumes to true", id="volumes"
    ),
    pytest.param(
        {"serviceAccountName": "reader"},
        "serviceAccountName: reader",
        "config.podOverrides.serviceAccountNames",
        id="serviceAccountName",
    ),
    pytest.param({"resources": {"limits": {"nvidia.com/gpu": "8"}}}, "resources", "spec.compute.gpusPerPod", id="GPUs"),
]


@pytest.mark.parametrize(("override", "field", "ask"), NOT_ALLOWED)
def test_what_is_not_allowed_is_refused_with_the_field_and_what_to_ask_for(
    override: Json, field: str, ask: str
) -> None:
    plan = reconcile(world(fine_tune_job(podOverrides=[{"labels": {"a": "b"}}, override])), NOW)

    accepted = next(item for item in plan.status.conditions if item.type == ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", "OverrideNotAllowed")
    assert accepted.message.startswith(f"spec.podOverrides[1].{field}")
    assert ask in accepted.message
    assert plan.status.failure is not None
    assert plan.status.failure.code == FailureCode.OVERRIDE_NOT_ALLOWED
    assert plan.create == ()


@pytest.mark.parametrize("names", [["reader", "writer"], ["*"]])
def test_what_the_platform_team_allows_is_accepted(names: list[str]) -> None:
    override = {
        "env": [{"name": "A", "value": "1"}],
        "volumes": [{"name": "a", "emptyDir": {}}],
        "serviceAccountName": "reader",
    }
    allowed = {"env": True, "volumes": True, "serviceAccountNames": names}
    plan = reconcile(world(fine_tune_job(podOverrides=[override]), config=config(podOverrides=allowed)), NOW)

    (manifest,) = [item for item in plan.create if item["kind"] == "Job"]
    spec = manifest["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "reader"
    assert spec["automountServiceAccountToken"] is False
    assert {"name": "A", "value": "1"} in spec["containers"][0]["env"]
