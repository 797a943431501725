"""Fates of jobs under chaos: how their pods behave, what users do to them, and the one right end of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.apiserver import MERGE_PATCH, ApiError, ApiServer
from support.job_life import Life
from support.simulated_kubelet import Behaviour, fail, hold_until_stopped, preempted, report_of, succeed
from vernacular_trainer.contract import JobConfig, Outcome, Stage

Json = dict[str, Any]
Script = Callable[[JobConfig], Behaviour]


@dataclass(frozen=True)
class User:
    """Somebody with kubectl, in one namespace."""

    server: ApiServer
    namespace: str

    def create(self, name: str, spec: Json) -> None:
        body = {"apiVersion": "vernacular.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}}
        self.server.request("POST", self._jobs(), {**body, "spec": spec})

    def delete(self, name: str) -> None:
        self.server.request("DELETE", self._jobs(name))

    def suspend(self, name: str, value: bool) -> None:
        patch = {"spec": {"runPolicy": {"suspend": value}}}
        self.server.request("PATCH", self._jobs(name), patch, MERGE_PATCH)

    def delete_child(self, life: Life, stage: str) -> None:
        """Delete the running Job of a stage."""
        for job in life.jobs(stage):
            if job.live:
                path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{job.name}"
                self.server.request("DELETE", path, {"propagationPolicy": "Background"})

    def evict(self, life: Life) -> None:
        """Drain the pods of a job, as `kubectl drain` does."""
        for pod in _running_pods(life):
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
            self.server.request("POST", f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction", body)

    def force_delete(self, life: Life) -> None:
        """Delete pods without a grace period: nothing of them is left."""
        for pod in _running_pods(life):
            options = {"gracePeriodSeconds": 0}
            self.server.request("DELETE", f"/api/v1/namespaces/{self.namespace}/pods/{pod}", options)

    def _jobs(self, name: str = "") -> str:
        path = f"/apis/vernacular.dev/v1alpha1/namespaces/{self.namespace}/finetunejobs"
        return f"{path}/{name}" if name else path


@dataclass(frozen=True)
class Act:
    """Done once, when the job's life satisfies `when`. `operator_down`: only while no operator runs."""

    when: Callable[[Life], bool]
    do: Callable[[User, Life], None]
    operator_down: bool = False


@dataclass(frozen=True)
class End:
    """The right end. `state` "" : deleted. Ranges are inclusive; attempts are those of all stages together."""

    state: str = "Succeeded"
    code: str = ""
    restarts: tuple[int, int] = (0, 0)
    attempts: tuple[int, int] = (4, 4)


@dataclass
class Scenario:
    """One job. `incarnations`: how many jobs bear the name, one after the other; the last one's end is judged."""

    name: str
    script: Script
    end: End
    spec: Json = field(default_factory=dict)
    acts: Sequence[Act] = ()
    incarnations: int = 1

    @property
    def full_spec(self) -> Json:
        """What a user applies."""
        base = {
            "model": {"uri": "pvc://models/tiny"},
            "dataset": {"train": [{"configMap": {"name": "data", "key": "train.jsonl"}}]},
            "compute": {"gpusPerPod": 0},
        }
        return base | self.spec


def state_is(state: str) -> Callable[[Life], bool]:
    return lambda life: life.status.get("state") == state


def pod_runs(stage: str) -> Callable[[Life], bool]:
    return lambda life: any(pod for pod in life.children.values() if pod.stage == stage.lower() and pod.running)


def on_first(stage: Stage, behaviour: Behaviour, attempts: int = 1) -> Script:
    """This behaviour in the first attempts of a stage, success otherwise."""

    def script(config: JobConfig) -> Behaviour:
        return behaviour if config.stage == stage and config.attempt <= attempts else succeed(config)

    return script


def internal(code: str) -> Behaviour:
    """The stage's own report of a failure that may pass."""
    return Behaviour(
        report_of(Outcome.INTERNAL, code=code, message=f"{code} happened"), int(Outcome.INTERNAL.exit_code)
    )


STAGES = tuple(Stage)
RETRIED: Mapping[str, Behaviour] = {
    "crash": Behaviour(None, 1),
    "hang": internal("Hang"),
    "nan": internal("NonFiniteLoss"),
    "rendezvous": internal("RendezvousTimeout"),
}
# whether these cost budget is for the policies to say; that they end well is not
TAKEN: Mapping[str, Behaviour] = {
    "oom": Behaviour(None, 137, reason="OOMKilled"),
    "evicted": Behaviour(None, 137, pod_reason="Evicted"),
    "tracking": internal("TrackingUnavailable"),
    "preempted": Behaviour(preempted(12), 85),
}
ONCE = End(restarts=(1, 1), attempts=(5, 5))
TAKEN_ONCE = End(restarts=(0, 1), attempts=(5, 5))
INTERRUPTED = End(restarts=(0, 1), attempts=(5, 6))
# a train attempt can be told to stop before its pod has begun
PAUSED = End(attempts=(5, 6))
HOLD_TRAIN = on_first(Stage.TRAIN, hold_until_stopped(13))
HOLD_ALWAYS = on_first(Stage.TRAIN, hold_until_stopped(3), attempts=99)


def make(seed: int, count: int) -> list[Scenario]:
    """So many jobs of every fate, in an order of the seed."""
    dice = random.Random(seed)
    makers = _makers(dice)
    scenarios = [makers[number % len(makers)](number) for number in range(count)]
    dice.shuffle(scenarios)
    return scenarios


