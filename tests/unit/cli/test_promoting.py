"""Which version is promoted, and when a person is asked first."""

from __future__ import annotations

from typing import Any

import pytest

from support.cli_jobs import job
from vernacular.api.constants import DEFAULT_PROMOTED_ALIAS
from vernacular.cli import promoting
from vernacular.cli.errors import CliError
from vernacular.cli.promoting import alias_of, decide, model_of
from vernacular.cli.registry import Version, address_of

MLFLOW = {"registeredModel": "demo.hr-bot", "modelVersion": "3", "url": "https://mlflow.example.org/x/#/experiments/1"}


def version(number: int, *aliases: str) -> Version:
    return Version("demo.hr-bot", number, aliases, "hr-bot", 0, "")


def published(verdict: str = "Promote", **evaluation: Any) -> dict[str, Any]:
    return job("hr-bot", {"mlflow": MLFLOW, "evaluation": {"verdict": verdict, **evaluation}})


def test_the_version_of_the_job() -> None:
    promotion = decide(published(), [version(3), version(2, "champion")], None, "champion")

    assert (promotion.version.number, promotion.before, promotion.doubt) == (3, "2", "")
    assert not promotion.needless


def test_back_to_another_version() -> None:
    promotion = decide(published("Hold"), [version(3, "champion"), version(2)], 2, "champion")

    # the verdict is about version 3
    assert (promotion.version.number, promotion.before, promotion.doubt) == (2, "3", "")


def test_a_verdict_that_says_no() -> None:
    hold = published("Hold", summary="Tuned 3 of 9 right.", gateMissed=["33 % right, 80 % demanded"])

    assert decide(hold, [version(3)], None, "champion").doubt == (
        "The verdict is Hold. Tuned 3 of 9 right. The gate was missed: 33 % right, 80 % demanded."
        " Promote it all the same?"
    )


def test_a_version_that_has_the_alias() -> None:
    assert decide(published(), [version(3, "champion")], None, "champion").needless


def test_a_version_that_is_not_there() -> None:
    with pytest.raises(CliError) as caught:
        decide(published(), [version(3), version(2)], 9, "champion")

    assert caught.value.message == "model demo.hr-bot has no version 9"
    assert caught.value.advice == "there are: 3, 2"


def test_a_job_that_has_published_nothing() -> None:
    with pytest.raises(CliError, match="hr-bot has published no version"):
        model_of(job("hr-bot", {}))


def test_the_alias() -> None:
    assert alias_of(published(), None) == DEFAULT_PROMOTED_ALIAS == promoting.DEFAULT_PROMOTED_ALIAS
    assert alias_of(job("a", {}, publish={"promotedAlias": "prod"}), None) == "prod"
    assert alias_of(job("a", {}, publish={"promotedAlias": "prod"}), "test") == "test"


def test_where_mlflow_is() -> None:
    jobs = [published(), job("a", {}), job("b", {"mlflow": {"url": "file:///x"}})]

    assert address_of("http://flag", {"MLFLOW_TRACKING_URI": "http://env"}, jobs) == "http://flag"
    assert address_of(None, {"MLFLOW_TRACKING_URI": "http://env"}, jobs) == "http://env"
    assert address_of(None, {}, jobs) == "https://mlflow.example.org/x"
    with pytest.raises(CliError, match="no job says where MLflow is"):
        address_of(None, {}, jobs[1:])
