"""A page and a chat endpoint for the two models, on this machine's own address."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vernacular_trainer.trying.chat_api import ChatRequest, RefusalError, chat_request, chunk, completion, model_list
from vernacular_trainer.trying.judgements import Judgement, JudgementError, JudgementFile
from vernacular_trainer.trying.replies import Answering, Reply, Tell, UnaskableError, Which

ADDRESS = "127.0.0.1"
MODELS = tuple(Which)
_PAGE = Path(__file__).with_name("page.html")
_LARGEST_BODY = 1024 * 1024
# a page of somebody else can have a browser ask here under a name of its own, which then stands in Host
_OWN_NAMES = ("127.0.0.1", "localhost")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


@dataclass(frozen=True)
class Trial:
    """What is tried: the job by its name, its models, and where judgements go."""

    job: str
    models: Answering
    judgements: JudgementFile


class TrialServer(ThreadingHTTPServer):
    """Serves until nobody has asked for `idle_seconds`, or `shutdown`. `port` 0: any. Raises OSError for one in use."""

    daemon_threads = True

    def __init__(self, trial: Trial, port: int, idle_seconds: float) -> None:
        self.trial = trial
        self._idle_seconds = idle_seconds
        self._turn = threading.Lock()
        self._busy = 0
        self._last_asked = time.monotonic()
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def serve(self) -> None:
        """Answer until it has been idle for so long."""
        self.timeout = min(1.0, self._idle_seconds)
        while self._busy or time.monotonic() - self._last_asked < self._idle_seconds:
            self.handle_request()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Counts as being asked."""
        with self._turn:
            self._busy += 1
        try:
            yield
        finally:
            with self._turn:
                self._busy -= 1
            self._last_asked = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    server: TrialServer
    protocol_version = "HTTP/1.1"
    server_version = "vernacular"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer({"/": self._page, "/v1/models": self._models})

    def do_POST(self) -> None:
        self._answer({"/v1/chat/completions": self._chat, "/judgements": self._judge})

    def log_message(self, format: str, *args: Any) -> None:
        """What is asked stays out of the terminal."""

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        with self.server.answering():
            self._routed(routes)

    def _routed(self, routes: dict[str, Callable[[], None]]) -> None:
        try:
            if self.headers.get("Host", "").rpartition(":")[0] not in _OWN_NAMES:
                raise RefusalError("this is not the address of this server", status=403)
            if (route := routes.get(self.path)) is None:
                raise RefusalError(f"there is nothing at {self.path}", status=404)
            route()
        except RefusalError as refusal:
            # the rest of a body that was not read would be taken for the next request
            self.close_connection = True
            self._send(refusal.status, refusal.document)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _page(self) -> None:
        text = _PAGE.read_text(encoding="utf-8").replace("JOB_NAME", self.server.trial.job)
        self._head(200, "text/html; charset=utf-8", len(body := text.encode()))
        self.wfile.write(body)

    def _models(self) -> None:
        self._send(200, model_list(MODELS, int(time.time())))

    def _chat(self) -> None:
        request = chat_request(self._body(), MODELS)
        identity, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        if request.stream:
            self._stream(request, identity, created)
            return
        reply = self._ask(request, lambda _: None)
        tokens = (reply.prompt_tokens, reply.answer_tokens)
        self._send(200, completion(identity, created, request, reply.text, tokens, ended=reply.ended))

    def _stream(self, request: ChatRequest, identity: str, created: int) -> None:
        begun = False

        def send(document: Any) -> None:
            text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
            self.wfile.write(f"data: {text}\n\n".encode())
            self.wfile.flush()

        def tell(text: str) -> None:
            nonlocal begun
            if not begun:
                begun = True
                self._head(200, "text/event-stream; charset=utf-8", None)
            send(chunk(identity, created, request, text))

        reply = self._ask(request, tell)
        if not begun:
            tell("")
        send(chunk(identity, created, request, None, ended=reply.ended))
        send("[DONE]")

    def _ask(self, request: ChatRequest, tell: Tell) -> Reply:
        try:
            return self.server.trial.models.answer(Which(request.model), request.messages, request.most, tell)
        except UnaskableError as error:
            raise RefusalError(str(error), "messages") from None

    def _judge(self) -> None:
        try:
            judgement = Judgement.of(self._body())
        except JudgementError as error:
            raise RefusalError(str(error)) from None
        file = self.server.trial.judgements
        try:
            file.append(judgement)
        except OSError as error:
            raise RefusalError(f"{file.path} cannot be written: {error.strerror}", status=500) from None
        self._send(200, {"written": str(file.path)})

    def _body(self) -> Any:
        # a page of somebody else may send other kinds without being asked first
        if self.headers.get_content_type() != "application/json":
            raise RefusalError("the body must be application/json", status=415)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            raise RefusalError(f"the body must have a length, of at most {_LARGEST_BODY} bytes", status=413)
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise RefusalError("the body is no JSON") from None

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document, ensure_ascii=False).encode()
        self._head(status, "application/json", len(body))
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if length is None:
            # the end of what is streamed is the end of the connection
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
