"""A table of measured values against targets, kept in bench/results/ with date and machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Measure:
    """One line. `target` is an upper bound in `unit`; None: shown for information, nothing is promised."""

    name: str
    measured: float
    unit: str
    target: float | None = None

    @property
    def met(self) -> bool:
        return self.target is None or self.measured <= self.target


def machine() -> dict[str, str]:
    """Processor, cores and memory of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
    }


def table(measures: list[Measure]) -> str:
    """Plain text with columns measured, target, met."""
    width = max(len(measure.name) for measure in measures)
    lines = [f"{'measure':{width}}  {'measured':>10}  {'target':>8}  unit  met"]
    for m in measures:
        target = "" if m.target is None else f"{m.target:g}"
        met = "" if m.target is None else ("yes" if m.met else "NO")
        lines.append(f"{m.name:{width}}  {m.measured:>10.1f}  {target:>8}  {m.unit:4}  {met}")
    return "\n".join(lines)


def finish(bench: str, measures: list[Measure]) -> int:
    """Print, record, and give the exit code: 1 when a target is missed."""
    print(table(measures))
    RESULTS.mkdir(exist_ok=True)
    record = {
        "bench": bench,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "measures": [{**asdict(measure), "met": measure.met} for measure in measures],
    }
    (RESULTS / f"{bench}.json").write_text(json.dumps(record, indent=2) + "\n")
    return 0 if all(measure.met for measure in measures) else 1
