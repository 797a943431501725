"""How far a job on this machine is, kept in its work folder so that running again goes on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vernacular.api import Stage

_FILE = "state.json"


@dataclass(frozen=True)
class State:
    """`attempts`: begun ones by stage; `done`: summaries of stages that are done; `restarts`: attempts after a failure
    of this machine.
    """

    uid: str
    run_id: str = ""
    attempts: dict[str, int] = field(default_factory=dict)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    restarts: int = 0

    def begun(self, stage: Stage) -> State:
        """With one more attempt of a stage."""
        return dataclasses.replace(self, attempts={**self.attempts, stage: self.attempts.get(stage, 0) + 1})

    def finished(self, stage: Stage, summary: dict[str, Any]) -> State:
        """With a stage that is done."""
        return dataclasses.replace(self, done={**self.done, stage: summary})

    def save(self, folder: Path) -> None:
        """Keep it; a reader never sees half of it."""
        draft = folder / f"{_FILE}.draft"
        draft.write_text(json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False), encoding="utf-8")
        draft.replace(folder / _FILE)


def load_state(folder: Path) -> State | None:
    """What was kept; None before the first time."""
    path = folder / _FILE
    return State(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
