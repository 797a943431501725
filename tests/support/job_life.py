"""The life of one FineTuneJob as the history tells it: its versions, its Jobs and pods, and a readable trace."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from support.history import Change

UID = "vernacular.dev/job-uid"
STAGE = "vernacular.dev/stage"
ATTEMPT = "vernacular.dev/attempt"
_TRACE = 80


@dataclass
class Child:
    """A Job or pod of an attempt. `gone`: it was deleted; `ran_until`: when it was last known to run, None when it
    never ran.
    """

    kind: str
    name: str
    stage: str
    attempt: int
    live: bool = True
    gone: bool = False
    running: bool = False
    complete: bool = False
    failed: bool = False
    ran_until: float | None = None


@dataclass
class Life:
    """`document` is the newest version; `ended` the version whose status was the first terminal one."""

    uid: str
    name: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False
    children: dict[str, Child] = field(default_factory=dict)
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=_TRACE))

    @property
    def status(self) -> dict[str, Any]:
        """The newest status."""
        found: dict[str, Any] = self.document.get("status") or {}
        return found

    def is_true(self, kind: str) -> bool:
        """Whether a condition is True."""
        return any(item["type"] == kind and item["status"] == "True" for item in self.status.get("conditions") or ())

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self.is_true("Complete") or self.is_true("Failed")

    def jobs(self, stage: str) -> list[Child]:
        """Every Job that ever was made for a stage."""
        return [child for child in self.children.values() if child.kind == "Job" and child.stage == stage.lower()]

    def live(self) -> list[Child]:
        """Jobs that are not over and pods whose containers may run."""
        return [child for child in self.children.values() if child.live]

    def told(self, child: Child) -> bool:
        """Whether the status has ever named a child's attempt: it only goes up."""
        records = self.status.get("stages") or ()
        return any(item["name"].lower() == child.stage and item.get("attempt", 0) >= child.attempt for item in records)

    def attempts(self, stage: str) -> int:
        """How many attempts of a stage were ever started."""
        return len(self.jobs(stage))

    def take_child(self, change: Change) -> Child:
        """Note a version of a Job or pod."""
        metadata, status = change.object["metadata"], change.object.get("status") or {}
        labels = metadata["labels"]
        new = Child(change.kind, metadata["name"], labels[STAGE], int(labels[ATTEMPT]))
        child = self.children.setdefault(metadata["uid"], new)
        child.gone = change.deleted
        if child.running:
            child.ran_until = change.seen
        if change.kind == "Job":
            true = {item["type"] for item in status.get("conditions") or () if item["status"] == "True"}
            child.complete, child.failed = child.complete or "Complete" in true, child.failed or "Failed" in true
            child.live = not (change.deleted or child.complete or child.failed)
        else:
            phase = status.get("phase", "Pending")
            child.live = not change.deleted and phase not in ("Succeeded", "Failed")
            child.running = child.live and phase == "Running"
        state = (
            "gone"
            if change.deleted
            else status.get("phase")
            or ",".join(item["type"] for item in status.get("conditions") or () if item["status"] == "True")
        )
        marked = " deleting" if metadata.get("deletionTimestamp") else ""
        self._note(change, f"{change.kind} {child.name}: {state or 'new'}{marked}")
        return child

    def take_document(self, change: Change) -> dict[str, Any]:
        """Note a version of the FineTuneJob; returns the status before."""
        before = self.status
        self.document, self.deleted = change.object, change.deleted
        self.name = change.object["metadata"]["name"]
        status = self.status
        if change.deleted:
            self._note(change, "deleted")
        elif status != before:
            usage = status.get("usage", {})
            self._note(change, f"{status.get('state')}/{status.get('reason')} {usage}: {status.get('message')}")
        else:
            self._note(change, f"spec, suspend={change.object['spec'].get('runPolicy', {}).get('suspend')}")
        return before

    def _note(self, change: Change, text: str) -> None:
        self.trace.append(f"{change.seen:.1f} {change.version} {text}")
