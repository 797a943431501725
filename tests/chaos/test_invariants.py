"""The judge of the chaos tests: each broken promise is seen, a job's ordinary life is not complained about."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from support.fake_mlflow import FakeRun
from support.history import Change
from support.invariants import STAGES, STALE_SECONDS, Invariants

Json = dict[str, Any]
RUN = FakeRun("run-1", "1", "hr-bot", 0, {})


class Story:
    """Tells changes to the judge, with rising versions."""

    def __init__(self) -> None:
        self.judge = Invariants(lambda uid: [RUN])
        self._versions = count(1)
        self._generation = 1

    def tell(self, kind: str, document: Json, *, deleted: bool = False, at: float = 0) -> None:
        self.judge.take([Change(next(self._versions), kind, deleted, document, at)])

    def status(self, at: float = 0, max_restarts: int = 1, **status: Any) -> None:
        metadata = {"name": "hr-bot", "uid": "u", "generation": self._generation}
        document = {"metadata": metadata, "spec": {"runPolicy": {"maxRestarts": max_restarts}}, "status": status}
        self.tell("FineTuneJob", document, at=at)

    def job(self, stage: str, attempt: int = 1, end: str = "", uid: str = "", deleted: bool = False) -> None:
        conditions = [{"type": end, "status": "True"}] if end else []
        document = {"metadata": _metadata("job", stage, attempt, uid), "status": {"conditions": conditions}}
        self.tell("Job", document, deleted=deleted)

    def pod(self, stage: str, attempt: int = 1, phase: str = "Running", at: float = 0) -> None:
        self.tell("Pod", {"metadata": _metadata("pod", stage, attempt, ""), "status": {"phase": phase}}, at=at)


def _metadata(kind: str, stage: str, attempt: int, uid: str) -> Json:
    name = f"{stage.lower()}-{attempt}"
    labels = {
        "vernacular.dev/job-uid": "u",
        "vernacular.dev/stage": stage.lower(),
        "vernacular.dev/attempt": str(attempt),
    }
    return {"name": name, "uid": uid or f"{kind}-{name}", "labels": labels}


def condition(kind: str, status: str = "True", moved: str = "t0", generation: int = 1) -> Json:
    return {"type": kind, "status": status, "lastTransitionTime": moved, "observedGeneration": generation}


def record(stage: str, state: str, attempt: int = 1) -> Json:
    return {"name": stage, "state": state, "attempt": attempt, "jobName": f"{stage.lower()}-{attempt}"}


def test_an_ordinary_life_breaks_no_rule() -> None:
    story = Story()
    story.status()
    for stage in STAGES:
        story.job(stage)
        story.pod(stage)
        story.status(state=f"{stage}ing", stages=[record(stage, "Running")])
        story.pod(stage, phase="Succeeded")
        story.job(stage, end="Complete")
        story.status(state="Going", stages=[record(stage, "Succeeded")], mlflow={"runID": "run-1"})
    conditions = [condition(kind) for kind in ("Prepared", "Trained", "Evaluated", "Published", "Complete")]
    story.status(state="Succeeded", stages=[record(stage, "Succeeded") for stage in STAGES], conditions=conditions)
    story.judge.check()


def two_attempts(story: Story) -> None:
    story.job("Train", 1)
    story.job("Train", 2)


def a_pod_beside_the_next_attempt(story: Story) -> None:
    story.job("Train", 1)
    story.pod("Train", 1)
    story.job("Train", 1, deleted=True)
    story.job("Train", 2)


def a_name_used_twice(story: Story) -> None:
    story.job("Train", 1, end="Failed")
    story.job("Train", 1, uid="another")


def a_told_name_used_again(story: Story) -> None:
    story.job("Train", 1)
    story.status(stages=[record("Train", "Running")])
    story.job("Train", 1, deleted=True)
    story.job("Train", 1, uid="another")


def a_job_after_the_end(story: Story) -> None:
    story.status(state="Failed", failure={"code": "Hang"}, conditions=[condition("Failed")])
    story.job("Train", 1)


def a_flip(story: Story) -> None:
    story.status(state="Failed", failure={"code": "Hang"}, conditions=[condition("Failed")])
    story.status(state="Preparing", conditions=[condition("Failed", "False", "t1")])


def both_ends(story: Story) -> None:
    conditions = [condition("Failed"), condition("Complete")]
    story.status(state="Failed", failure={"code": "Hang"}, conditions=conditions)


def too_many_restarts(story: Story) -> None:
    story.status(usage={"restarts": 2})


def a_budget_that_resets(story: Story) -> None:
    story.status(usage={"restarts": 1})
    story.status(usage={"restarts": 0})


def a_lost_checkpoint(story: Story) -> None:
    story.status(checkpoints={"latestStep": 7})
    story.status(checkpoints={"latestStep": 3})


def succeeded_too_early(story: Story) -> None:
    story.job("Prepare", end="Complete")
    story.status(state="Succeeded", conditions=[condition("Complete")])


def a_stage_called_done(story: Story) -> None:
    story.job("Prepare")
    story.status(stages=[record("Prepare", "Succeeded")])


def a_condition_called_true(story: Story) -> None:
    story.job("Prepare")
    story.status(conditions=[condition("Prepared")])


def a_job_that_was_never_made(story: Story) -> None:
    story.status(stages=[record("Prepare", "Running")])


def suspended_with_a_pod(story: Story) -> None:
    story.job("Train")
    story.pod("Train")
    story.job("Train", deleted=True)
    story.status(state="Suspended")


def training_without_a_pod(story: Story) -> None:
    story.job("Train")
    story.pod("Train", at=1)
    story.pod("Train", phase="Failed", at=2)
    story.status(at=3 + STALE_SECONDS, state="Training")


def somebody_elses_run(story: Story) -> None:
    story.status(mlflow={"runID": "run-2"})


def a_transition_time_that_moves(story: Story) -> None:
    story.status(conditions=[condition("Prepared", "False", "t0")])
    story.status(conditions=[condition("Prepared", "False", "t1")])


def a_generation_of_the_future(story: Story) -> None:
    story.status(conditions=[condition("Accepted", generation=2)])


@pytest.mark.parametrize(
    ("tell", "text"),
    [
        (two_attempts, "attempts at once"),
        (a_pod_beside_the_next_attempt, "attempts at once"),
        (a_name_used_twice, "was made 2 times"),
        (a_told_name_used_again, "was made 2 times"),
        (a_job_after_the_end, "made after the job had ended"),
        (a_flip, "a terminal status changed"),
        (both_ends, "both Complete and Failed"),
        (too_many_restarts, "2 restarts, 1 allowed"),
        (a_budget_that_resets, "usage.restarts fell"),
        (a_lost_checkpoint, "the latest checkpoint fell"),
        (succeeded_too_early, "Succeeded without Train"),
        (a_stage_called_done, "Prepare is called Succeeded"),
        (a_condition_called_true, "Prepared without a complete Job"),
        (a_job_that_was_never_made, "no Job of attempt 1 was made"),
        (suspended_with_a_pod, "called suspended"),
        (training_without_a_pod, "no training pod ran lately"),
        (somebody_elses_run, "status names run run-2"),
        (a_transition_time_that_moves, "moved its transition time"),
        (a_generation_of_the_future, "a generation that does not exist"),
    ],
)
def test_a_broken_promise_is_seen(tell: Callable[[Story], None], text: str) -> None:
    story = Story()
    story.status()
    tell(story)
    with pytest.raises(AssertionError, match=text):
        story.judge.check()


def test_what_was_deleted_before_anybody_told_of_it_is_made_again() -> None:
    story = Story()
    story.status()
    story.job("Train", 1)
    story.job("Train", 1, deleted=True)
    story.job("Train", 1, uid="another")

    story.judge.check()
