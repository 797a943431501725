"""Running programs: every failure carries the command line and the end of what it printed."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devcluster.errors import DevclusterError

_TAIL = 3000


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    log: Path | None = None,
) -> str:
    """Run to the end and return standard output; with `log`, both streams go to that file and the result is empty.

    Raises DevclusterError on a missing program, a time-out in seconds or a non-zero exit.
    """
    words = [str(word) for word in command]
    full_env = None if env is None else {**os.environ, **env}
    try:
        if log is not None:
            with log.open("a") as stream:
                done = subprocess.run(
                    words, stdout=stream, stderr=subprocess.STDOUT, input=stdin, text=True, env=full_env, cwd=cwd,
                    timeout=timeout, check=False,
                )  # fmt: skip
            said = _tail(log)
        else:
            done = subprocess.run(
                words, capture_output=True, input=stdin, text=True, env=full_env, cwd=cwd, timeout=timeout, check=False
            )
            said = (done.stderr + done.stdout)[-_TAIL:]
    except FileNotFoundError as error:
        raise DevclusterError(f"{words[0]}: not found; run `python3 -m devcluster preflight`") from error
    except subprocess.TimeoutExpired as error:
        raise DevclusterError(f"{shlex.join(words)}: not done after {timeout:.0f} s") from error
    if done.returncode != 0:
        where = f" (full output: {log})" if log else ""
        raise DevclusterError(f"{shlex.join(words)}: exit {done.returncode}{where}\n{said.strip()}")
    return done.stdout or ""


def succeeds(command: Sequence[str | Path], *, cwd: Path | None = None) -> bool:
    try:
        run(command, cwd=cwd)
    except DevclusterError:
        return False
    return True


def wait_until(
    what: str, ready: Callable[[], bool], *, timeout: float, advice: str = "", interval: float = 0.05
) -> None:
    """Poll `ready` until it holds. Raises DevclusterError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            raise DevclusterError(f"{what}: not so after {timeout:.0f} s{'; ' + advice if advice else ''}")
        time.sleep(interval)


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        return stream.read().decode(errors="replace")
