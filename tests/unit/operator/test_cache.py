"""The cache: newer versions win, reports outlive their pods, and a namesake is another job."""

from __future__ import annotations

from typing import Any

import pytest

from support.worlds import fine_tune_job
from vernacular.api import FineTuneJobStatus, JobState, Stage
from vernacular.api.names import attempt_labels
from vernacular_operator.runtime.cache import Cache, Key, Outcome

KEY = Key("demo", "hr-bot")


def job_document(uid: str = "uid-1", version: int = 1, status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"name": "hr-bot", "namespace": "demo", "uid": uid, "generation": 1, "resourceVersion": str(version)}
    return {
        "apiVersion": "vernacular.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": metadata,
        "spec": fine_tune_job().spec.to_dict(),
        "status": status or {},
    }


def child_document(uid: str, version: int = 1, *, template: bool = False, owner: str = "uid-1") -> dict[str, Any]:
    labels = attempt_labels("hr-bot", owner, Stage.TRAIN, 1)
    return {
        "metadata": {"name": uid, "namespace": "demo", "uid": uid, "resourceVersion": str(version), "labels": labels},
        "spec": {"template": {}} if template else {},
        "status": {},
    }


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    assert cache.put_job(job_document(version=5, status={"state": "Training"})) == KEY
    assert cache.put_job(job_document(version=4)) is None

    job = cache.job(KEY)
    assert job is not None
    assert job.status.state == "Training"


def test_the_echo_of_an_own_write_tells_nothing_new() -> None:
    cache = Cache()
    cache.put_job(job_document(version=5))
    job = cache.job(KEY)
    assert job is not None
    written = job.status.model_copy(update={"state": JobState.TRAINING})
    cache.put_status(KEY, job, written, "7")

    stored = cache.job(KEY)
    assert stored is not None
    assert (stored.status, stored.metadata.resource_version) == (written, "7")
    assert cache.put_job(job_document(version=7, status={"state": "Training"})) is None


def test_a_written_status_replaces_nothing_that_a_watch_told_meanwhile() -> None:
    cache = Cache()
    cache.put_job(job_document(version=5))
    job = cache.job(KEY)
    assert job is not None
    cache.put_job(job_document(version=9))
    cache.put_status(KEY, job, job.status, "7")
    newer = cache.job(KEY)
    assert newer is not None
    assert newer.metadata.resource_version == "9"

    cache.drop_job("uid-1")
    cache.put_status(KEY, job, job.status, "7")
    assert cache.job(KEY) is None


def test_a_namesake_with_another_uid_starts_anew() -> None:
    cache = Cache()
    cache.put_job(job_document("uid-1", 5))
    cache.put_child(child_document("pod"))
    cache.put_job(job_document("uid-2", 6))

    assert cache.key_of("uid-1") is None
    assert cache.children("uid-1") == ((), ())
    assert cache.children("uid-2") == ((), ())


def test_children_that_come_before_their_job_are_kept() -> None:
    cache = Cache()
    assert cache.put_child(child_document("job", template=True)) == KEY
    cache.put_job(job_document())

    jobs, pods = cache.children("uid-1")
    assert [item.name for item in jobs] == ["job"]
    assert pods == ()


def test_a_pod_is_remembered_after_it_is_gone_and_a_job_is_not() -> None:
    cache = Cache()
    cache.put_job(job_document())
    cache.put_child(child_document("pod"))
    cache.put_child(child_document("job", template=True))
    cache.put_child(child_document("pod", 2), gone=True)
    cache.put_child(child_document("job", 2, template=True), gone=True)

    jobs, pods = cache.children("uid-1")
    assert jobs == ()
    assert [item.gone for item in pods] == [True]


def test_what_a_list_does_not_show_any_more_is_gone() -> None:
    cache = Cache()
    cache.put_job(job_document())
    cache.put_child(child_document("pod"))
    known = cache.known("demo")
    assert (dict(known.jobs), dict(known.children)) == ({"uid-1": KEY}, {"pod": "uid-1"})

    cache.child_gone("uid-1", "pod")
    assert cache.children("uid-1")[1][0].gone
    assert cache.known("elsewhere").jobs == {}
    dropped = cache.drop_job("uid-1")
    assert dropped is not None
    assert cache.job(KEY) is None


