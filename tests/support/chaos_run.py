"""One run of chaos: an operator process behind the proxy, simulated kubelets, jobs with fates, and a judge."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from support.apiserver import ApiServer
from support.chaos_proxy import ChaosProxy, Write
from support.embedded_operator import operator_config
from support.fake_mlflow import FakeMlflow
from support.faults import FaultPlan
from support.history import SETTLE_SECONDS, History
from support.invariants import STAGES, Invariants
from support.job_life import UID
from support.mlflow_truth import untrue_runs
from support.operator_process import OperatorProcess
from support.scenarios import Act, Scenario, User, attempt
from support.simulated_kubelet import Behaviour, SimulatedKubelet
from vernacular_trainer.contract import JobConfig

_TICK_SECONDS = 0.1
_CHILDREN = ("/apis/batch/v1/{}/jobs", "/api/v1/{}/pods", "/api/v1/{}/services", "/api/v1/{}/persistentvolumeclaims")


class Trap:
    """Kills at the n-th write from now, before it reaches the server or after."""

    def __init__(self, proxy: ChaosProxy, kill: Callable[[], None]) -> None:
        proxy.on_write = self._told
        self.sprung = threading.Event()
        self._kill = kill
        self._left = 0
        self._after = False

    def set(self, writes: int, *, after: bool) -> None:
        """Arm it."""
        self.sprung.clear()
        self._left, self._after = writes, after

    def take_away(self) -> None:
        """Disarm it."""
        self._left = 0

    def _told(self, write: Write) -> bool:
        if not self._left or write.done != self._after:
            return True
        self._left -= 1
        if self._left:
            return True
        self._kill()
        self.sprung.set()
        return False


class ChaosRun:
    """For as long as the context lasts. Call `tick` all the time: it judges what happened and lets users act."""

    def __init__(self, server: ApiServer, folder: Path, scenarios: Sequence[Scenario], plan: FaultPlan) -> None:
        self.seed = plan.seed
        self.scenarios = {item.name: item for item in scenarios}
        self.mlflow = FakeMlflow()
        self.proxy = ChaosProxy(server, plan)
        self.created: list[Scenario] = []
        self.supervised = False
        self.invariants = Invariants(self.mlflow.runs_of)
        self._server = server
        self._folder = folder
        self._plan = plan
        self._waiting = list(scenarios)
        self._acts = {item.name: list(item.acts) for item in scenarios}
        self._stack = ExitStack()
        self._dice = random.Random(f"pods-{plan.seed}")

    def __enter__(self) -> ChaosRun:
        namespace = self._server.new_namespace("chaos")
        self.namespace = namespace
        self._stack.callback(self._server.request, "DELETE", f"/api/v1/namespaces/{namespace}")
        self._history = self._stack.enter_context(History(self._server, namespace))
        self._stack.enter_context(self.mlflow)
        self._stack.enter_context(self.proxy)
        self._kubelet = self._stack.enter_context(SimulatedKubelet(self._server, namespace, self._behave))
        self._user = User(self._server, namespace)
        kubeconfig = self.proxy.write_kubeconfig(self._folder / "kubeconfig")
        config = operator_config(self.mlflow.uri, namespace)
        self.operator = OperatorProcess(config, kubeconfig, self._folder, with_metrics=True)
        self._stack.callback(self.operator.wait)
        self._stack.callback(self.operator.kill)
        self.trap = Trap(self.proxy, self.operator.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def waiting(self) -> int:
        """Jobs that are not created yet."""
        return len(self._waiting)

    def create(self, count: int) -> None:
        """Create the next jobs."""
        for scenario in self._waiting[:count]:
            self._user.create(scenario.name, scenario.full_spec)
            self.created.append(scenario)
        del self._waiting[:count]

    def drop_waiting(self) -> None:
        """Create no more jobs."""
        self._waiting.clear()

    def tick(self) -> None:
        """Raises AssertionError when an invariant is broken. An operator that ended by itself is started again."""
        if self.supervised:
            self.operator.revive()
        self.invariants.take(self._history.take())
        self.invariants.check()
        assert not self._kubelet.errors, self._kubelet.errors
        for name in [scenario.name for scenario in self.created if self._acts[scenario.name]]:
            act = self._acts[name][0]
            if (act.operator_down and self.operator.running) or not self._due(name, act):
                continue
            if attempt(act, self._user, self.invariants.named(name)[-1]):
                del self._acts[name][0]
        time.sleep(_TICK_SECONDS)

    def tick_for(self, seconds: float) -> None:
        """Tick for so long."""
        self.tick_until(lambda: False, seconds)

    def tick_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Tick until the condition holds; False when it does not within so many seconds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            self.tick()
        return True

    def unfinished(self) -> list[str]:
        """Jobs that have not come to an end, with what they say."""
        found = []
        for scenario in self.created:
            if not self._ended(scenario):
                lives = self.invariants.named(scenario.name)
                status = lives[-1].status if lives else {}
                found.append(f"{scenario.name}: {status.get('state')}, {status.get('reason')}: {status.get('message')}")
        return found

    def states(self) -> list[str]:
        """What each job that has not ended says of itself."""
        lives = [life for life in self.invariants.lives.values() if life.document and not life.deleted]
        return [life.status.get("state", "none") for life in lives if not life.terminal]

    def retire(self) -> int:
        """Judge and delete jobs that have ended; how many are still under way. Raises AssertionError."""
        for scenario in [item for item in self.created if self._ended(item)]:
            wrong = self._wrong_end(scenario)
            assert not wrong, "\n".join(wrong)
            if scenario.end.state:
                self._user.delete(scenario.name)
            self.created.remove(scenario)
        return len(self.created)

    def _ended(self, scenario: Scenario) -> bool:
        lives = self.invariants.named(scenario.name)
        if len(lives) < scenario.incarnations or self._acts[scenario.name]:
            return False
        return lives[-1].terminal if scenario.end.state else lives[-1].deleted

    def conclude(self, seconds: float) -> None:
        """Wait until every job has ended and everything is tidied up, then judge the whole. Raises AssertionError."""
        self.supervised = True
        ended = self.tick_until(self._all_ended, seconds)
        assert ended, f"seed {self.seed}: not ended:\n" + "\n".join(self.unfinished()) + self._traces()
        self.tick_until(lambda: not self._untidy(), 60)
        assert not self._untidy(), f"seed {self.seed}: " + "\n".join(self._untidy())
        self.tick_for(SETTLE_SECONDS + 1)
        wrong = [text for scenario in self.created for text in self._wrong_end(scenario)]
        assert not wrong, f"seed {self.seed}:\n" + "\n".join(wrong)

    def _all_ended(self) -> bool:
        self.go_down_if_due()
        return not self.waiting and not self.unfinished()

    def go_down_if_due(self) -> None:
        """Let happen what waits for a moment without the operator."""
        if not any(acts and acts[0].operator_down and self._due(name, acts[0]) for name, acts in self._acts.items()):
            return
        self.supervised = False
        self.operator.kill()
        self.operator.wait()
        self.tick()
        self.supervised = True

    def _due(self, name: str, act: Act) -> bool:
        lives = self.invariants.named(name)
        return bool(lives) and act.when(lives[-1])

    def _behave(self, config: JobConfig) -> Behaviour:
        behaviour = self.scenarios[config.identity.name].script(config)
        return replace(behaviour, seconds=self._dice.uniform(0.2, 1.5))

    def _untidy(self) -> list[str]:
        """Children without an owner, children that outlive a terminal job, MLflow runs that do not say the truth."""
        lives = self.invariants.lives
        found = []
        for path in _CHILDREN:
            for item in self._server.request("GET", path.format(f"namespaces/{self.namespace}"))["items"]:
                life = lives.get((item["metadata"].get("labels") or {}).get(UID, ""))
                if life is None or life.deleted:
                    kept = {name: item["metadata"].get(name) for name in ("deletionTimestamp", "finalizers")}
                    found.append(f"orphan: {path} {item['metadata']['name']} {kept}")
        for life in lives.values():
            if (life.terminal or life.deleted) and life.live():
                found.append(f"{life.name} has ended, these may run: {life.live()}")
            found.extend(untrue_runs(life, self.mlflow))
        return found

    def _wrong_end(self, scenario: Scenario) -> list[str]:
        lives, end = self.invariants.named(scenario.name), scenario.end
        life = lives[-1]
        usage, status = life.status.get("usage") or {}, life.status
        attempts = sum(life.attempts(stage) for stage in STAGES)
        wrong = []
        if len(lives) != scenario.incarnations:
            wrong.append(f"{len(lives)} jobs had this name")
        if end.state and (status.get("state"), status.get("failure", {}).get("code", "")) != (end.state, end.code):
            wrong.append(f"{status.get('state')}, {status.get('failure')}, not {end.state} {end.code}")
        if end.state and not end.restarts[0] <= usage.get("restarts", 0) <= end.restarts[1]:
            wrong.append(f"{usage} not within {end.restarts}")
        if end.state and not end.attempts[0] <= attempts <= end.attempts[1]:
            wrong.append(f"{attempts} attempts not within {end.attempts}")
        trace = "\n  ".join(life.trace)
        return [f"{scenario.name}: {text}\n  {trace}" for text in wrong]

    def _traces(self) -> str:
        names = {text.partition(":")[0] for text in self.unfinished()}
        traces = ["\n  ".join(life.trace) for life in self.invariants.lives.values() if life.name in names]
        return "\n" + "\n\n".join(traces[:5]) + "\n" + self.operator.log_end(3000)
