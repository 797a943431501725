"""How long a purge waits for pods, and which runs of a shared MLflow it takes for those of its cluster."""

from __future__ import annotations

from typing import Any

import pytest

from vernacular.cli.cluster.ending import await_end
from vernacular.cli.cluster.identity import Identity, of_this_cluster
from vernacular.cli.errors import CliError
from vernacular.cli.runs import Run

POD = {"metadata": {"name": "train-0"}, "spec": {"terminationGracePeriodSeconds": 600}}
UNKNOWN = Identity(frozenset(), complete=False)
THIS = Identity(frozenset({"this", "ca-this"}), complete=True)


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def pause(self, seconds: float) -> None:
        self.now += seconds


def waited(*seen: list[dict[str, Any]]) -> tuple[list[str], float, list[str]]:
    """What is still there at the end, after how many seconds, and what was said; the last that is seen stays."""
    clock, told, left = Clock(), list[str](), list(seen)
    found = await_end(lambda: left.pop(0) if len(left) > 1 else left[0], lambda: clock.now, clock.pause, told.append)
    return found, clock.now, told


def test_nothing_to_wait_for() -> None:
    assert waited([]) == ([], 0, [])


def test_a_pod_that_ends() -> None:
    assert waited([POD], [POD], []) == ([], 2, ["Waiting up to 720 s for Pod train-0 to end."])


def test_a_pod_that_never_ends_and_an_operator_that_is_away() -> None:
    job = {"kind": "FineTuneJob", "metadata": {"name": "hr-bot"}}

    found, seconds, _ = waited([job, POD])

    assert (found, seconds) == (["FineTuneJob hr-bot", "Pod train-0"], 720)


def run(run_id: str, cluster: str) -> Run:
    tags = {"vernacular.dev/cluster": cluster} if cluster else {}
    return Run(run_id, "hr-bot", "demo", f"uid-{run_id}", "FINISHED", 86_400_000, 0, "", {}, {}, tags)


@pytest.mark.parametrize(
    ("clusters", "identity", "chosen"),
    [
        (["", ""], THIS, ["0", "1"]),
        (["this", "other", "", "ca-this"], THIS, ["0", "3"]),
        (["other", "other"], UNKNOWN, ["0", "1"]),
    ],
)
def test_runs_of_this_cluster(clusters: list[str], identity: Identity, chosen: list[str]) -> None:
    found = [run(str(number), cluster) for number, cluster in enumerate(clusters)]

    assert [item.run_id for item in of_this_cluster(found, identity, "")] == chosen


@pytest.mark.parametrize(
    ("clusters", "identity", "problem"),
    [
        (["other"], THIS, "no run of this name is known to be of this cluster: 0, uid uid-0, cluster other"),
        (["one", "two"], UNKNOWN, "several clusters: 0, uid uid-0, cluster one, of 1970-01-02; 1, uid uid-1"),
        (["one", ""], UNKNOWN, "uid uid-1, cluster unknown"),
    ],
)
def test_runs_that_may_be_of_another_cluster(clusters: list[str], identity: Identity, problem: str) -> None:
    found = [run(str(number), cluster) for number, cluster in enumerate(clusters)]

    with pytest.raises(CliError, match=problem) as refused:
        of_this_cluster(found, identity, "name one")

    assert refused.value.advice == "name one"


def test_what_cannot_be_taken_back_needs_certainty() -> None:
    found = [run("0", "other")]

    with pytest.raises(CliError, match="no run of this name is known to be of this cluster: 0, uid uid-0"):
        of_this_cluster(found, UNKNOWN, "name one", certain=True)
