"""Jobs come and go for a long time under mild faults: memory, files and tasks of the operator do not grow."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.chaos_run import ChaosRun
from support.faults import FaultPlan, evenly
from support.operator_process import Usage
from support.scenarios import make

SECONDS = float(os.environ.get("SOAK_SECONDS", "75"))
JOBS_AT_ONCE = 15
SAMPLE_SECONDS = 1.0
RSS_LIMIT_MIB = 150
RSS_GROWTH_LIMIT_MIB = 12
pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(SECONDS + 600)]

Samples = Sequence[tuple[float, Usage]]


def test_nothing_grows(api_server_with_controllers: ApiServer, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"seed {seed}, {SECONDS:.0f} s")
    # a job whose user waits for the operator to be down would restart it, and memory begin anew
    scenarios = [item for item in make(seed, 5000) if not any(act.operator_down for act in item.acts)]
    with ChaosRun(api_server_with_controllers, tmp_path, scenarios, FaultPlan(seed, evenly(0.004, 0.02, 0.05))) as run:
        run.operator.start()
        samples = _soak(run)
        made = len(scenarios) - run.waiting
        assert run.operator.running, run.operator.log_end()
        assert run.operator.healthy(), run.operator.log_end()
        run.drop_waiting()
        run.conclude(120)
        print(f"{made} jobs; injected: {dict(run.proxy.injected)}")
    _judge(samples)


def _soak(run: ChaosRun) -> Samples:
    began = time.monotonic()
    samples: list[tuple[float, Usage]] = []
    while (now := time.monotonic() - began) < SECONDS:
        run.create(JOBS_AT_ONCE - run.retire())
        if now > len(samples) * SAMPLE_SECONDS and run.operator.healthy():
            samples.append((now, run.operator.usage()))
        run.tick()
    return samples


def _judge(samples: Samples) -> None:
    """The first third is warming up; the rest must be level."""
    rest = samples[len(samples) // 3 :]
    times, sizes = [moment for moment, _ in rest], [usage.rss_mib for _, usage in rest]
    slope, intercept = statistics.linear_regression(times, sizes)
    growth = slope * (times[-1] - times[0])
    print(f"RSS {sizes[0]:.1f} to {sizes[-1]:.1f} MiB, at most {max(sizes):.1f}")
    print(f"fit: {intercept:.1f} MiB + {slope * 3600:.2f} MiB/h, {growth:.2f} MiB over {times[-1] - times[0]:.0f} s")
    early, late = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    for name in ("open_files", "threads", "tasks"):
        before, after = ([getattr(usage, name) for _, usage in half] for half in (early, late))
        print(f"{name}: median {statistics.median(before)}, then {statistics.median(after)}, at most {max(after)}")
        assert statistics.median(after) <= 1.2 * statistics.median(before) + 3, f"{name} grow: {before} {after}"
    assert max(sizes) < RSS_LIMIT_MIB
    assert growth < RSS_GROWTH_LIMIT_MIB
