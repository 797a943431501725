"""What is found wrong with a cluster, and what mends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from support.cli_jobs import NOW, TRAINING, job
from vernacular.cli.checkup import Health, Seen, field_names, findings
from vernacular.cli.screens.doctor import report

MOMENT = datetime.fromisoformat(NOW)
KNOWN = frozenset({"model", "training.epochs"})
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
NODE = {"status": {**READY, "allocatable": {"cpu": "8", "nvidia.com/gpu": "4", "hugepages-1Gi": "2"}}}
GOOD = Seen(
    namespace="demo",
    version="v1.37.2",
    served=True,
    fields=KNOWN,
    allowed=frozenset({"create", "get", "list", "watch", "patch", "delete"}),
    operators=[{"metadata": {"namespace": "vernacular"}, "status": READY}],
    jobs=[TRAINING],
    nodes=[NODE, NODE],
    classes=[{"metadata": {"name": "shared", "annotations": DEFAULT}}],
    mlflow="https://mlflow.example.org",
)


def test_a_cluster_that_is_ready() -> None:
    found = findings(GOOD, KNOWN, MOMENT)

    assert {item.health for item in found} == {Health.GOOD}
    assert "8 nvidia.com/gpu on 2 ready nodes" in [item.what for item in found]


@pytest.mark.parametrize(
    ("changes", "what", "advice"),
    [
        ({"served": False}, "does not know FineTuneJobs", "helm upgrade --install"),
        ({"fields": {"model"}}, "older than this command line: it lacks training.epochs", "upgrade the operator"),
        ({"fields": KNOWN | {"dream"}}, "is newer than this command line: it has dream", "upgrade the command line"),
        ({"allowed": frozenset({"list", "watch"})}, "you may not create, get, patch, delete Fine", "--namespace"),
        ({"operators": []}, "there is no operator", "helm upgrade --install"),
        ({"operators": [{"status": {}}]}, "no operator is ready", "kubectl describe pods"),
        ({"jobs": [job("forgotten", {})]}, "nobody has seen forgotten", "watchNamespaces"),
        ({"nodes": [{"status": {**READY, "allocatable": {"cpu": "8"}}}]}, "no GPUs on 1 ready node", "gpusPerPod: 0"),
        ({"nodes": [{"status": {"allocatable": {"nvidia.com/gpu": "4"}}}]}, "no GPUs on 0", "device plugin"),
        ({"classes": []}, "there is no storage class", "claimName"),
        ({"classes": [{"metadata": {"name": "shared"}}]}, "no storage class is the default", "one of shared"),
        ({"mlflow_trouble": "MLflow does not answer"}, "MLflow does not answer", "check its address"),
    ],
)  # fmt: skip
def test_what_is_wrong(changes: dict[str, Any], what: str, advice: str) -> None:
    (bad,) = [item for item in findings(replace(GOOD, **changes), KNOWN, MOMENT) if item.health is Health.BAD]

    assert what in bad.what
    assert advice in bad.advice


@pytest.mark.parametrize(
    "changes", [{"fields": None}, {"operators": None}, {"nodes": None}, {"classes": None}, {"mlflow": ""}]
)
def test_what_may_not_be_seen_is_not_wrong(changes: dict[str, Any]) -> None:
    found = findings(replace(GOOD, **changes), KNOWN, MOMENT)

    (unknown,) = [item for item in found if item.health is not Health.GOOD]
    assert unknown.health is Health.UNKNOWN
    assert unknown.advice


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        *((name, True) for name in ("nvidia.com/mig-1g.5gb", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")),
        *((name, False) for name in ("smarter-devices/fuse", "devices.kubevirt.io/kvm", "amd.com/cpu", "cpu")),
        ("example.org/npu", False),
    ],
)
def test_what_is_a_gpu(name: str, counts: bool) -> None:
    nodes = [{"status": {**READY, "allocatable": {name: "2"}}}]
    found = [item.what for item in findings(replace(GOOD, nodes=nodes), KNOWN, MOMENT)]

    assert (f"2 {name} on 1 ready node" in found) is counts


def test_what_a_job_takes_for_a_gpu_is_one() -> None:
    nodes = [{"status": {**READY, "allocatable": {"example.org/npu": "2"}}}]
    jobs = [job("a", TRAINING["status"], compute={"gpuResource": "example.org/npu"})]
    found = [item.what for item in findings(replace(GOOD, nodes=nodes, jobs=jobs), KNOWN, MOMENT)]

    assert "2 example.org/npu on 1 ready node" in found


def test_a_job_that_was_just_made_is_not_forgotten() -> None:
    new = job("new", {})
    new["metadata"]["creationTimestamp"] = NOW

    assert {item.health for item in findings(replace(GOOD, jobs=[new]), KNOWN, MOMENT)} == {Health.GOOD}


def test_fields_of_lists_count() -> None:
    schema = {"properties": {"train": {"items": {"properties": {"uri": {}}}}}}

    assert list(field_names(schema)) == ["train", "train.uri"]


def test_advice_stands_below_what_it_is_about() -> None:
    lines = report(findings(replace(GOOD, classes=[]), KNOWN, MOMENT), lambda text, _: text, 200)

    place = lines.index("✗ there is no storage class")
    assert lines[place + 1].startswith("    install a storage provisioner")