def _makers(dice: random.Random) -> list[Callable[[int], Scenario]]:
    def failing(kind: str) -> Callable[[int], Scenario]:
        return lambda n: Scenario(f"{kind}-{n}", on_first(dice.choice(STAGES), RETRIED[kind]), ONCE)

    def taken(kind: str) -> Callable[[int], Scenario]:
        return lambda n: Scenario(f"{kind}-{n}", on_first(Stage.TRAIN, TAKEN[kind]), TAKEN_ONCE)

    def happy(n: int) -> Scenario:
        return Scenario(f"happy-{n}", succeed, End())

    return [
        happy, *(failing(kind) for kind in RETRIED), _two_pods, _peer_fails, _suspended, _deleted_while_away,
        *(taken(kind) for kind in TAKEN), _drained, _made_again, _exhausted, _no_restart, happy, _job_deleted,
        _user_error, _born_suspended, _force_deleted, _deleted, _too_long, _gone_by_itself,
    ]  # fmt: skip


def _two_pods(n: int) -> Scenario:
    return Scenario(f"two-pods-{n}", succeed, End(), _PAIR)


def _peer_fails(n: int) -> Scenario:
    return Scenario(f"peer-{n}", on_first(Stage.TRAIN, Behaviour(None, 1)), ONCE, _PAIR)


def _suspended(n: int) -> Scenario:
    acts = (Act(pod_runs("train"), lambda user, life: user.suspend(life.name, True)), _RESUME)
    return Scenario(f"suspended-{n}", HOLD_TRAIN, PAUSED, acts=acts)


def _born_suspended(n: int) -> Scenario:
    return Scenario(f"born-suspended-{n}", succeed, End(), {"runPolicy": {"suspend": True}}, acts=(_RESUME,))


def _deleted_while_away(n: int) -> Scenario:
    act = Act(pod_runs("train"), lambda user, life: user.delete(life.name), operator_down=True)
    return Scenario(f"deleted-away-{n}", HOLD_ALWAYS, End(""), acts=(act,))


def _deleted(n: int) -> Scenario:
    return Scenario(f"deleted-{n}", HOLD_ALWAYS, End(""), acts=(Act(pod_runs("train"), _delete),))


def _made_again(n: int) -> Scenario:
    held: set[str] = set()
    scenario = Scenario(f"again-{n}", succeed, End(), incarnations=2)

    def again(user: User, life: Life) -> None:
        held.add(life.uid)
        user.delete(life.name)
        user.create(life.name, scenario.full_spec)

    def script(config: JobConfig) -> Behaviour:
        gone = config.identity.uid in held or not held
        return hold_until_stopped(7) if config.stage == Stage.TRAIN and gone else succeed(config)

    scenario.script = script
    scenario.acts = (Act(pod_runs("train"), again),)
    return scenario


def _drained(n: int) -> Scenario:
    act = Act(pod_runs("train"), lambda user, life: user.evict(life))
    return Scenario(f"drained-{n}", HOLD_TRAIN, INTERRUPTED, acts=(act,))


def _force_deleted(n: int) -> Scenario:
    act = Act(pod_runs("train"), lambda user, life: user.force_delete(life))
    return Scenario(f"force-deleted-{n}", HOLD_TRAIN, INTERRUPTED, acts=(act,))


def _job_deleted(n: int) -> Scenario:
    act = Act(pod_runs("train"), lambda user, life: user.delete_child(life, "Train"))
    return Scenario(f"job-deleted-{n}", HOLD_TRAIN, INTERRUPTED, acts=(act,))


def _exhausted(n: int) -> Scenario:
    end = End("Failed", "RestartsExhausted", restarts=(1, 1), attempts=(2, 2))
    script = on_first(Stage.PREPARE, Behaviour(None, 203), attempts=99)
    return Scenario(f"exhausted-{n}", script, end, {"runPolicy": {"maxRestarts": 1}})


def _no_restart(n: int) -> Scenario:
    end = End("Failed", "InternalError", attempts=(2, 2))
    return Scenario(
        f"no-restart-{n}", on_first(Stage.TRAIN, Behaviour(None, 1)), end, {"runPolicy": {"maxRestarts": 0}}
    )


def _too_long(n: int) -> Scenario:
    end = End("Failed", "DeadlineExceeded", restarts=(0, 3), attempts=(1, 9))
    return Scenario(f"too-long-{n}", HOLD_ALWAYS, end, {"runPolicy": {"activeDeadlineSeconds": 20}})


def _gone_by_itself(n: int) -> Scenario:
    return Scenario(f"gone-{n}", succeed, End(""), {"runPolicy": {"ttlSecondsAfterFinished": 0}})


def _user_error(n: int) -> Scenario:
    broken = fail("DatasetSchema", "row 3 has no messages", advice="mend row 3")
    return Scenario(f"user-error-{n}", on_first(Stage.PREPARE, broken), End("Failed", "DatasetSchema", attempts=(1, 1)))


def _delete(user: User, life: Life) -> None:
    user.delete(life.name)


_PAIR: Json = {
    "compute": {"pods": 2, "gpusPerPod": 0},
    "storage": {"workspace": {"accessMode": "ReadWriteMany"}},
}
_RESUME = Act(state_is("Suspended"), lambda user, life: user.suspend(life.name, False))


def _running_pods(life: Life) -> list[str]:
    return [child.name for child in life.children.values() if child.kind == "Pod" and child.running]


def attempt(act: Act, user: User, life: Life) -> bool:
    """Do it; False when what it was meant for has vanished meanwhile."""
    try:
        act.do(user, life)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        return False
    return True
