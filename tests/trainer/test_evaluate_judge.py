"""Second opinions: a judge and embeddings behind an OpenAI-compatible server, which may be away or broken."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest

from support.canaries import canary, forms
from support.openai_server import OpenAiServer
from vernacular_trainer.contract import JudgeConfig, ServiceConfig
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.evaluation.embeddings import similarities, similarity_of
from vernacular_trainer.evaluation.judging import (
    Opinion,
    Pair,
    Preference,
    chat_with,
    choice_in,
    opinion_of,
    question_for,
    sample,
)
from vernacular_trainer.evaluation.model_service import ModelService, ServiceError


def pair(place: int, base: str, tuned: str) -> Pair:
    return Pair(place, Question("q", (Message("user", f"{place}?"),), "90 days"), base, tuned)


PAIRS = [pair(0, "30 days", "90 days"), pair(1, "90 days", "none"), pair(2, "no", "NO "), pair(3, "a", "b")]


def prefers(text: str) -> OpenAiServer:
    """A judge that finds answers with this text right, and knows no more."""
    said = {(True, False): "first", (False, True): "second"}
    return OpenAiServer(lambda first, second: f"Hm.\n**Answer:** {said.get((text in first, text in second), 'equal')}")


def asked(server: OpenAiServer, pairs: list[Pair], most: int = 100, name: str = "", folder: Path = Path()) -> Opinion:
    service = ServiceConfig(f"{server.uri}/v1/", "judge-1", name, str(folder))
    return opinion_of(JudgeConfig(service, most), pairs, 1e9, lambda: 0.0)


def test_what_the_judge_says_twice_counts() -> None:
    with prefers("90 days") as server:
        found = asked(server, PAIRS)

    assert found.preferences == {0: "tuned", 1: "base", 2: "equal", 3: "equal"}
    assert found.trouble == ""
    # the same answer in other white space is no question
    assert len(server.requests) == 6
    assert {request["model"] for request in server.requests} == {"judge-1"}
    assert {request["key"] for request in server.requests} == {None}


@pytest.mark.parametrize("reply", ["Answer: first", "answer - SECOND", "no idea", ""])
def test_a_judge_that_looks_at_the_place_prefers_nothing(reply: str) -> None:
    with OpenAiServer(lambda first, second: reply) as server:
        found = asked(server, PAIRS)

    assert found.preferences == {0: "unsure", 1: "unsure", 2: "equal", 3: "unsure"}
    assert found.count(Preference.UNSURE) == 3


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("The first is worse than the second.\nAnswer: second", "second"),
        ("Answer: first? No.\n**Answer: equal**", "equal"),
        (" second.\n", "second"),
        ("The second is better.", ""),
        ("Answer: third", ""),
    ],
)
def test_what_a_judge_says_last(text: str, choice: str) -> None:
    assert choice_in(text) == choice


def test_the_lead_is_of_what_the_judge_is_sure_of() -> None:
    questions = [item.question for item in PAIRS] * 5
    sure = dict.fromkeys(range(12), Preference.TUNED) | {12: Preference.BASE}
    opinion = Opinion("m", sure | dict.fromkeys(range(13, 20), Preference.UNSURE))

    points = opinion.points([Question("q", (Message("user", str(place)),), "x") for place in range(20)])

    assert points.value == pytest.approx(100 * 11 / 13)
    assert points.better
    # one question in twenty wordings proves nothing
    assert not opinion.points([questions[0]] * 20).better


def test_a_judge_is_not_asked_more_than_it_may_and_always_the_same() -> None:
    pairs = [pair(place, "a", "a" if place % 2 else "b") for place in range(40)]

    chosen = sample(pairs, 10)

    assert sum(item.differ for item in chosen) == 10
    assert chosen == sample(pairs, 10)
    assert [item.place for item in chosen] == sorted(item.place for item in chosen)
    assert sample(pairs, 100) == tuple(pairs)
    with prefers("b") as server:
        found = asked(server, pairs, most=7)
    assert len(server.requests) == 6
    assert sum(item == "tuned" for item in found.preferences.values()) == 3


def test_the_judge_knows_what_is_right() -> None:
    question = Question(
        "q",
        (Message("system", "Be brief."), Message("user", "How long?")),
        "",
        must_contain=(("90 days", "three months"),),
        must_not_contain=("30 days",),
        answerable=False,
    )

    text = question_for(question, "one", "two")

    for part in ("How long?", "90 days or three months", "does not say: 30 days", "Nobody can know", "one", "two"):
        assert part in text
    assert "Be brief." not in text
    long = Question("q", (*question.messages, Message("assistant", "90"), Message("user", "Days?")), "x")
    assert "user: How long?\nassistant: 90\nuser: Days?" in question_for(long, "", "")


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (OpenAiServer(broken=(401, 0)), "4 of 4 pairs were not judged: {uri}/v1/ answers HTTP 401"),
        (OpenAiServer(broken=(404, 2)), "of 4 pairs were not judged: {uri}/v1/ answers HTTP 404"),
        (OpenAiServer(lambda first, second: None), ""),  # type: ignore[arg-type,return-value]
    ],
    ids=["refused", "refused later", "says nothing"],
)
def test_a_server_that_does_not_help_is_told_of_and_not_asked_for_ever(server: OpenAiServer, says: str) -> None:
    pairs = [pair(place, "a", "b") for place in range(4)]
    with server:
        found = asked(server, pairs)

    assert says.format(uri=server.uri) in found.trouble
    assert "tuned" not in found.preferences.values()
    assert len(server.requests) <= 8


def test_a_server_that_is_away() -> None:
    service = ServiceConfig("http://127.0.0.1:9/v1", "judge-1")
    pauses: list[float] = []

    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9/v1 does not answer \(ConnectionRefusedError\)"):
        ModelService(service, pauses.append).ask("chat/completions", {})

    assert pauses == [1.0, 4.0]


def test_a_server_that_is_busy_is_asked_again() -> None:
    pauses: list[float] = []
    with OpenAiServer(broken=(429, 0)) as server:

        def recover(seconds: float) -> None:
            pauses.append(seconds)
            server.broken = None

        answer = ModelService(ServiceConfig(f"{server.uri}/v1", "m"), recover).ask("embeddings", {"input": ["a"]})

    assert pauses == [1.0]
    assert answer["data"][0]["index"] == 0


@pytest.mark.parametrize("raw", ["<html>", "{}", '{"choices": []}', '{"data": [{"index": 1}]}', "7", "[null]"])
def test_what_answers_something_else(raw: str) -> None:
    with OpenAiServer(raw=raw) as server:
        service = ServiceConfig(f"{server.uri}/v1", "m")
        with pytest.raises(ServiceError) as caught:
            chat_with(service)("x")
        found = similarity_of(service, ["a"], ["b"], ["c"])

    assert str(caught.value) == f"{server.uri}/v1 does not answer as an OpenAI-compatible server" == found.trouble
    assert (found.base, found.tuned) == ((None,), (None,))


def test_a_model_that_takes_no_settings_is_asked_without() -> None:
    with OpenAiServer(lambda first, second: "Answer: equal", plain=True) as server:
        found = asked(server, [pair(0, "a", "b")])

    assert found.preferences == {0: "equal"}


def test_time_that_is_up() -> None:
    seconds = itertools.count()
    with prefers("b") as server:
        config = JudgeConfig(ServiceConfig(f"{server.uri}/v1", "m"), 1000)
        found = opinion_of(config, [pair(place, "a", "b") for place in range(20)], 5.0, lambda: next(seconds))

    assert len(found.preferences) == 5
    assert found.trouble == "15 of 20 pairs were not judged: there was no more time"


def secret(folder: Path, key: str) -> Path:
    (folder / "OPENAI_API_KEY").write_text(f"{key}\n")
    return folder


def test_the_key_is_sent_to_its_server_and_told_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = canary("key").replace(" ", "")
    with caplog.at_level(logging.DEBUG), prefers("90 days") as server, OpenAiServer() as other:
        server.key = key
        good = asked(server, PAIRS, name="judge", folder=secret(tmp_path, key))
        server.key = "another"
        wrong = asked(server, PAIRS, name="judge", folder=tmp_path)
        server.redirect = f"{other.uri}/v1/chat/completions"
        led_away = asked(server, PAIRS, name="judge", folder=tmp_path)

    assert good.preferences[0] == "tuned"
    assert "HTTP 401" in wrong.trouble
    assert "HTTP 307" in led_away.trouble
    assert other.requests == []
    told = f"{good}{wrong}{led_away}{caplog.text}".encode()
    assert not [form for form in forms(key) if form in told]


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel"])
def test_a_secret_without_a_key(tmp_path: Path, key: str) -> None:
    with prefers("x") as server:
        unusable = asked(server, PAIRS, name="judge", folder=secret(tmp_path, key))
        missing = asked(server, PAIRS, name="judge", folder=tmp_path / "nowhere")

    assert unusable.trouble == missing.trouble == "the Secret judge has no usable OPENAI_API_KEY"
    assert server.requests == []


def test_an_authority_that_is_none(tmp_path: Path) -> None:
    (secret(tmp_path, "key") / "ca.crt").write_text("none")
    with prefers("x") as server:
        assert (
            asked(server, PAIRS, name="judge", folder=tmp_path).trouble
            == "ca.crt of the Secret judge is no certificate"
        )


def test_similarity_of_meaning_by_hand() -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        return [{"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [0.0, 2.0], "zero": [0.0, 0.0]}[text] for text in texts]

    found = similarities(["a", "a", "a", "a", "", "a"], ["a", "b", "c", " ", "a", "zero"], embed)

    assert found == (pytest.approx(1.0), pytest.approx(0.5**0.5), 0.0, 0.0, None, None)


def test_many_texts_are_embedded_in_batches_and_each_once() -> None:
    texts = [f"{'abcdefgh'[place % 8] * 3} text {place}" for place in range(100)]
    with OpenAiServer() as server:
        found = similarity_of(ServiceConfig(f"{server.uri}/v1", "e5"), texts, texts, ["text"] * 100)

    assert found.base == (pytest.approx(1.0),) * 100
    assert all(value is not None and value < 0.9 for value in found.tuned)
    assert [len(request["input"]) for request in server.requests] == [64, 36, 64, 37]
    assert found.trouble == ""


def test_a_server_without_embeddings_is_told_of() -> None:
    with OpenAiServer(broken=(404, 0)) as server:
        found = similarity_of(ServiceConfig(f"{server.uri}/v1", "e5"), ["a", "b"], ["a", "b"], ["c", "d"])

    assert (found.base, found.tuned) == ((None, None), (None, None))
    assert found.trouble == f"{server.uri}/v1 answers HTTP 404"
