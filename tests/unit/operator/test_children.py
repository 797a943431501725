"""The watch of Jobs and pods: it lists, follows, goes on where it was, and lists again when it fell too far behind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import pytest

from vernacular_operator.kube.api import JOBS, Kind, Object, Page
from vernacular_operator.kube.errors import GoneError, KubeError, UnavailableError
from vernacular_operator.runtime import children
from vernacular_operator.runtime.children import ChildWatch

Step = tuple[str, Object] | KubeError


def job(name: str, version: int) -> Object:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


class Scripted:
    """A KubeWatch: `lists` and `watches` are played one after the other, then watches hang."""

    def __init__(self, lists: list[list[Page] | KubeError], watches: list[list[Step]]) -> None:
        self._lists = deque(lists)
        self._watches = deque(watches)
        self.asked: list[str] = []
        self.over = asyncio.Event()

    async def pages(self, kind: Kind, namespace: str, selector: str = "") -> AsyncIterator[Page]:
        self.asked.append("list")
        found = self._lists.popleft()
        if isinstance(found, KubeError):
            raise found
        for page in found:
            yield page

    async def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        self.asked.append(f"watch {version}")
        if not self._watches:
            self.over.set()
            await asyncio.Event().wait()
        for step in self._watches.popleft():
            if isinstance(step, KubeError):
                raise step
            yield step


async def told(api: Scripted) -> list[str]:
    """What a watch tells until the script is over: = listed, + changed, - deleted."""
    found = []

    def tell(kind: Kind, document: Object, *, deleted: bool, listed: bool) -> None:
        found.append(f"{'-' if deleted else '=' if listed else '+'}{document['metadata']['name']}")

    watch = ChildWatch(api, JOBS, "", tell)
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(api.over.wait(), 10)
    assert watch.listed.is_set()
    task.cancel()
    return found


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(children, "_BETWEEN", 0.0)


async def test_everything_that_exists_is_told_then_what_happens() -> None:
    pages = [Page([job("a", 1)], "5"), Page([job("b", 2)], "5")]
    api = Scripted([pages], [[("MODIFIED", job("a", 6)), ("DELETED", job("b", 7))]])

    assert await told(api) == ["=a", "=b", "+a", "-b"]
    assert api.asked == ["list", "watch 5", "watch 7"]


async def test_a_bookmark_moves_the_version_and_tells_nothing() -> None:
    api = Scripted([[Page([], "5")]], [[("BOOKMARK", {"metadata": {"resourceVersion": "90"}})]])

    assert await told(api) == []
    assert api.asked == ["list", "watch 5", "watch 90"]


async def test_a_broken_watch_goes_on_where_it_was() -> None:
    api = Scripted([[Page([], "5")]], [[("ADDED", job("a", 6)), UnavailableError("reset")]])

    assert await told(api) == ["+a"]
    assert api.asked == ["list", "watch 5", "watch 6"]


async def test_a_version_that_is_too_old_is_listed_again() -> None:
    api = Scripted([[Page([], "5")], [Page([job("a", 8)], "9")]], [[GoneError("too old", 410)]])

    assert await told(api) == ["=a"]
    assert api.asked == ["list", "watch 5", "list", "watch 9"]


async def test_a_list_that_fails_is_tried_again() -> None:
    api = Scripted([UnavailableError("no answer"), [Page([job("a", 1)], "5")]], [])

    assert await told(api) == ["=a"]
    assert api.asked == ["list", "list", "watch 5"]
