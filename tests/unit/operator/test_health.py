"""Health: a broken watch, a stuck worker and an old list are noticed, and nothing else is."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from support.worlds import NOW
from vernacular_operator.kube.api import Object
from vernacular_operator.runtime.cache import Key
from vernacular_operator.runtime.health import Health, UnhealthyError

KEY = Key("demo", "hr-bot")


class Hands:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def health(hands: Hands) -> Health:
    health = Health(hands, resync_seconds=300)
    health.resynced()
    return health


def test_an_operator_that_has_not_listed_yet_is_not_ready(hands: Hands) -> None:
    with pytest.raises(UnhealthyError, match="first lists"):
        Health(hands, resync_seconds=300).check(waiting=0)


def test_an_idle_operator_is_healthy(health: Health, hands: Hands) -> None:
    hands.turn(900)

    health.check(waiting=0)


def version(number: int) -> Object:
    return {"uid": "u", "namespace": "demo", "name": "hr-bot", "resourceVersion": str(number)}


def test_what_the_watch_never_shows_is_unhealthy(health: Health, hands: Hands) -> None:
    health.expect("jobs", version(7), known=6)
    hands.turn(119)
    health.check(waiting=0)
    hands.turn(2)
    with pytest.raises(UnhealthyError, match="watch of jobs has not shown version 7 of demo/hr-bot"):
        health.check(waiting=0)
    health.saw(version(7))

    health.check(waiting=0)


def test_what_the_watch_showed_before_is_not_waited_for(health: Health, hands: Hands) -> None:
    health.expect("jobs", version(7), known=7)
    hands.turn(500)

    health.check(waiting=0)


def test_a_watch_that_is_late_but_moves_is_healthy(health: Health, hands: Hands) -> None:
    health.expect("jobs", version(7), known=5)
    hands.turn(100)
    health.saw(version(6))
    hands.turn(100)

    health.check(waiting=0)


def test_newer_versions_do_not_hide_that_the_watch_stands_still(health: Health, hands: Hands) -> None:
    health.expect("jobs", version(7), known=6)
    hands.turn(100)
    health.expect("jobs", version(8), known=7)
    hands.turn(100)

    with pytest.raises(UnhealthyError, match="version 8"):
        health.check(waiting=0)


def test_an_object_that_is_gone_is_not_waited_for(health: Health, hands: Hands) -> None:
    health.expect("jobs", version(7), known=6)
    health.forgot("u")
    hands.turn(500)

    health.check(waiting=0)


def test_an_answer_that_comes_after_the_last_words_of_the_watch_is_nothing_to_wait_for(
    health: Health, hands: Hands
) -> None:
    health.forgot("u")
    health.expect("finetunejobs", version(7), known=0)
    hands.turn(500)

    health.check(waiting=0)


def test_a_worker_that_never_ends_is_unhealthy(health: Health, hands: Hands) -> None:
    health.began(KEY)
    hands.turn(121)
    with pytest.raises(UnhealthyError, match="hr-bot"):
        health.check(waiting=0)
    health.ended(KEY)

    health.check(waiting=0)


def test_keys_that_nobody_takes_are_unhealthy(health: Health, hands: Hands) -> None:
    health.check(waiting=3)
    hands.turn(121)
    with pytest.raises(UnhealthyError, match="3 keys"):
        health.check(waiting=3)


def test_a_list_that_never_goes_through_is_unhealthy(health: Health, hands: Hands) -> None:
    hands.turn(1021)
    with pytest.raises(UnhealthyError, match="resync"):
        health.check(waiting=0)
    health.resynced()

    health.check(waiting=0)
