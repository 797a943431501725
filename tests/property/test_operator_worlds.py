"""Random worlds: whatever pods, nodes, users, MLflow and crashes of the operator do, the rules of a job hold."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.simulated_cluster import USER_ERROR, Cluster
from support.worlds import preempted_report
from vernacular.api import ConditionStatus, ConditionType, JobState, Stage
from vernacular_operator.domain.reconcile import reconcile

TERMINAL = (ConditionType.COMPLETE, ConditionType.FAILED)
ROUNDS = 400


class Worlds(RuleBasedStateMachine):
    """Every rule is something that may happen at any time."""

    cluster: Cluster
    max_restarts: int

    @initialize(pods=st.integers(1, 3), max_restarts=st.integers(0, 3))
    def a_new_job(self, pods: int, max_restarts: int) -> None:
        self.cluster = Cluster.with_job(pods, max_restarts)
        self.max_restarts = max_restarts

    @rule(crash_after=st.none() | st.integers(0, 4))
    def the_operator_looks(self, crash_after: int | None) -> None:
        terminal = self._terminal()
        plan = reconcile(self.cluster.snapshot(), self.cluster.now)
        if terminal:
            assert (plan.create, plan.delete, plan.events) == ((), (), ())
        self.cluster.execute(plan, crash_after)
        if terminal:
            assert self._terminal() == terminal

    @rule()
    def controllers_and_kubelets_work(self) -> None:
        self.cluster.control_jobs()
        self.cluster.run_pods()

    @rule(seconds=st.sampled_from([1, 10, 60, 400]))
    def time_goes_by(self, seconds: int) -> None:
        self.cluster.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data())
    def a_pod_succeeds(self, data: st.DataObject) -> None:
        self.cluster.succeed_pod(data.draw(st.sampled_from(self.cluster.running())))

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data(), code=st.sampled_from([1, 78, 85, 137, 203]), step=st.integers(0, 40))
    def a_pod_fails(self, data: st.DataObject, code: int, step: int) -> None:
        reports = {78: USER_ERROR, 85: preempted_report(step)}
        report = data.draw(st.sampled_from([reports.get(code), None]))
        reason = "OOMKilled" if code == 137 else "Error"
        self.cluster.end_pod(data.draw(st.sampled_from(self.cluster.running())), code, report, reason)

    @precondition(lambda self: self.cluster.running())
    @rule(data=st.data())
    def a_node_is_lost(self, data: st.DataObject) -> None:
        self.cluster.lose_node(data.draw(st.sampled_from(self.cluster.running())))

    @precondition(lambda self: self.cluster.jobs)
    @rule(data=st.data())
    def someone_deletes_a_job(self, data: st.DataObject) -> None:
        del self.cluster.jobs[data.draw(st.sampled_from(sorted(self.cluster.jobs)))]

    @rule(value=st.booleans())
    def the_user_suspends_or_resumes(self, value: bool) -> None:
        self.cluster.suspend(value)

    @rule(up=st.booleans())
    def mlflow_comes_or_goes(self, up: bool) -> None:
        self.cluster.mlflow_up = up

    @invariant()
    def never_two_attempts_at_once(self) -> None:
        assert len(self.cluster.live_attempts()) <= 1, self.cluster.live_attempts()

    @invariant()
    def no_name_is_ever_used_twice(self) -> None:
        assert len(self.cluster.made) == len(set(self.cluster.made))

    @invariant()
    def the_budget_holds(self) -> None:
        usage = self.cluster.job.status.usage
        assert usage is None or usage.restarts <= self.max_restarts

    @invariant()
    def complete_and_failed_exclude_each_other(self) -> None:
        assert len(self._terminal()) <= 1

    def teardown(self) -> None:
        """Once the world is calm the job ends, and nothing is left to do."""
        cluster = self.cluster
        cluster.suspend(False)
        cluster.mlflow_up = True
        for _ in range(ROUNDS):
            cluster.execute(reconcile(cluster.snapshot(), cluster.now))
            cluster.control_jobs()
            cluster.run_pods()
            for uid in cluster.running():
                cluster.succeed_pod(uid)
            cluster.now += timedelta(seconds=20)
            if self._terminal():
                break
        assert self._terminal(), cluster.job.status
        status = cluster.job.status
        assert (status.state == JobState.SUCCEEDED) == (self._terminal() == {ConditionType.COMPLETE})
        again = reconcile(cluster.snapshot(), cluster.now)
        assert (again.status, again.create, again.delete, again.events) == (status, (), (), ())
        if status.state == JobState.SUCCEEDED:
            assert [item.name for item in status.stages] == list(Stage)

    def _terminal(self) -> set[ConditionType]:
        conditions = self.cluster.job.status.conditions
        return {item.type for item in conditions if item.type in TERMINAL and item.status == ConditionStatus.TRUE}


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
