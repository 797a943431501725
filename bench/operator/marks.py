"""Moments of a measurement: what the API server has counted and what each process has used so far."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bench.operator.api import Api, Counts
from bench.processes import component_pid, cpu_seconds, machine_cpu_seconds

FLOW_PREFIX = "bench-"
_QUIET_SECONDS = 2.0


@dataclass(frozen=True)
class Mark:
    """A moment: monotonic seconds, requests counted so far, processor seconds used so far."""

    time: float
    counts: Counts
    cpu: dict[str, float]

    def __sub__(self, earlier: Mark) -> Mark:
        cpu = {name: seconds - earlier.cpu[name] for name, seconds in self.cpu.items()}
        cpu["others"] = cpu["machine"] - sum(seconds for name, seconds in cpu.items() if name != "machine")
        return Mark(self.time - earlier.time, self.counts - earlier.counts, cpu)

    def share_of_others(self) -> float:
        """Percent of the processors' time that went to what does not belong to the bench."""
        return 100 * max(0.0, self.cpu["others"]) / (self.time * (os.cpu_count() or 1))

    def describe(self, count: int) -> str:
        """For people: what it cost for each of `count` jobs."""
        cpu = ", ".join(f"{name} {seconds * 1000 / count:.1f}" for name, seconds in self.cpu.items())
        writes = ", ".join(f"{name} {number / count:.2f}" for name, number in sorted(self.counts.writes().items()))
        flows = [(name, sent) for name, sent in self.counts.flows.items() if name.startswith(FLOW_PREFIX)]
        sent = ", ".join(f"{name.removeprefix(FLOW_PREFIX)} {sent / count:.2f}" for name, sent in flows)
        return f"  {self.time:.1f} s; CPU ms per job: {cpu}\n  requests per job: {sent}; writes: {writes}"


async def mark(api: Api, cluster: str, measured: Mapping[str, int]) -> Mark:
    """The moment, with everything that is counted; `measured` has the pids of the operators by name."""
    pids = {name: component_pid(cluster, name) for name in ("kube-apiserver", "etcd")}
    pids |= {**measured, "bench": os.getpid()}
    cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
    cpu["machine"] = machine_cpu_seconds()
    return Mark(time.monotonic(), await api.counts(), cpu)


async def quiet(api: Api, flows: Collection[str], limit: float) -> None:
    """Wait until nothing was sent in these flows for a while. Raises TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        last, since = -1, time.monotonic()
        while time.monotonic() - since < _QUIET_SECONDS:
            await asyncio.sleep(0.25)
            counted = (await api.counts()).flows
            sent = sum(counted[flow] for flow in flows)
            if sent != last:
                last, since = sent, time.monotonic()
