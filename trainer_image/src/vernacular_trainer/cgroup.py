"""What the container's control group says, in either version: processors and memory it may use, processes it killed for
memory.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_UNBOUNDED = 2**60
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def available_cores(root: Path = ROOT) -> int:
    """Processors this process may use: its affinity, cut to the quota of its control group (rounded up)."""
    # a laptop's system may know no affinity
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return cores if quota is None else max(min(cores, math.ceil(quota)), 1)


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes that the control group may hold; None where it sets no bound."""
    for file in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        # the first version says a number that no machine has
        return int(text) if text != "max" and int(text) < _UNBOUNDED else None
    return None


def oom_kills(root: Path = ROOT) -> int:
    """How many processes of the control group the kernel has killed for memory; 0 where it does not say."""
    for file in (root / "memory.events", root / "memory" / "memory.oom_control"):
        try:
            found = _OOM_KILLS.search(file.read_text())
        except OSError:
            continue
        if found:
            return int(found.group(1))
    return 0


def _quota(root: Path) -> float | None:
    try:
        if (root / "cpu.max").exists():
            limit, period = (root / "cpu.max").read_text().split()
        else:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return None if limit in ("max", "-1") else int(limit) / int(period)
    except (OSError, ValueError):
        return None
