"""What Kueue's Workloads tell of the Jobs that queues hold back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from vernacular_operator.domain.facts import workload_facts
from vernacular_operator.domain.snapshot import Admission, WorkloadFacts
from vernacular_operator.kube.api import Kind
from vernacular_operator.runtime.cache import Key

_Queue = tuple[str, str]


class Admissions:
    """Fed by the watch of Workloads. `tell` is called with the key of a job of whose held Job there is news.

    How many come before it is no news: in a long queue each admission would be a write for every job.
    """

    def __init__(self, tell: Callable[[Key], None]) -> None:
        self._tell = tell
        self._workloads: dict[str, WorkloadFacts] = {}
        self._by_job: dict[str, WorkloadFacts] = {}
        self._queues: dict[_Queue, dict[str, WorkloadFacts]] = defaultdict(dict)
        self._followed: dict[str, Key] = {}

    def listing(self, namespace: str) -> None:
        """A list of a namespace ("" for all) begins: what it does not show is gone."""
        for uid in [uid for uid, each in self._workloads.items() if namespace in ("", each.namespace)]:
            self._drop(uid)

    def workload_event(self, kind: Kind, document: Mapping[str, Any], *, deleted: bool, listed: bool) -> None:
        """A Workload exists, changed or was deleted."""
        uid = document["metadata"]["uid"]
        facts = None if deleted else workload_facts(document)
        old = self._drop(uid)
        if facts:
            self._workloads[uid] = self._by_job[facts.job_uid] = facts
            if facts.waiting:
                self._queues[facts.namespace, facts.queue][uid] = facts
        if facts != old and (told := facts or old) and (key := self._followed.get(told.job_uid)):
            self._tell(key)

    def of(self, job_uid: str, key: Key) -> Admission | None:
        """What is known of the Job with this uid; from now on news of it are told."""
        self._followed[job_uid] = key
        if (found := self._by_job.get(job_uid)) is None:
            return None
        others = self._queues[found.namespace, found.queue].values()
        return Admission(found, sum(each.order < found.order for each in others))

    def forget(self, job_uid: str) -> None:
        """The Job is held back no more, or gone."""
        self._followed.pop(job_uid, None)

    def _drop(self, uid: str) -> WorkloadFacts | None:
        if (old := self._workloads.pop(uid, None)) is None:
            return None
        self._by_job.pop(old.job_uid, None)
        self._queues[old.namespace, old.queue].pop(uid, None)
        return old
