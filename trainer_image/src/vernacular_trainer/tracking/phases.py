"""Tells what a stage does at the moment, as a tag of the job's MLflow run: the operator and people read it there.

A courtesy: nothing about it may slow down or stop a stage, and a phase that is over in seconds is never told.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from vernacular_trainer.contract import PHASE_TAG, JobConfig, Phase, PhaseReport, Stage
from vernacular_trainer.tracking.allowance import Allowance
from vernacular_trainer.tracking.client import connect, find_run

INTERVAL_SECONDS = 5.0

log = logging.getLogger(__name__)

Detail = Callable[[], str]
Tell = Callable[[str], None]


class PhaseReporter:
    """Notes the phase, and tells it from a thread every `interval` seconds if it changed, as far as its `allowance` of
    requests goes.
    """

    def __init__(
        self,
        config: JobConfig,
        open_connection: Callable[[], Tell],
        allowance: Allowance,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._config = config
        self._allowance = allowance
        self._open_connection = open_connection
        self._interval = interval
        self._current: tuple[Phase, Detail] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="phase-reporter", daemon=True)

    def enter(self, phase: Phase, detail: Detail = str) -> None:
        """The stage begins something else; `detail` is called now and then to say how far it is."""
        self._current = (phase, detail)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more is told; a request that is under way is not waited for."""
        self._stopping.set()

    def _run(self) -> None:
        tell, told = None, ""
        while not self._stopping.wait(self._interval):
            try:
                text = self._text()
                if text != told and self._allowance.take():
                    tell = tell or self._open_connection()
                    tell(text)
                    told = text
            except Exception as error:
                log.debug("phase not told: %s", type(error).__name__)

    def _text(self) -> str:
        if self._current is None:
            return ""
        phase, detail = self._current
        return PhaseReport(self._config.stage, self._config.attempt, phase, detail()).to_text()


@contextlib.contextmanager
def reporting(config: JobConfig, allowance: Allowance, *, active: bool = True) -> Iterator[PhaseReporter]:
    """A reporter for the time of one stage; one that is not `active` tells nothing (one process speaks for all)."""
    reporter = PhaseReporter(config, lambda: tell_run(config), allowance)
    # a job that no operator accompanies has no run before it publishes
    if active and config.tracking.uri and (config.tracking.run_id or config.stage is Stage.PREPARE):
        reporter.start()
    try:
        yield reporter
    finally:
        reporter.stop()


def tell_run(config: JobConfig) -> Tell:
    """A function that sets the tag of the job's run.

    Raises LookupError while there is no run, and what MLflow raises.
    """
    client = connect(config.tracking)
    run_id = config.tracking.run_id or _opened_run(client, config)
    return lambda text: client.set_tag(run_id, PHASE_TAG, text)


def _opened_run(client: Any, config: JobConfig) -> str:
    """Prepare begins before the operator has opened the run."""
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    run_id = find_run(client, experiment.experiment_id, config.identity.uid) if experiment else ""
    if not run_id:
        raise LookupError("the run is not open yet")
    return run_id
