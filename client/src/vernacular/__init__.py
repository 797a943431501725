"""Vernacular: typed resources, Python API and command line of the FineTuneJob.

`from vernacular import Client, FineTuneJob` is all that a program needs. The names are looked up when they are first
used: the command line starts without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernacular.api import FineTuneJob
    from vernacular.client import AsyncClient, AsyncSubmittedJob, Client, SubmittedJob, VernacularError

__all__ = ["AsyncClient", "AsyncSubmittedJob", "Client", "FineTuneJob", "SubmittedJob", "VernacularError"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("vernacular.api" if name == "FineTuneJob" else "vernacular.client"), name)
