"""Failure codes and what they share with the contract of the stages."""

from __future__ import annotations

import pytest

from vernacular.api import FAILURES, Consequence, FailureCode, Reason, Stage
from vernacular.api.conditions import Condition
from vernacular.api.status import FailureStatus
from vernacular_trainer import contract
from vernacular_trainer.errors import USER_FIXABLE


def test_every_failure_that_a_stage_reports_is_a_code_of_the_api() -> None:
    assert {str(code) for code in contract.StageFailure} - set(FailureCode) == set()


def test_stages_end_with_78_exactly_for_what_is_never_retried() -> None:
    never = {code for code in contract.StageFailure if FAILURES[FailureCode(code)].consequence == "NeverRetried"}

    assert never == USER_FIXABLE


@pytest.mark.parametrize("code", FailureCode)
def test_every_code_is_explained(code: FailureCode) -> None:
    assert FAILURES[code].meaning.endswith(".")
    assert FAILURES[code].consequence in Consequence


def test_stages_are_called_the_same_on_both_sides() -> None:
    assert [str(stage) for stage in Stage] == [str(stage) for stage in contract.Stage]


@pytest.mark.parametrize("code", FailureCode)
def test_every_code_has_advice_that_says_what_to_do(code: FailureCode) -> None:
    advice = FAILURES[code].advice

    assert advice.endswith(".")
    assert 20 < len(advice) <= 256
    assert FailureStatus(code=code, message="m", advice=advice).advice == advice


@pytest.mark.parametrize("reason", [*Reason, *FailureCode])
def test_every_reason_and_code_can_be_the_reason_of_a_condition(reason: str) -> None:
    condition = Condition(type="Failed", status="True", reason=reason, last_transition_time="2026-01-02T03:04:05Z")

    assert condition.to_dict()["reason"] == reason


def test_codes_are_what_their_names_say() -> None:
    assert [code for code in FailureCode if code.name != _snake(code)] == []


def _snake(word: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in word).lstrip("_")
