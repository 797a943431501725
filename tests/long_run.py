"""The page that `make test-long` leaves behind: what the long tests did, beside how the whole run ended."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from bench.report import described, machine

HEAD = """# The long tests

Written by `make test-long` at its end: full kill counts, other seeds and more of everything that chance decides.
"""


def page(stats: Mapping[str, Sequence[Any]]) -> str:
    """Markdown; `stats` are pytest's reports by outcome."""
    now = datetime.now(UTC)
    counts = ", ".join(
        f"{len(stats[name]):,} {name}" for name in ("passed", "failed", "error", "skipped") if stats.get(name)
    )
    reports = [report for found in stats.values() for report in found if isinstance(report, pytest.TestReport)]
    minutes = sum(report.duration for report in reports) / 60
    parts = [
        HEAD,
        f"{now:%Y-%m-%d %H:%M} UTC, commit {_commit()}; {described(machine())}.\n",
        f"All tests, the long ones among them: {counts} in {minutes:.0f} min.\n",
    ]
    for report in sorted(reports, key=lambda each: each.nodeid):
        if "long" in report.keywords and report.when == "call":
            parts.append(f"## `{report.nodeid}`\n\n{report.outcome} in {report.duration:.0f} s\n")
            parts.extend([f"    {line}" for line in report.capstdout.splitlines()] + [""] * bool(report.capstdout))
    return "\n".join(parts)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
