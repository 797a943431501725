"""A table of measured values against targets, kept in bench/results/ with date and machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS.parent.parent / "docs/benchmarks.md"
HEAD = """# Benchmarks

Written by the benches from their newest records in `bench/results/`. A missed target is shown as missed.
"""


@dataclass(frozen=True)
class Measure:
    """One line. `target` is an upper bound in `unit`, `least` a lower one; neither: shown for information, nothing is
    promised.
    """

    name: str
    measured: float
    unit: str
    target: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool:
        above = self.target is not None and self.measured > self.target
        return not above and (self.least is None or self.measured >= self.least)

    @property
    def promise(self) -> str:
        """The bound as it is printed; empty when there is none."""
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.target is None else f"≤ {self.target:g}"


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


def described(on: Mapping[str, str]) -> str:
    """A machine, as `machine` tells of it, in one line."""
    return f"{on['cores']} cores ({on['processor']}), {on['memory']}, Linux {on['kernel']}"


def table(measures: list[Measure], last: Mapping[str, float] | None = None) -> str:
    """Plain text with columns measured, last, target, met; `last` has the values of the record before by name."""
    width = max(len(measure.name) for measure in measures)
    lines = [f"{'measure':{width}}  {'measured':>10}  {'last':>10}  {'target':>8}  unit  met"]
    for m in measures:
        met = ("yes" if m.met else "NO") if m.promise else ""
        before = f"{last[m.name]:.1f}" if last and m.name in last else ""
        lines.append(f"{m.name:{width}}  {m.measured:>10.1f}  {before:>10}  {m.promise:>8}  {m.unit:4}  {met}")
    return "\n".join(lines)


def page(records: list[dict[str, Any]]) -> str:
    """All records as a page in Markdown."""
    parts = [HEAD]
    for record in records:
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        parts.append(f"## `{record['command']}`\n")
        parts.append(f"{record['date']}; {described(record['machine'])}; {versions}.\n")
        parts.append("| measure | measured | target | met |\n| --- | --- | --- | --- |")
        parts += [
            _row(Measure(**{key: m.get(key) for key in ("name", "measured", "unit", "target", "least")}))
            for m in record["measures"]
        ]
        parts.append("")
    return "\n".join(parts)


def _row(m: Measure) -> str:
    target = f"{m.promise} {m.unit}".rstrip() if m.promise else ""
    met = ("yes" if m.met else "**no**") if m.promise else ""
    return f"| {m.name} | {m.measured:.1f} {m.unit} | {target} | {met} |"


def finish(bench: str, command: str, measures: list[Measure], versions: Mapping[str, str]) -> bool:
    """Print beside the last record, record, and write the page; False when a target is missed.

    `bench` names the record, `command` is what makes it.
    """
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{bench}.json"
    print(table(measures, _values(file)))
    record = {
        "bench": bench,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": dict(versions),
        "measures": [{**asdict(measure), "met": measure.met} for measure in measures],
    }
    file.write_text(json.dumps(record, indent=2) + "\n")
    PAGE.write_text(page([json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]))
    return all(measure.met for measure in measures)


def package_versions(*names: str) -> dict[str, str]:
    """Versions of installed packages."""
    return {name: importlib.metadata.version(name) for name in names}


def _values(file: Path) -> dict[str, float]:
    if not file.exists():
        return {}
    return {measure["name"]: measure["measured"] for measure in json.loads(file.read_text())["measures"]}
