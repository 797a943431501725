"""Why a claim has no volume, from the events about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.worlds import NOW, pod, until_stage
from vernacular.api import FailureCode, Stage
from vernacular_operator.domain.claim_events import trouble
from vernacular_operator.domain.reconcile import reconcile

UNBOUND = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: not helpful."
NO_CLASS = 'storageclass.storage.k8s.io "efs" not found'


def event(message: str, *, claim: str = "w", kind: str = "PersistentVolumeClaim", **changes: Any) -> dict[str, Any]:
    base = {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "involvedObject": {"kind": kind, "name": claim},
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": message,
    }
    return base | changes


WAITS = event("waiting for efs.csi.aws.com", type="Normal", reason="ExternalProvisioning")


@pytest.mark.parametrize(
    ("events", "says"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([event(NO_CLASS)], f"claim w: {NO_CLASS}", id="a warning"),
        pytest.param([event(NO_CLASS, claim="other")], "", id="about a claim of somebody else"),
        pytest.param([event(NO_CLASS, kind="Pod")], "", id="about a pod of this name"),
        pytest.param([WAITS], "claim w: waiting for efs.csi.aws.com", id="nobody makes it"),
        pytest.param([event(NO_CLASS), WAITS], f"claim w: {NO_CLASS}", id="a warning says more"),
        pytest.param([event("x", type="Normal", reason="WaitForFirstConsumer")], "", id="a usual wait"),
        pytest.param(
            [
                event("new", lastTimestamp="2026-01-03T00:00:00Z"),
                event("old", lastTimestamp="2026-01-02T00:00:00Z"),
                event("first"),
            ],
            "claim w: new",
            id="the newest",
        ),
        pytest.param(
            [event("old"), event("new", lastTimestamp=None, eventTime="2026-01-02T00:00:00.000000Z")],
            "claim w: new",
            id="events of the newer kind",
        ),
    ],
)  # fmt: skip
def test_what_is_told(events: list[dict[str, Any]], says: str) -> None:
    assert trouble(events, {"w", ""}) == says


def test_the_status_says_it_and_looks_again() -> None:
    waiting = pod(Stage.PREPARE, phase="Pending", running=False, unschedulable=UNBOUND, unschedulable_since=NOW)
    snapshot = replace(until_stage(Stage.PREPARE), pods=(waiting,))
    early = reconcile(snapshot, NOW)
    later = reconcile(replace(snapshot, volume_trouble=f"claim w: {NO_CLASS}"), NOW)

    assert early.status.reason == later.status.reason == FailureCode.VOLUME_NOT_BOUND
    assert early.requeue_seconds is not None
    assert early.requeue_seconds <= 15
    assert (later.status.message or "").endswith(f"claim w: {NO_CLASS}")
