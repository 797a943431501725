"""The whole runtime in random worlds: crashes between any two calls, late, lost and repeated events, refused calls.

The judge is the one of the chaos tests on a real API server.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from support.invariants import Invariants
from support.job_life import Life
from support.mlflow_truth import untrue_runs
from support.simulated_api import Store, Trouble
from support.simulated_kubelet import preempted
from support.simulated_mlflow import Tracking
from support.simulated_operator import STREAMS, SimulatedOperator
from support.simulated_workloads import USER_ERROR, Workloads
from support.virtual_time import VirtualLoop

NAMES = ("one", "two")
ROUNDS = 200
_data = st.data()


class Chaos(RuleBasedStateMachine):
    """Every rule is something that may happen at any time."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.loop = VirtualLoop()
        self.tracking = Tracking()
        # time jumps by minutes here: how old a claim about the present may be says nothing
        self.judge = Invariants(self.tracking.server.runs_of, stale_seconds=math.inf)
        self.store = Store(self.loop, lambda change: self.judge.take([change]))
        self.workloads = Workloads(self.store)
        self.operator = SimulatedOperator(self.store, self.tracking)

    @initialize(
        pods=st.integers(1, 2),
        gpus=st.sampled_from([0, 2]),
        max_restarts=st.integers(0, 3),
        rounds=st.integers(0, 6),
        limits=st.sampled_from([{}, {}, {"ttlSecondsAfterFinished": 30}, {"activeDeadlineSeconds": 90}]),
    )
    def a_job_somewhere_in_its_life(
        self, pods: int, gpus: int, max_restarts: int, rounds: int, limits: dict[str, int]
    ) -> None:
        self.spec: dict[str, Any] = {
            "model": {"uri": "pvc://models/tiny"},
            "dataset": {"train": [{"configMap": {"name": "data", "key": "train.jsonl"}}]},
            "compute": {"pods": pods, "gpusPerPod": gpus},
            "storage": {"workspace": {"accessMode": "ReadWriteMany"}},
            "runPolicy": {"maxRestarts": max_restarts, **limits},
        }
        self._create(NAMES[0])
        self.operator.start()
        self._go_on(2)
        self.all_works_well(rounds)

    @rule(rounds=st.integers(1, 3))
    def all_works_well(self, rounds: int) -> None:
        for _ in range(rounds):
            self.workloads.control()
            self.workloads.run_pods()
            self._go_on(2)
            for name in self.workloads.running():
                self.workloads.succeed(name)
            self.workloads.control()
            self._go_on(10)

    @rule(seconds=st.sampled_from([0.005, 0.1, 1, 15, 60, 400]))
    def time_goes_by(self, seconds: float) -> None:
        self._go_on(seconds)

    @rule(passes=st.integers(1, 3))
    def controllers_and_kubelets_work(self, passes: int) -> None:
        for _ in range(passes):
            self.workloads.control()
            self.workloads.run_pods()
        self._go_on(1)

    @rule(number=st.integers(0, 8), trouble=st.sampled_from(Trouble))
    def a_call_goes_wrong(self, number: int, trouble: Trouble) -> None:
        if not self.operator.dead:
            self.operator.api.trap = (number, trouble)

    @rule()
    def the_operator_crashes(self) -> None:
        self.operator.crash()

    @precondition(lambda self: self.operator.dead)
    @rule()
    def the_operator_starts(self) -> None:
        self.operator.crash()
        self.operator.start()
        self._go_on(1)

    @rule(stream=st.sampled_from(STREAMS))
    def a_watch_stands_still(self, stream: str) -> None:
        self.operator.blind.add(stream)

    @rule(stream=st.sampled_from(STREAMS))
    def a_watch_goes_on(self, stream: str) -> None:
        self.operator.blind.discard(stream)
        self._go_on(1)

    @rule(stream=st.sampled_from(STREAMS))
    def a_watch_breaks(self, stream: str) -> None:
        self.operator.relist(stream)
        self._go_on(1)

    @precondition(lambda self: not self.operator.dead)
    @rule(stream=st.sampled_from(STREAMS), count=st.integers(1, 5))
    def events_come_again(self, stream: str, count: int) -> None:
        self.loop.within(lambda: self.operator.tell_again(stream, count))

    @precondition(lambda self: self.workloads.running())
    @rule(data=_data)
    def a_pod_succeeds(self, data: st.DataObject) -> None:
        self.workloads.succeed(self._pod(data))
        self.workloads.control()
        self._go_on(1)

    @precondition(lambda self: self.workloads.running())
    @rule(data=_data, code=st.sampled_from([1, 78, 85, 137, 203]), step=st.integers(0, 40))
    def a_pod_fails(self, data: st.DataObject, code: int, step: int) -> None:
        report = {78: USER_ERROR, 85: preempted(step)}.get(code)
        self.workloads.end(self._pod(data), code, report, "OOMKilled" if code == 137 else "Error")

    @precondition(lambda self: self.workloads.running())
    @rule(data=_data)
    def a_pod_is_evicted(self, data: st.DataObject) -> None:
        self.workloads.mark([self.store.objects["pods", self._pod(data)]])

    @precondition(lambda self: self.workloads.running())
    @rule(data=_data)
    def a_node_is_lost(self, data: st.DataObject) -> None:
        self.workloads.lose_node(self._pod(data))

    @precondition(lambda self: self.workloads.running())
    @rule(data=_data)
    def a_pod_vanishes(self, data: st.DataObject) -> None:
        self.workloads.force_delete(self._pod(data))

    @precondition(lambda self: self.store.list("jobs"))
    @rule(data=_data)
    def someone_deletes_a_job(self, data: st.DataObject) -> None:
        names = sorted(item["metadata"]["name"] for item in self.store.list("jobs"))
        self.store.remove("jobs", data.draw(st.sampled_from(names)))

    @rule(name=st.sampled_from(NAMES), value=st.booleans())
    def the_user_suspends_or_resumes(self, name: str, value: bool) -> None:
        if self.store.find("finetunejobs", name):
            self.workloads.suspend(name, value)

    @rule(name=st.sampled_from(NAMES))
    def the_user_creates(self, name: str) -> None:
        if not self.store.find("finetunejobs", name):
            self._create(name)

    @rule(name=st.sampled_from(NAMES))
    def the_user_deletes(self, name: str) -> None:
        if self.store.find("finetunejobs", name):
            self.store.remove("finetunejobs", name)

    @rule(up=st.booleans(), seconds=st.sampled_from([0.01, 2, 45]))
    def mlflow_comes_or_goes(self, up: bool, seconds: float) -> None:
        self.tracking.up, self.tracking.seconds = up, seconds

    @rule(seconds=st.sampled_from([0.01, 3, 45]))
    def mlflow_opens_runs_late(self, seconds: float) -> None:
        self.tracking.late = {"runs/create": seconds}

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        super().check_invariants(*args, **kwargs)
        self.judge.check()

    def teardown(self) -> None:
        """Once the world is calm every job ends, nothing of deleted ones is left, and nothing is done any more."""
        try:
            if hasattr(self, "spec"):
                self._calm_down()
        finally:
            self.operator.crash()
            self.loop.stop_all()
            logging.disable(logging.NOTSET)

    def _calm_down(self) -> None:
        self.operator.blind.clear()
        self.tracking.up, self.tracking.seconds, self.tracking.late = True, 0.01, {}
        for job in self.store.list("finetunejobs"):
            self.workloads.suspend(job["metadata"]["name"], False)
        if self.operator.dead:
            self.operator.crash()
            self.operator.start()
        self.operator.api.trap = None
        self._until(lambda: [life for life in self._lives() if not (life.deleted or life.terminal)])
        # an operator that has nothing to start any more leaves pods of lost nodes to the cluster
        self.workloads.give_up_nodes()
        self._until(lambda: [life for life in self._lives() if life.live()])
        self.judge.check()
        self._until(lambda: [life for life in self._lives() if not life.deleted and _goes_by_itself(life)])
        self.all_works_well(2)
        version = self.store.version
        self._go_on(900)
        assert self.store.version == version, "something is written when all is done"
        assert not self._untrue_runs(), self._untrue_runs()

    def _until(self, left: Callable[[], list[Life]]) -> None:
        for _ in range(ROUNDS):
            self.all_works_well(1)
            if not left():
                return
        raise AssertionError("\n\n".join("\n  ".join([life.name, *life.trace]) for life in left()))

    def _lives(self) -> list[Life]:
        return [life for life in self.judge.lives.values() if life.document]

    def _untrue_runs(self) -> list[str]:
        return [text for life in self.judge.lives.values() for text in untrue_runs(life, self.tracking.server)]

    def _go_on(self, seconds: float) -> None:
        """Events are told at the start and the end, and a few times between."""
        parts = 4
        for _ in range(parts):
            self.loop.within(self.operator.look)
            self.loop.pass_time(seconds / parts)
        self.loop.within(self.operator.look)

    def _create(self, name: str) -> None:
        body = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}}
        self.store.create("finetunejobs", {**body, "spec": self.spec})

    def _pod(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.workloads.running()))


def _goes_by_itself(life: Life) -> bool:
    unpublished = life.is_true("Trained") and not life.is_true("Published")
    return "ttlSecondsAfterFinished" in life.document["spec"]["runPolicy"] and not unpublished


SETTINGS = settings(
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class MuchChaos(Chaos):
    """The same, for longer."""


TestChaos = pytest.mark.slow(Chaos.TestCase)
# the same worlds every time: new ones are looked for by the long tests, where a find holds nothing up
TestChaos.settings = settings(SETTINGS, max_examples=40, derandomize=True)
TestMuchChaos = pytest.mark.long(MuchChaos.TestCase)
TestMuchChaos.settings = settings(SETTINGS, max_examples=600)
