"""The few requests that the driver makes itself; everything else goes through kubectl."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class KubeClient:
    def __init__(self, server: str, authority: Path, certificate: Path, key: Path) -> None:
        self._server = server
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(str(certificate), str(key))
        # An empty proxy table: the API server is on this machine, whatever the environment says.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def ready(self) -> bool:
        try:
            return self._get("/readyz") == b"ok"
        except OSError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        """Raises OSError (URLError, HTTPError) when the server does not answer with success."""
        answer = json.loads(self._get(path))
        assert isinstance(answer, dict)
        return answer

    def patch_status(self, path: str, operations: list[dict[str, Any]]) -> None:
        request = urllib.request.Request(
            f"{self._server}{path}/status", data=json.dumps(operations).encode(), method="PATCH",
            headers={"Content-Type": "application/json-patch+json"},
        )  # fmt: skip
        with self._opener.open(request, timeout=10):
            return

    def _get(self, path: str) -> bytes:
        with self._opener.open(self._server + path, timeout=5) as answer:
            content: bytes = answer.read()
            return content


def condition(resource: dict[str, Any], kind: str) -> bool:
    conditions = resource.get("status", {}).get("conditions") or []
    return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)
