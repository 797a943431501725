"""Names of children: deterministic, different for different jobs, short enough for pod host names."""

from __future__ import annotations

import re

from vernacular.api import Stage, names

UID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
LONGEST = "a" * 40


def test_names_say_job_stage_and_attempt() -> None:
    assert names.child_name("hr-bot", UID, Stage.TRAIN, 2) == "hr-bot-0a1b2-train-2"
    assert names.workspace_claim_name("hr-bot", UID) == "hr-bot-0a1b2-workspace"
    assert names.tracking_name("demo", "hr-bot") == "demo.hr-bot"


def test_two_jobs_of_one_name_have_different_children() -> None:
    assert names.child_name("a", UID, Stage.TRAIN, 1) != names.child_name("a", "f" + UID, Stage.TRAIN, 1)


def test_host_names_of_the_last_pod_of_the_last_attempt_fit() -> None:
    for stage in Stage:
        host = f"{names.child_name(LONGEST, UID, stage, 101)}-{1023 if stage is Stage.TRAIN else 0}"
        assert len(host) <= 63
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", host)


def test_labels_of_an_attempt_contain_those_of_the_job() -> None:
    job, attempt = names.job_labels("hr-bot", UID), names.attempt_labels("hr-bot", UID, Stage.TRAIN, 2)

    assert job == {
        "app.kubernetes.io/managed-by": "vernacular",
        "vernacular.dev/job-name": "hr-bot",
        "vernacular.dev/job-uid": UID,
    }
    assert attempt == {**job, "vernacular.dev/stage": "train", "vernacular.dev/attempt": "2"}
