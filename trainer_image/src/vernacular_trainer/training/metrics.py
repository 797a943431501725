"""What a training measures, how often, and under which names."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

FULL_DETAIL_STEPS = 200
LOG_SECONDS = 10.0

log = logging.getLogger(__name__)


class MetricSink(Protocol):
    """Where measurements go. Neither method may raise: no measurement is worth a training."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note the measurements of one optimizer step."""

    def close(self) -> None:
        """Make everything durable."""


class NoSink:
    """The sink of all ranks but the first."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing: rank 0 speaks for all."""

    def close(self) -> None:
        """Nothing to close."""


class LoggedSink:
    """Tells the readers of the pod's log how far the training is, now and then, and passes everything on."""

    def __init__(self, sink: MetricSink, total_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._total_steps = total_steps
        self._clock = clock
        self._next = clock()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = self._clock()
        step_done = "train/loss" in metrics
        if now >= self._next or not step_done:
            if step_done:
                self._next = now + LOG_SECONDS
            values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if "progress/" not in name)
            log.info("step %d of %d: %s", step, self._total_steps, values or "checkpoint saved")
        self._sink.log(step, metrics)

    def close(self) -> None:
        self._sink.close()


def log_interval(total_steps: int) -> int:
    """Steps between two measurements: each step of a short training, about 200 points of a long one."""
    return 1 if total_steps <= FULL_DETAIL_STEPS else math.ceil(total_steps / FULL_DETAIL_STEPS)


class Throughput:
    """Tokens (padding left out, over all ranks) and seconds of the training so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.tokens = 0
        self._started = self._mark = clock()
        self._tokens_at_mark = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def start(self) -> None:
        """Begin to measure now."""
        self._started = self._mark = self._clock()

    def add(self, tokens: int) -> None:
        """Count the tokens of one step."""
        self.tokens += tokens

    def lap(self) -> float:
        """Tokens per second since the last lap."""
        now, tokens = self._clock(), self.tokens
        rate = (tokens - self._tokens_at_mark) / max(now - self._mark, 1e-9)
        self._mark, self._tokens_at_mark = now, tokens
        return rate

    def pause(self) -> None:
        """Leave out the time since the last lap from the next one (an evaluation, a checkpoint)."""
        self._mark = self._clock()
