"""A process that makes no progress is found and ended, one that is only slow is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vernacular_trainer.heartbeat import SAVING, STEP, VARIABLE, Activity, Heartbeat, Watch
from vernacular_trainer.outcomes import OutcomeFolder

# two signs of life, the second in an activity that may take a second, then none
STUCK = """
import os, time
from vernacular_trainer.heartbeat import STEP, Activity, Heartbeat
beat = Heartbeat.of(os.environ)
beat.begin(STEP)
beat.begin(Activity("a short step", 1))
time.sleep(600)
"""


# the supervisor kills everything below its own process
DRIVER = """
import os, sys
from pathlib import Path
from vernacular_trainer.heartbeat import VARIABLE, Watch
from vernacular_trainer.launch import Launch
from vernacular_trainer.supervise import run_launch
launch = Launch((sys.executable, "-c", sys.argv[1]), dict(os.environ) | {VARIABLE: sys.argv[2]})
ending = run_launch(launch, lambda: False, Watch(Path(sys.argv[2]), 1, lambda rank: False).hung, stop_seconds=60)
print(ending.killed, ending.stopped, ending.hung)
"""


def watch(folder: Path, ranks: int = 1) -> Watch:
    return Watch(folder, ranks, OutcomeFolder(folder, ranks).has_reported)


def test_silence_counts_from_the_last_sign(tmp_path: Path) -> None:
    beat, seen = Heartbeat.of({VARIABLE: str(tmp_path)}), watch(tmp_path)
    assert seen.hung(10_000) == ""
    beat.begin(STEP)
    assert [seen.hung(500), seen.hung(500)] == ["", ""]
    beat.begin(STEP)
    assert [seen.hung(500), seen.hung(500)] == ["", ""]
    assert seen.hung(500) == "process 0 was in a step for more than 900 s"


def test_each_activity_has_its_own_limit(tmp_path: Path) -> None:
    beat, seen = Heartbeat.of({VARIABLE: str(tmp_path)}), watch(tmp_path)
    beat.begin(SAVING)
    assert [seen.hung(1), seen.hung(3599)] == ["", ""]
    beat.begin(STEP)
    assert seen.hung(3000) == ""


def test_a_process_that_has_reported_may_be_silent(tmp_path: Path) -> None:
    for rank in ("0", "1"):
        Heartbeat.of({VARIABLE: str(tmp_path), "LOCAL_RANK": rank}).begin(Activity("a step", 10))
    seen = watch(tmp_path, 2)
    seen.hung(0)
    (tmp_path / "rank-0.json").touch()
    assert seen.hung(20) == "process 1 was in a step for more than 10 s"


def test_nobody_looks_outside_of_a_container(tmp_path: Path) -> None:
    Heartbeat.of({}).begin(STEP)
    Heartbeat(tmp_path / "gone" / "file").begin(STEP)


def test_a_stuck_process_is_ended(tmp_path: Path) -> None:
    arguments = (sys.executable, "-c", DRIVER, STUCK, str(tmp_path))

    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines()[-1] == "True False process 0 was in a short step for more than 1 s"
