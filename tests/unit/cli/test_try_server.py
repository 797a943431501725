"""The page and the chat endpoint of `vernacular try`, over HTTP, with models that answer as a test says."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from vernacular_trainer.data.rows import Message
from vernacular_trainer.trying.judgements import JudgementFile
from vernacular_trainer.trying.replies import Reply, UnaskableError, Which
from vernacular_trainer.trying.server import ADDRESS, Trial, TrialServer

ASKED = {"model": "tuned", "messages": [{"role": "user", "content": "How long?"}]}
JUDGED = {"question": "How long?", "base": "12 months", "tuned": "90 days", "baseIs": "wrong", "tunedIs": "right"}


class Parrots:
    """Each says its name and what it was asked, word for word; `too long` is too long for both."""

    def answer(self, which: Which, messages: Sequence[Message], most: int, tell: Callable[[str], None]) -> Reply:
        words = [which.value, *messages[-1].content.split()]
        if words[1:] == ["too", "long"]:
            raise UnaskableError("these messages have 9 tokens, and the model reads 4")
        said = words[:most]
        for word in said:
            tell(f"{word} ")
        return Reply(" ".join(said), 7, len(said), len(said) == len(words))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[httpx2.Client]:
    server = TrialServer(Trial("hr-bot", Parrots(), JudgementFile(tmp_path / "next.jsonl")), 0, 60)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        yield client
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_as_openai_has_it(served: httpx2.Client) -> None:
    found = served.post("/v1/chat/completions", json=ASKED)
    document = found.json()

    assert found.status_code == 200
    assert document.pop("id").startswith("chatcmpl-")
    assert abs(document.pop("created") - time.time()) < 60
    assert document == {
        "object": "chat.completion",
        "model": "tuned",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "tuned How long?"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_is_cut(served: httpx2.Client, name: str) -> None:
    (choice,) = served.post("/v1/chat/completions", json={**ASKED, name: 2}).json()["choices"]

    assert (choice["message"]["content"], choice["finish_reason"]) == ("tuned How", "length")


def test_a_stream(served: httpx2.Client) -> None:
    found = served.post("/v1/chat/completions", json={**ASKED, "model": "base", "stream": True})
    *events, done, rest = found.text.split("\n\n")

    assert found.headers["content-type"].startswith("text/event-stream")
    assert (done, rest) == ("data: [DONE]", "")
    documents = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {document["object"] for document in documents} == {"chat.completion.chunk"}
    assert len({document["id"] for document in documents}) == 1
    deltas = [document["choices"][0]["delta"].get("content", "") for document in documents]
    assert deltas == ["base ", "How ", "long? ", ""]
    assert [document["choices"][0]["finish_reason"] for document in documents] == [None, None, None, "stop"]


def test_the_models(served: httpx2.Client) -> None:
    assert [item["id"] for item in served.get("/v1/models").json()["data"]] == ["base", "tuned"]


@pytest.mark.parametrize(
    ("change", "status", "says", "parameter"),
    [
        ({"model": "gpt-4"}, 404, "there is no model 'gpt-4', only base and tuned", "model"),
        ({"temperature": 0.7}, 400, "temperature must be 0: the most likely answer is given", "temperature"),
        ({"tools": []}, 400, "tools is not known here: leave it out", "tools"),
        ({"stream": "yes"}, 400, "stream must be true or false", "stream"),
        ({"max_tokens": 0}, 400, "max_tokens must be a whole number above 0", "max_tokens"),
        ({"messages": []}, 400, "messages must be a list", "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0] must have role and content", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "'tool' is none of system, user", "messages"),
        ({"messages": [{"role": "user", "content": []}]}, 400, "content must be a text", "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "the last message must be of", "messages"),
        ({"messages": [{"role": "user", "content": "too long"}]}, 400, "the model reads 4", "messages"),
        ({"messages": [{"role": "user", "content": "too long"}], "stream": True}, 400, "the model reads 4", "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed(
    served: httpx2.Client, change: dict[str, Any], status: int, says: str, parameter: str
) -> None:
    found = served.post("/v1/chat/completions", json={**ASKED, **change})

    assert found.status_code == status
    error = found.json()["error"]
    assert says in error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", parameter)
    # and the next one is answered
    assert served.post("/v1/chat/completions", json={**ASKED, "temperature": 0}).status_code == 200


def test_bodies_and_addresses_that_are_none(served: httpx2.Client) -> None:
    path, own = "/v1/chat/completions", {"Content-Type": "application/json"}

    assert served.get("/other").status_code == 404
    assert served.post(path, content=b"{", headers=own).json()["error"]["message"] == "the body is no JSON"
    assert served.post(path, content=b"7", headers=own).status_code == 400
    assert served.post(path, content=b" " * (1024 * 1024 + 1), headers=own).status_code == 413


def test_pages_of_others_cannot_ask(served: httpx2.Client) -> None:
    body = json.dumps(ASKED).encode()

    # what a browser sends without asking first, and what it sends to a name that was made to point here
    assert served.post("/v1/chat/completions", content=body, headers={"Content-Type": "text/plain"}).status_code == 415
    for path in ("/", "/v1/models"):
        assert served.get(path, headers={"Host": "evil.example:80"}).status_code == 403


def test_the_page_needs_nothing_else(served: httpx2.Client) -> None:
    page = served.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<title>hr-bot</title>" in page.text
    assert "JOB_NAME" not in page.text
    assert "http" not in page.text.replace("HTTP", "")


def test_judged_answers_become_rows(served: httpx2.Client, tmp_path: Path) -> None:
    first = served.post("/judgements", json={**JUDGED, "answer": ""})
    served.post("/judgements", json={**JUDGED, "tunedIs": "wrong", "answer": "60 days"})
    served.post("/judgements", json={**JUDGED, "tunedIs": "wrong", "answer": " "})

    assert first.json() == {"written": str(tmp_path / "next.jsonl")}
    rows = [json.loads(line) for line in (tmp_path / "next.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["90 days", "60 days", ""]
    assert rows[1] == {
        "question": "How long?",
        "answer": "60 days",
        "why": "Judged",
        "tuned answer": "90 days",
        "tuned is": "wrong",
        "base answer": "12 months",
        "base is": "wrong",
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": " "}, "the question is empty"),
        ({"baseIs": "", "tunedIs": ""}, "must be right or wrong"),
        ({"tunedIs": "maybe"}, "must be right or wrong"),
        ({"tuned": None}, "needs the texts"),
    ],
)
def test_judgements_that_say_nothing(served: httpx2.Client, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    found = served.post("/judgements", json={**JUDGED, "answer": "", **change})

    assert found.status_code == 400
    assert says in found.json()["error"]["message"]
    assert not (tmp_path / "next.jsonl").exists()


def test_a_file_that_cannot_be_written(served: httpx2.Client, tmp_path: Path) -> None:
    (tmp_path / "next.jsonl").mkdir()

    found = served.post("/judgements", json={**JUDGED, "answer": ""})

    assert found.status_code == 500
    assert "cannot be written: Is a directory" in found.json()["error"]["message"]


def test_it_ends_when_nobody_asks(tmp_path: Path) -> None:
    server = TrialServer(Trial("hr-bot", Parrots(), JudgementFile(tmp_path / "next.jsonl")), 0, 0.1)

    # a person who is silent keeps nothing awake
    with server, socket.create_connection((ADDRESS, server.server_port)):
        server.serve()
