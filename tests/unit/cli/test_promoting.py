"""Which version is promoted, and when a person is asked first."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from support.cli_jobs import TRAINING, job
from vernacular.api.constants import DEFAULT_PROMOTED_ALIAS
from vernacular.cli import promoting
from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError
from vernacular.cli.mlflow import Mlflow, address_of
from vernacular.cli.promoting import Promotion, alias_of, choose, decide, model_of
from vernacular.cli.registry import Reviewed, Version

MLFLOW = {"registeredModel": "demo.hr-bot", "modelVersion": "3", "url": "https://mlflow.example.org/x/#/experiments/1"}


COMMANDS = Commands("vernacular", "demo")


def version(number: int, *aliases: str, replaced: str = "") -> Version:
    """Version 3 is that of the job."""
    uid = "uid-hr-bot" if number == 3 else "another"
    return Version("demo.hr-bot", number, aliases, "hr-bot", 0, replaced, uid, f"run-{number}")


def published(verdict: str = "Promote", **evaluation: Any) -> dict[str, Any]:
    return job("hr-bot", {"mlflow": MLFLOW, "evaluation": {"verdict": verdict, **evaluation}})


def promoted(job: dict[str, Any], versions: list[Version], number: int | None, verdict: str = "") -> Promotion:
    return decide(job, versions, choose(job, versions, number, "http://mlflow"), "champion", verdict)


def test_the_version_of_the_job() -> None:
    promotion = promoted(published(), [version(3), version(2, "champion")], None)

    assert (promotion.version.number, promotion.before, promotion.doubt) == (3, "2", "")
    assert not promotion.needless


def test_back_to_another_version() -> None:
    promotion = promoted(published("Hold"), [version(3, "champion"), version(2)], 2, "Promote")

    # the verdict is about version 3
    assert (promotion.version.number, promotion.before, promotion.doubt) == (2, "3", "")


@pytest.mark.parametrize(("verdict", "says"), [("Regressed", "is Regressed"), ("", "is not known")])
def test_another_version_without_a_verdict_of_promote(verdict: str, says: str) -> None:
    doubt = promoted(published(), [version(3, "champion"), version(2)], 2, verdict).doubt

    assert doubt == f"The verdict on version 2 {says}. Promote it all the same?"


@pytest.mark.parametrize(("own", "other"), [("", "none"), ("2", "")])
def test_a_version_that_was_promoted_before(own: str, other: str) -> None:
    versions = [version(3, replaced=own), version(2, replaced=other)]

    assert promoted(published(), versions, 2, "Hold").doubt == ""


def test_a_version_of_the_same_number_in_another_mlflow() -> None:
    other = Version("demo.hr-bot", 3, (), "hr-bot", 0, "", "another")

    with pytest.raises(CliError, match="in MLflow at http://mlflow is not of hr-bot"):
        promoted(published(), [other], None)
    # told by its number it is asked about: the verdict of the job is not its own
    assert promoted(published(), [other], 3).doubt


def test_a_verdict_that_says_no() -> None:
    hold = published("Hold", summary="Tuned 3 of 9 right.", gateMissed=["33 % right, 80 % demanded"])

    assert promoted(hold, [version(3)], None).doubt == (
        "The verdict is Hold. Tuned 3 of 9 right. The gate was missed: 33 % right, 80 % demanded."
        " Promote it all the same?"
    )


def reviewed(verdict: str, number: int = 3) -> Version:
    review = Reviewed(verdict, "Tuned 3 of 9 right.", "ada", "2026-01-02T03:00:00+00:00")
    return dataclasses.replace(version(number), review=review)


def test_a_review_counts_instead_of_the_verdict() -> None:
    hold = published("Hold")

    assert promoted(hold, [reviewed("Promote")], None).doubt == ""
    assert promoted(hold, [version(3), reviewed("Promote", 2)], 2, "Hold").doubt == ""
    assert promoted(published(), [reviewed("Hold")], None).doubt == (
        "The review of version 3 by ada, 2026-01-02T03:00:00+00:00, says Hold. Tuned 3 of 9 right."
        " Promote it all the same?"
    )


def test_a_version_that_its_review_found_worse_is_promoted_by_force_alone() -> None:
    versions = [reviewed("Regressed")]

    with pytest.raises(CliError, match=r"by ada, .* says Regressed\. Tuned 3 of 9 right\.") as caught:
        promoted(published(), versions, None)
    assert "--force" in caught.value.advice
    assert decide(published(), versions, versions[0], "champion", "", force=True).doubt.endswith("all the same?")


def test_a_version_that_has_the_alias() -> None:
    assert promoted(published(), [version(3, "champion")], None).needless


def test_a_version_that_is_not_there() -> None:
    with pytest.raises(CliError) as caught:
        promoted(published(), [version(3), version(2)], 9)

    assert caught.value.message == "model demo.hr-bot has no version 9"
    assert caught.value.advice == "there are: 3, 2"


def test_a_job_that_has_published_nothing() -> None:
    # the operator names the model when it opens the run
    training = {**TRAINING["status"], "mlflow": {"runID": "abc", "registeredModel": "demo.hr-bot"}}
    for status in ({}, training):
        with pytest.raises(CliError, match="hr-bot has published no version") as caught:
            model_of(job("hr-bot", status), None, COMMANDS)
        assert caught.value.advice.startswith("vernacular describe hr-bot -n demo")
    assert model_of(job("hr-bot", training), 2, COMMANDS) == "demo.hr-bot"


def test_the_alias() -> None:
    assert alias_of(published(), None) == DEFAULT_PROMOTED_ALIAS == promoting.DEFAULT_PROMOTED_ALIAS
    assert alias_of(job("a", {}, publish={"promotedAlias": "prod"}), None) == "prod"
    assert alias_of(job("a", {}, publish={"promotedAlias": "prod"}), "test") == "test"


def test_a_certificate_that_is_not_there() -> None:
    with pytest.raises(CliError, match="of MLFLOW_TRACKING_SERVER_CERT_PATH cannot be used: No such file"):
        Mlflow("https://mlflow", {"MLFLOW_TRACKING_SERVER_CERT_PATH": "nowhere.pem"})


def test_where_mlflow_is() -> None:
    jobs = [published(), job("a", {}), job("b", {"mlflow": {"url": "file:///x"}})]

    assert address_of("http://flag", {"MLFLOW_TRACKING_URI": "http://env"}, jobs) == "http://flag"
    assert address_of(None, {"MLFLOW_TRACKING_URI": "http://env"}, jobs) == "http://env"
    assert address_of(None, {}, jobs) == "https://mlflow.example.org/x"
    with pytest.raises(CliError, match="no job says where MLflow is"):
        address_of(None, {}, jobs[1:])
