"""The API server in its worst mood: every kind of fault, many times, and still every job comes to its right end."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.chaos_run import ChaosRun
from support.faults import Fault, FaultPlan, evenly
from support.scenarios import make

SECONDS_OF_FAULTS = 10
SECONDS_TO_END = 150
pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_every_fault_and_every_right_end(api_server_with_controllers: ApiServer, tmp_path: Path) -> None:
    under_faults(api_server_with_controllers, tmp_path, seed=1, jobs=20, seconds=SECONDS_OF_FAULTS)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_faults_of_another_seed(api_server_with_controllers: ApiServer, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    under_faults(api_server_with_controllers, tmp_path, seed=seed, jobs=60, seconds=240)


def under_faults(server: ApiServer, folder: Path, seed: int, jobs: int, seconds: float) -> None:
    """Faults until so many seconds went by and each kind has happened, then calm until all have ended."""
    seed = int(os.environ.get("CHAOS_SEED", seed))
    print(f"seed {seed}; CHAOS_SEED={seed} repeats the choices")
    # the first are of every fate, the others wait until they are needed
    scenarios = sorted(make(seed, 5 * jobs), key=lambda item: int(item.name.rpartition("-")[2]) >= jobs)
    with ChaosRun(server, folder, scenarios, FaultPlan(seed, evenly(0.02, 0.1, 0.25))) as run:
        run.supervised = True
        run.create(jobs)
        run.tick_for(seconds)
        assert run.tick_until(lambda: _met_every_fault(run, jobs), 90), set(Fault) - set(run.proxy.injected)
        run.drop_waiting()
        run.proxy.calm = True
        run.conclude(SECONDS_TO_END)
        print(f"{run.operator.starts} starts, {run.operator.ended_by_itself} ends by itself")
        print(f"injected: {dict(run.proxy.injected)}")


def _met_every_fault(run: ChaosRun, jobs: int) -> bool:
    """While one has not happened there are jobs under way: without them hardly a request or an event comes by."""
    run.create(jobs - len(run.unfinished()))
    return set(run.proxy.injected) == set(Fault)
