"""MLflow as the bench needs it: answers from memory, so that a figure of the operator is not one of MLflow."""

from __future__ import annotations

import time

from support.fake_mlflow import FakeMlflow, Json

_PARAMETERS: list[Json] = [{"key": f"parameter-{number}", "value": f"value-{number}"} for number in range(75)]
_OTHER_METRICS = tuple(f"system/metric-{number}" for number in range(12))
_SEARCH = "runs/search"


class CountingMlflow(FakeMlflow):
    """A search takes `search_seconds`; `searches` has the moments when they came, in monotonic seconds."""

    def __init__(self) -> None:
        super().__init__(self._delayed)
        self.searches: list[float] = []
        self.search_seconds = 0.0

    def report_all(self, step: int, total_steps: int) -> None:
        """Every run is at this step; its size is that of a real training: 75 parameters, 15 metrics."""
        for run in list(self.runs.values()):
            self.report(run.run_id, step, total_steps)
            now = run.metrics["progress/step"]["timestamp"]
            for name in _OTHER_METRICS:
                run.metrics[name] = {"key": name, "value": 1.5, "step": step, "timestamp": now}
            run.params = _PARAMETERS

    def _delayed(self, path: str) -> float:
        if path != _SEARCH:
            return 0.0
        self.searches.append(time.monotonic())
        return self.search_seconds
