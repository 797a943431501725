"""An OpenAI-compatible server on loopback: a judge that follows a rule, and embeddings that count words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from support.threaded_server import ThreadedServer
from vernacular_trainer.evaluation.scoring import words

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

Json = dict[str, Any]
Judge = Callable[[str, str], str]


class OpenAiServer(ThreadedServer):
    """Asks for `key` when it is given. `judge` gets the first and the second answer and says what it replies.

    `broken`: the HTTP status of every answer, once so many requests were answered rightly. `plain`: it takes no
    settings beside the messages. `raw`: what it answers whatever it is asked. `redirect`: where it sends who asks.
    """

    def __init__(
        self,
        judge: Judge = lambda first, second: "Answer: first",
        *,
        key: str = "",
        broken: tuple[int, int] | None = None,
        plain: bool = False,
        raw: str = "",
        redirect: str = "",
    ) -> None:
        super().__init__("openai server")
        self.judge, self.key, self.broken, self.plain = judge, key, broken, plain
        self.raw, self.redirect = raw, redirect
        self.requests: list[Json] = []

    @asynccontextmanager
    async def application(self) -> AsyncIterator[web.Application]:
        application = web.Application()
        application.router.add_post("/v1/{path:.*}", self._handle)
        yield application

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append({**body, "path": request.match_info["path"], "key": request.headers.get("Authorization")})
        if self.redirect:
            raise web.HTTPTemporaryRedirect(self.redirect)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": f"wrong key {request.headers.get('Authorization')}"}, status=401)
        if self.broken and len(self.requests) > self.broken[1]:
            return web.json_response({"error": "no"}, status=self.broken[0])
        if self.plain and body.keys() - {"model", "messages", "input", "encoding_format"}:
            return web.json_response({"error": "unsupported parameter"}, status=400)
        if self.raw:
            return web.Response(text=self.raw)
        if request.match_info["path"] == "embeddings":
            return web.json_response({"data": [*reversed(embedded(body["input"]))]})
        return web.json_response({"choices": [{"message": {"content": self._reply(body)}}]})

    def _reply(self, body: Json) -> str:
        _, _, rest = body["messages"][0]["content"].partition("First answer:\n")
        first, _, rest = rest.partition("\n\nSecond answer:\n")
        return self.judge(first, rest.partition("\n\nEnd with one")[0])


def embedded(texts: list[str]) -> list[Json]:
    """How often each letter begins a word."""
    counts = [[sum(word[0] == letter for word in words(text)) for letter in _LETTERS] for text in texts]
    return [{"index": index, "embedding": vector} for index, vector in enumerate(counts)]
