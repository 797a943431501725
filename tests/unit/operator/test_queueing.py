"""Jobs under Kueue: what is handed over, what a waiting job says, and when there is news of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.worlds import NOW, child, config, fine_tune_job, pod, until_stage, with_status, world
from vernacular.api import FailureCode, FineTuneJob, JobState, Reason, Stage
from vernacular_operator.config import Kueue
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import Admission, Snapshot, WorkloadFacts
from vernacular_operator.kube.api import WORKLOADS
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt
from vernacular_operator.runtime.admissions import Admissions
from vernacular_operator.runtime.cache import Key

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
WATCHING = config().model_copy(update={"kueue": Kueue(enabled=True)})
WORKLOAD = WorkloadFacts("job-Train-1", "team", "hr", 0, "2026-03-01T12:00:00Z", waiting=True, message="no GPU is left")


def labelled(**labels: str) -> FineTuneJob:
    job = fine_tune_job()
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"labels": labels})})


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_is_handed_to_the_queue_and_only_its_job(stage: Stage) -> None:
    job = labelled(**{QUEUE: "hr", PRIORITY: "high", "team": "hr"})

    manifest = stage_job(Attempt(job, stage, 1), config())

    labels = manifest["metadata"]["labels"]
    assert (labels[QUEUE], labels[PRIORITY], manifest["spec"]["suspend"]) == ("hr", "high", True)
    assert "team" not in labels
    assert not [name for name in manifest["spec"]["template"]["metadata"]["labels"] if "kueue" in name]


def test_without_a_queue_nothing_is_held_back() -> None:
    manifest = stage_job(Attempt(labelled(), Stage.TRAIN, 1), config())

    assert "suspend" not in manifest["spec"]


def test_what_follows_a_training_may_have_a_priority_of_its_own() -> None:
    settings = config().model_copy(update={"kueue": Kueue(follow_up_priority_class="soon")})
    queued, free = labelled(**{QUEUE: "hr", PRIORITY: "low"}), labelled()

    found = [stage_job(Attempt(queued, stage, 1), settings)["metadata"]["labels"][PRIORITY] for stage in Stage]
    assert found == ["low", "low", "soon", "soon"]
    assert PRIORITY not in stage_job(Attempt(free, Stage.PUBLISH, 1), settings)["metadata"]["labels"]


def held(admission: Admission | None = None, queue: str = "hr", **changes: Any) -> Snapshot:
    """A training that is suspended."""
    snapshot = replace(until_stage(Stage.TRAIN, world(config=WATCHING)), admission=admission)
    job = child(Stage.TRAIN, suspended=True, suspended_at=NOW, queue=queue)
    return replace(snapshot, jobs=(*snapshot.jobs[:-1], job), **changes)


def test_a_waiting_job_says_what_kueue_says_and_its_place() -> None:
    status = reconcile(held(Admission(WORKLOAD, ahead=2)), NOW).status

    assert (status.state, status.reason) == (JobState.QUEUED, Reason.WAITING_FOR_QUOTA)
    assert status.message == "Job hr-bot-0a1b2-train-1 waits in queue hr, 2 before it: no GPU is left"


@pytest.mark.parametrize(
    ("admission", "queue", "told"),
    [
        (None, "", "names no queue: set the label kueue.x-k8s.io/queue-name of the FineTuneJob"),
        (None, "hr", "names queue hr, and Kueue has not taken it up yet; is Kueue running?"),
        (Admission(replace(WORKLOAD, message=""), 1), "hr", "waits in queue hr, 1 before it: its turn has not come"),
        (Admission(replace(WORKLOAD, waiting=False), 0), "hr", "is admitted by queue hr and about to start"),
    ],
)
def test_other_waits_say_what_is_missing(admission: Admission | None, queue: str, told: str) -> None:
    status = reconcile(held(admission, queue), NOW).status

    assert (status.state, status.reason) == (JobState.QUEUED, Reason.WAITING_FOR_QUOTA)
    assert told in (status.message or "")


@pytest.mark.parametrize(
    ("why", "reason"), [("Preempted", Reason.PREEMPTED), ("ClusterQueueStopped", FailureCode.EVICTED)]
)
def test_an_evicted_training_says_why_saves_and_waits_and_an_event_tells_it_once(why: str, reason: str) -> None:
    evicted = Admission(replace(WORKLOAD, evicted=why, evicted_message="for a job of higher priority."), ahead=0)
    saving = held(evicted, pods=(pod(Stage.TRAIN),))

    plan = reconcile(saving, NOW)
    assert (plan.status.state, plan.status.reason) == (JobState.QUEUED, reason)
    left = f"had to leave its nodes ({why}: for a job of higher priority)"
    assert plan.status.message == f"Job hr-bot-0a1b2-train-1 {left}; its pods save their work"
    assert [event.reason for event in plan.events] == [reason]

    waiting = reconcile(with_status(saving, plan, pods=(pod(Stage.TRAIN, gone=True),)), NOW)
    assert waiting.status.message == f"Job hr-bot-0a1b2-train-1 {left}; it waits in queue hr: no GPU is left"
    assert not waiting.events
    assert waiting.create == waiting.delete == ()
    assert waiting.status.usage.restarts == 0


def workload(number: int, *, priority: int = 0, queue: str = "hr", **conditions: str) -> dict[str, Any]:
    """Conditions by type: True, or False with the message."""
    owner = {"kind": "Job", "name": f"job-{number}", "uid": f"job-{number}", "controller": True}
    listed = [
        {"type": kind, "status": told if told == "True" else "False", "message": told, "reason": "Because"}
        for kind, told in conditions.items()
    ]
    created = f"2026-03-01T12:00:{number:02}Z"
    metadata = {"uid": f"w-{number}", "namespace": "team", "creationTimestamp": created, "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"queueName": queue, "priority": priority}, "status": {"conditions": listed}}


def test_the_place_goes_by_priority_and_age_among_those_that_wait_in_the_same_queue() -> None:
    told: list[Key] = []
    admissions = Admissions(told.append)

    def take(document: dict[str, Any], *, deleted: bool = False) -> None:
        admissions.workload_event(WORKLOADS, document, deleted=deleted, listed=False)

    ours = Key("team", "hr-bot")
    assert admissions.of("job-5", ours) is None
    for document in (
        workload(1, QuotaReserved="no quota"), workload(2, QuotaReserved="True"), workload(3, queue="other"),
        workload(4, priority=-1), workload(6, priority=9), workload(5, QuotaReserved="no quota"), workload(7),
    ):  # fmt: skip
        take(document)

    found = admissions.of("job-5", ours)
    assert found
    assert (found.ahead, found.workload.message) == (2, "no quota")
    assert told == [ours]

    take(workload(1), deleted=True)
    take(workload(5, QuotaReserved="True"))
    found = admissions.of("job-5", ours)
    assert found
    assert (found.ahead, found.workload.waiting) == (1, False)
    assert told == [ours, ours]

    admissions.listing("team")
    assert admissions.of("job-5", ours) is None
    admissions.forget("job-5")
    take(workload(5))
    assert told == [ours, ours]


def test_what_has_ended_or_is_no_job_is_not_kept() -> None:
    admissions = Admissions(lambda _: None)
    finished, foreign = workload(1, Finished="True"), workload(2)
    foreign["metadata"]["ownerReferences"][0]["kind"] = "RayJob"
    for document in (finished, foreign):
        admissions.workload_event(WORKLOADS, document, deleted=False, listed=True)

    assert admissions.of("job-1", Key("team", "a")) is None
    assert admissions.of("job-2", Key("team", "b")) is None
