"""What may go wrong between the operator and the API server, and the seeded choice of when it does."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verb(StrEnum):
    """What a request does, in Kubernetes' words."""

    DISCOVER = "discover"
    GET = "get"
    LIST = "list"
    WATCH = "watch"
    CREATE = "create"
    PATCH = "patch"
    DELETE = "delete"


READS = frozenset({Verb.DISCOVER, Verb.GET, Verb.LIST})
WRITES = frozenset({Verb.CREATE, Verb.PATCH, Verb.DELETE})


class Fault(StrEnum):
    """One kind of trouble. `...AfterWrite`: the write took place, only its answer was lost."""

    LATENCY = "Latency"
    CONFLICT = "409"
    INVALID = "422"
    TOO_MANY = "429"
    ERROR = "500"
    ERROR_AFTER_WRITE = "500AfterWrite"
    RESET = "Reset"
    RESET_AFTER_WRITE = "ResetAfterWrite"
    STALE_READ = "StaleRead"
    GONE_LIST = "410OnList"
    GONE_WATCH = "410OnWatch"
    DROPPED_WATCH = "DroppedWatch"
    LATE_EVENTS = "LateEvents"


_EVERYWHERE = frozenset(Verb)
POSSIBLE: Mapping[Fault, frozenset[Verb]] = {
    Fault.LATENCY: _EVERYWHERE,
    Fault.CONFLICT: WRITES,
    Fault.INVALID: frozenset({Verb.CREATE, Verb.PATCH}),
    Fault.TOO_MANY: _EVERYWHERE,
    Fault.ERROR: _EVERYWHERE,
    Fault.ERROR_AFTER_WRITE: WRITES,
    Fault.RESET: _EVERYWHERE,
    Fault.RESET_AFTER_WRITE: WRITES,
    Fault.STALE_READ: frozenset({Verb.GET, Verb.LIST}),
    Fault.GONE_LIST: frozenset({Verb.LIST}),
    Fault.GONE_WATCH: frozenset({Verb.WATCH}),
    Fault.DROPPED_WATCH: frozenset({Verb.WATCH}),
    Fault.LATE_EVENTS: frozenset({Verb.WATCH}),
}


@dataclass(frozen=True)
class Choice:
    """What happens to one request. `seconds`: how long a delay lasts, or how long a watch lives."""

    fault: Fault
    seconds: float


@dataclass
class FaultPlan:
    """Decides by seed, verb, resource and the number of the request among its like, never by what runs beside it.

    `rates` gives the share of requests that each fault hits, where it is possible; `longest` bounds delays in seconds.
    """

    seed: int
    rates: Mapping[Fault, float]
    longest: float = 1.5
    _counts: dict[tuple[Verb, str], int] = field(default_factory=dict)

    def choose(self, verb: Verb, resource: str) -> Choice | None:
        """The fault of the next request of this kind; None: it is left alone."""
        number = self._counts[verb, resource] = self._counts.get((verb, resource), 0) + 1
        dice = random.Random(f"{self.seed}/{verb}/{resource}/{number}")
        thrown, threshold = dice.random(), 0.0
        for fault, rate in self.rates.items():
            if verb in POSSIBLE[fault]:
                threshold += rate
                if thrown < threshold:
                    return Choice(fault, dice.uniform(0.05, self.longest))
        return None


def evenly(rate: float, read_rate: float, watch_rate: float) -> dict[Fault, float]:
    """One rate for all, but for faults of reads and of watches alone, which are fewer than writes, their own."""
    own = dict.fromkeys((Fault.STALE_READ, Fault.GONE_LIST), read_rate)
    own |= dict.fromkeys((Fault.GONE_WATCH, Fault.DROPPED_WATCH, Fault.LATE_EVENTS), watch_rate)
    return {fault: own.get(fault, rate) for fault in Fault}
