"""A model behind an OpenAI-compatible server, asked over HTTP.

What goes wrong is told without anything that the server said, which may repeat the key or the texts.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import SERVICE_KEY, ServiceConfig

_TIMEOUT_SECONDS = 60
_PAUSES = (1.0, 4.0)
_LARGEST_ANSWER = 64 * 1024**2
_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class ServiceError(Exception):
    """The server gives no answer that can be used. `status`: of its HTTP answer, 0 when there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key is meant for one server."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ModelService:
    """One model of one server; may be used by several threads. Every method raises ServiceError."""

    def __init__(self, config: ServiceConfig, sleep: Callable[[float], None] = time.sleep) -> None:
        self._config = config
        self._sleep = sleep
        self._headers = {"Content-Type": "application/json", **_authorization(config)}
        handler = urllib.request.HTTPSHandler(context=_tls(config))
        self._opener = urllib.request.build_opener(handler, _NoRedirects())

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a request about the model, as JSON has it; tried again where that may help."""
        data = json.dumps({"model": self._config.model, **body}).encode()
        url = f"{self._config.endpoint.rstrip('/')}/{path}"
        for pause in (*_PAUSES, None):
            try:
                return self._send(urllib.request.Request(url, data, self._headers))  # noqa: S310 - the CRD allows http(s)
            except ServiceError as error:
                if pause is None or (error.status and error.status not in _TRY_AGAIN):
                    raise
                self._sleep(pause)
        raise AssertionError

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                content = response.read(_LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            error.close()
            raise ServiceError(f"{self._config.endpoint} answers HTTP {error.code}", error.code) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ServiceError(f"{self._config.endpoint} does not answer ({type(reason).__name__})") from None
        try:
            return json.loads(content)
        except ValueError:
            raise no_such_answer(self._config) from None


def no_such_answer(config: ServiceConfig) -> ServiceError:
    """For an answer without what the API promises."""
    return ServiceError(f"{config.endpoint} does not answer as an OpenAI-compatible server", 200)


def _authorization(config: ServiceConfig) -> dict[str, str]:
    if not config.credentials_name:
        return {}
    path = Path(config.credentials_path) / SERVICE_KEY
    key = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    if not key or not key.isascii() or not key.isprintable():
        raise ServiceError(f"the Secret {config.credentials_name} has no usable {SERVICE_KEY}")
    return {"Authorization": f"Bearer {key}"}


def _tls(config: ServiceConfig) -> ssl.SSLContext:
    authority = Path(config.credentials_path) / "ca.crt"
    try:
        own = str(authority) if config.credentials_name and authority.is_file() else None
        return ssl.create_default_context(cafile=own)
    except OSError:
        raise ServiceError(f"ca.crt of the Secret {config.credentials_name} is no certificate") from None
