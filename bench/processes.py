"""Processor seconds and memory of processes, from procfs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from devcluster.paths import from_environment

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def machine_cpu_seconds() -> float:
    """Time that all processors were busy so far, whatever they did."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory in MB; VmHWM: its highest value so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024 / 1e6


def component_pid(cluster: str, name: str) -> int:
    """pid of a component of a dev cluster."""
    record = from_environment().cluster(cluster) / "processes" / f"{name}.json"
    return int(json.loads(record.read_text())["pid"])
