"""The operator is killed again and again over the whole life of many jobs: every job comes to its right end."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.chaos_run import ChaosRun
from support.faults import FaultPlan, evenly
from support.scenarios import make

SECONDS_TO_END = 150
WRITES_A_JOB = 25
# how long the operator lives at most when there is little to write
PATIENCE_SECONDS = 5
STAGES = {"Preparing", "Training", "Evaluating", "Publishing"}
pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_twenty_kills(api_server_with_controllers: ApiServer, tmp_path: Path) -> None:
    kill_again_and_again(api_server_with_controllers, tmp_path, seed=1, jobs=25, kills=20)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("run", [1, 2])
def test_a_hundred_kills_twice(api_server_with_controllers: ApiServer, tmp_path: Path, run: int) -> None:
    kill_again_and_again(api_server_with_controllers, tmp_path, seed=random.randrange(10**6), jobs=50, kills=100)


def kill_again_and_again(server: ApiServer, folder: Path, seed: int, jobs: int, kills: int) -> None:
    """Jobs are created as kills go by, so that kills hit every part of a job's life, mild faults beside them."""
    seed = int(os.environ.get("CHAOS_SEED", seed))
    print(f"seed {seed}; CHAOS_SEED={seed} repeats the choices")
    dice = random.Random(seed)
    with ChaosRun(server, folder, make(seed, jobs), FaultPlan(seed, evenly(0.004, 0.02, 0.05))) as run:
        started, hit = time.monotonic(), Counter[str]()
        for number in range(kills):
            run.create(-(-jobs * (number + 1) // (kills * 7 // 10)) - len(run.created))
            run.operator.start()
            _kill_at_work(run, dice, 2 * WRITES_A_JOB * jobs // kills)
            hit.update(run.states())
            run.tick_for(dice.choice([0, 0, dice.uniform(0, 1.5)]))
        print(f"states of jobs at kills: {dict(hit)}")
        print(f"{kills} kills in {time.monotonic() - started:.0f} s, {len(run.unfinished())} jobs left")
        run.conclude(SECONDS_TO_END)
        assert hit.keys() >= STAGES, hit
        print(f"all ended and tidied up after {time.monotonic() - started:.0f} s")
        print(f"{run.operator.starts} starts, {run.operator.ended_by_itself} ends by itself")
        print(f"injected: {dict(run.proxy.injected)}")


def _kill_at_work(run: ChaosRun, dice: random.Random, writes: int) -> None:
    """Right before or after one of the next writes, or a moment later: counted in writes, so that jobs get on."""
    before = run.proxy.requests.total()
    asked = run.tick_until(lambda: run.proxy.requests.total() > before or not run.operator.running, 60)
    assert asked, f"the operator sent no request:\n{run.operator.log_end()}"
    number, later = dice.randint(1, writes), dice.random() < 0.5
    if later:
        goal = run.proxy.writes + number
        run.tick_until(lambda: run.proxy.writes >= goal, PATIENCE_SECONDS)
        run.tick_for(dice.uniform(0, 0.5))
    else:
        run.trap.set(number, after=dice.random() < 0.5)
        run.tick_until(run.trap.sprung.is_set, PATIENCE_SECONDS)
        run.trap.take_away()
    run.operator.kill()
    run.operator.wait()
