"""Why a claim has no volume: the provisioner says so in an event, and neither claim nor pod repeats it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

# the only normal event that explains a wait: nobody may be there to make the volume
_WAITING = "ExternalProvisioning"


def trouble(events: Iterable[Mapping[str, Any]], claims: Collection[str]) -> str:
    """What the newest warning about one of the claims says, else whom a claim waits for, else ""."""
    told = [event for event in events if (claim := _subject(event)) and claim in claims]
    warnings = [event for event in told if event.get("type") == "Warning"]
    waits = [event for event in told if event.get("reason") == _WAITING]
    newest = max(warnings or waits, key=_time, default=None)
    return f"claim {_subject(newest)}: {newest.get('message', '')}" if newest else ""


def _subject(event: Mapping[str, Any]) -> str:
    subject = event.get("involvedObject") or {}
    return str(subject.get("name", "")) if subject.get("kind") == "PersistentVolumeClaim" else ""


def _time(event: Mapping[str, Any]) -> str:
    # RFC 3339 in UTC: the order of the texts is that of the times
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
