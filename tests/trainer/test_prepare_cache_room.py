"""Room in the cache of files: the oldest go, what is used stays, several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vernacular_trainer.data.cache_room import in_use, make_room
from vernacular_trainer.data.model_cache import Patience
from vernacular_trainer.data.remote import fetch as fetching
from vernacular_trainer.data.remote.fetch import Servers, fetch
from vernacular_trainer.data.remote.files import RemoteFile
from vernacular_trainer.workspace import Workspace

QUICK = Patience(beat=0.05, poll=0.02, stale=1.0)
DAY = 86_400

# cache folder, workspace, seed: fetches the same files in its own order, again and again, with room for two of them
READER = """
import random, sys
from pathlib import Path
from vernacular_trainer.data.remote import fetch as fetching
from vernacular_trainer.data.remote.fetch import Servers, fetch
from vernacular_trainer.data.remote.files import RemoteFile
from vernacular_trainer.workspace import Workspace

root, workspace, order = sys.argv[1], Workspace(Path(sys.argv[2])), random.Random(int(sys.argv[3]))
fetching._GIB = 1000

def put(content, folder):
    draft = folder / "draft"
    draft.write_bytes(content)
    draft.rename(folder / "content")

for turn in range(60):
    number = order.randrange(5)
    content = bytes([number]) * 900
    file = RemoteFile(f"s3://rows/{number}", "content", f"v{number}", "", lambda: None, lambda f, c=content: put(c, f))
    copy = fetch(file, workspace.inputs / f"{turn}", workspace, Servers(cache=root, cache_gib=2))
    assert copy.path.read_bytes() == content, number
print("done")
"""


def entry(root: Path, name: str, size: int, days: float) -> Path:
    """An entry of so many bytes that was used so many days ago."""
    folder = root / name / "v1"
    folder.mkdir(parents=True)
    (folder / "content").write_bytes(b"x" * size)
    then = time.time() - days * DAY
    os.utime(folder, (then, then))
    return folder


def left(root: Path) -> set[str]:
    return {folder.parent.name for folder in root.glob("*/v1")}


def test_what_was_not_used_for_longest_goes_until_there_is_room(tmp_path: Path) -> None:
    for name, days in (("a", 3), ("b", 9), ("c", 1), ("d", 5)):
        entry(tmp_path, name, 100, days)

    assert make_room(tmp_path, 250) == ("b/v1", "d/v1")
    assert left(tmp_path) == {"a", "c"}
    assert make_room(tmp_path, 250) == ()


def test_what_is_used_stays_however_old_it_is(tmp_path: Path) -> None:
    old = entry(tmp_path, "old", 100, 9)
    entry(tmp_path, "new", 100, 1)

    with in_use(old):
        assert make_room(tmp_path, 0) == ("new/v1",)
        assert left(tmp_path) == {"old"}

    assert make_room(tmp_path, 0) == ("old/v1",)
    assert not list(tmp_path.glob("*/*.use-*"))


def test_use_makes_an_entry_young(tmp_path: Path) -> None:
    old = entry(tmp_path, "old", 100, 9)
    entry(tmp_path, "new", 100, 1)

    with in_use(old):
        pass

    assert make_room(tmp_path, 100) == ("new/v1",)


def test_what_is_being_fetched_stays_and_what_nobody_fetches_any_more_goes(tmp_path: Path) -> None:
    for name in ("fetched", "broken-off"):
        entry(tmp_path, name, 100, 2).rename(tmp_path / name / "v1.partial-0")
    (tmp_path / "fetched" / "v1.lock").write_text("0")

    assert make_room(tmp_path, 0) == ("broken-off/v1.partial-0",)


def test_marks_of_jobs_that_are_gone_count_no_more(tmp_path: Path) -> None:
    folder = entry(tmp_path, "old", 100, 9)
    mark = folder.with_name("v1.use-dead")
    mark.touch()
    os.utime(mark, (time.time() - 10, time.time() - 10))
    half_removed = tmp_path / "old" / "v1.gone-dead"
    half_removed.mkdir()
    os.utime(half_removed, (time.time() - 10, time.time() - 10))

    assert make_room(tmp_path, 0, QUICK) == ("old/v1",)
    assert not half_removed.exists()


def test_a_long_use_is_seen_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    folder = entry(tmp_path, "old", 100, 9)
    seen = []

    with in_use(folder, QUICK):
        until = time.monotonic() + 2 * QUICK.stale
        while time.monotonic() < until:
            seen.append(make_room(tmp_path, 0, QUICK))
            threading.Event().wait(0.1)

    assert set(seen) == {()}


def test_a_file_that_goes_while_it_is_looked_at_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def put(folder: Path) -> None:
        fetched.append(folder)
        (folder / "content").write_bytes(b"rows")

    taken, take_over = [], fetching.take_over

    def removed_first(path: Path, name: str, target: Path) -> object:
        taken.append(path)
        if len(taken) == 1:
            path.parent.rename(tmp_path / "elsewhere")
        return take_over(path, name, target)

    monkeypatch.setattr(fetching, "take_over", removed_first)
    file = RemoteFile("s3://rows/a", "content", "v1", "", lambda: None, put)

    copy = fetch(file, tmp_path / "copy", Workspace(tmp_path / "w"), Servers(cache=str(tmp_path / "cache")))

    assert copy.path.read_bytes() == b"rows"
    assert len(fetched) == 2


def test_processes_that_fetch_and_remove_at_once_read_whole_files(tmp_path: Path) -> None:
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path / "cache"), str(tmp_path / f"w{seed}"), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    ended = [reader.communicate(timeout=100) for reader in readers]

    assert [out for out, _ in ended] == ["done\n"] * 3, ended
    kept = [folder for folder in (tmp_path / "cache/datasets").glob("*/v*") if folder.is_dir()]
    assert len(kept) <= 4
