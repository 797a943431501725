"""Follow a FineTuneJob to its end: a progress line on a terminal, one line per change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from demo.shell import DemoError, Shell

FINAL_STATES = ("Succeeded", "Failed")


def progress_line(job: dict[str, Any]) -> str:
    """One line about a resource: state, reason, step, loss, time left, as its status says."""
    status = job.get("status", {})
    progress = status.get("progress", {})
    parts = [status.get("state", "Pending")]
    if status.get("state") == "Training" and "step" in progress:
        parts.append(f"step {progress['step']}/{progress['totalSteps']}")
        parts += [f"loss {progress['loss']}"] if progress.get("loss") else []
        parts += [f"{progress['etaSeconds']} s left"] if progress.get("etaSeconds") else []
    elif message := status.get("message"):
        parts.append(message)
    return " · ".join(parts)


@dataclass
class ProgressPrinter:
    """Prints a line when it changes; on a terminal in place, with the seconds since the start."""

    stream: TextIO
    started: float
    _last: str = ""

    def show(self, line: str, now: float) -> None:
        stamp = f"[{now - self.started:5.0f} s] "
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[K{stamp}{line}")
        elif line != self._last:
            self.stream.write(f"{stamp}{line}\n")
        self._last = line
        self.stream.flush()

    def finish(self) -> None:
        if self.stream.isatty():
            self.stream.write("\n")


def follow(
    shell: Shell, name: str, namespace: str, timeout: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Wait for a final state and give the resource. Raises DemoError when it is gone or the time is over."""
    printer = ProgressPrinter(sys.stdout, clock())
    deadline = clock() + timeout
    while clock() < deadline:
        job = shell.get("finetunejob", name, namespace)
        if job is None:
            raise DemoError(f"finetunejob {namespace}/{name} is gone")
        printer.show(progress_line(job), clock())
        if job.get("status", {}).get("state") in FINAL_STATES:
            printer.finish()
            return job
        time.sleep(1)
    printer.finish()
    raise DemoError(
        f"finetunejob {namespace}/{name} did not end within {timeout:.0f} s: "
        f"`kubectl describe ftj {name} -n {namespace}`"
    )