def ended(condition: str = "Failed") -> dict[str, Any]:
    true = {"type": condition, "status": "True", "reason": "X", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    return {"observedGeneration": 1, "state": "Failed", "conditions": [true], "mlflow": {"runID": "run-1"},
            "usage": {"gpuSeconds": 7}}  # fmt: skip


def test_pods_of_a_job_that_has_ended_cost_no_memory() -> None:
    cache = Cache()
    cache.put_job(job_document())
    cache.put_child(child_document("pod"), gone=True)
    cache.put_job(job_document(version=2, status=ended()))

    assert cache.children("uid-1")[1] == ()
    assert cache.put_child(child_document("other", 3)) is None


def test_of_a_job_that_has_ended_only_its_end_is_kept() -> None:
    cache = Cache()
    cache.put_job(job_document(version=2, status=ended("Complete")))

    assert cache.job(KEY) is None
    assert list(cache.jobs()) == []
    assert cache.outcome("uid-1") == Outcome("run-1", ended=True, succeeded=True)
    assert "gpuSeconds" not in str(vars(cache))
    assert cache.states() == {"Failed": 1}
    assert cache.version_of({"uid": "uid-1"}) == 2
    assert cache.put_job(job_document(version=1)) is None
    assert cache.known("demo").jobs == {"uid-1": KEY}

    cache.put_job(job_document("uid-2", 3))
    assert cache.outcome("uid-1") is None
    assert cache.outcome("uid-2") == Outcome("", ended=False, succeeded=False)


def test_a_job_that_ends_by_an_own_write_is_kept_as_if_a_list_had_shown_it() -> None:
    cache, listed = Cache(), Cache()
    cache.put_job(job_document())
    listed.put_job(job_document(version=7, status=ended()))
    job = cache.job(KEY)
    assert job is not None
    cache.put_status(KEY, job, FineTuneJobStatus.model_validate(ended()), "7")

    assert cache.job(KEY) is None
    failed = Outcome("run-1", ended=True, succeeded=False)
    assert cache.outcome("uid-1") == listed.outcome("uid-1") == failed
    assert cache.put_job(job_document(version=7, status=ended())) is None


def test_a_job_that_was_changed_after_its_end_is_looked_at_again() -> None:
    cache = Cache()
    document = job_document(status=ended())
    document["metadata"]["generation"] = 2
    cache.put_job(document)

    assert cache.job(KEY) is not None


def test_a_job_that_is_to_be_deleted_some_time_is_kept_whole() -> None:
    cache = Cache()
    document = job_document(status=ended())
    document["spec"]["runPolicy"] = {"ttlSecondsAfterFinished": 0}
    cache.put_job(document)

    job = cache.job(KEY)
    assert job is not None
    assert job.status.terminal
    assert cache.outcome("uid-1") == Outcome("run-1", ended=True, succeeded=False)
    dropped = cache.drop_job("uid-1")
    assert dropped is not None


def test_a_job_that_cannot_be_read_is_logged_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    document = job_document()
    document["spec"]["training"] = {"epochs": "three"}

    assert Cache().put_job(document) is None
    assert "demo/hr-bot" in caplog.text


def test_a_job_that_was_deleted_does_not_come_back() -> None:
    cache = Cache()
    cache.put_job(job_document("uid-1", version=1))
    cache.note_deleted("uid-1")

    assert cache.put_job(job_document("uid-1", version=1)) is None
    assert cache.key_of("uid-1") is None
    # a namesake is another job
    assert cache.put_job(job_document("uid-2", version=3))


def test_deletions_take_no_more_and_more_memory() -> None:
    cache = Cache()
    for number in range(30_000):
        cache.note_deleted(f"uid-{number}")

    assert cache.put_job(job_document("uid-29999")) is None
    assert cache.put_job(job_document("uid-1"))
