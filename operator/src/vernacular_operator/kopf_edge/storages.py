"""Storages that store nothing: the operator keeps no state in annotations, and Kopf need not compute any."""

from __future__ import annotations

from typing import Any

import kopf


class NoProgress(kopf.ProgressStorage):  # type: ignore[misc]
    """No handler of ours has progress to remember."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc]
    """No handler of ours looks at differences; computing them costs half the time of an event."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
