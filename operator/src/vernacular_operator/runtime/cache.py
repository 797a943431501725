"""What the watches told, trimmed: jobs, their Jobs and pods. Reports of pods are kept after the pods are gone.

Finished jobs pile up by the thousand, so hardly anything is kept of one about which nothing is left to decide.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from vernacular.api import ConditionStatus, ConditionType, FineTuneJob, FineTuneJobStatus, JobState
from vernacular.api.constants import LABEL_JOB_NAME, LABEL_JOB_UID
from vernacular_operator.domain.facts import job_facts, pod_facts
from vernacular_operator.domain.snapshot import JobFacts, PodFacts

_log = logging.getLogger(__name__)
_ENDS = frozenset({ConditionType.COMPLETE, ConditionType.FAILED})
_UNUSED = frozenset({"managedFields", "annotations"})
# deleted jobs of some minutes, if hundreds are deleted in each: no list is older
_DELETED_REMEMBERED = 10_000


class Key(NamedTuple):
    """Names one FineTuneJob."""

    namespace: str
    name: str


@dataclass
class _Children:
    """Resource versions and facts by the uid of the child."""

    key: Key
    jobs: dict[str, tuple[int, JobFacts]] = field(default_factory=dict)
    pods: dict[str, tuple[int, PodFacts]] = field(default_factory=dict)

    def forget_the_ended(self) -> None:
        """Nothing is decided about the job any more: only what may still run is worth its memory."""
        self.jobs = {uid: item for uid, item in self.jobs.items() if item[1].live}
        self.pods = {uid: item for uid, item in self.pods.items() if item[1].live}


class Outcome(NamedTuple):
    """How far a job is, and its MLflow run ("" before it has one)."""

    run_id: str
    ended: bool
    succeeded: bool


class _Settled(NamedTuple):
    """A job that has ended and stays until a person deletes it."""

    uid: str
    version: int
    state: str
    run_id: str
    succeeded: bool


@dataclass(frozen=True)
class Known:
    """What a cache held at one moment: uids of jobs, and of children with the uid of their job."""

    jobs: Mapping[str, Key]
    children: Mapping[str, str]


class Cache:
    """An older version of an object never replaces a newer one, so that own writes can be put in at once."""

    def __init__(self) -> None:
        self._jobs: dict[Key, FineTuneJob | _Settled] = {}
        self._keys: dict[str, Key] = {}
        self._children: dict[str, _Children] = {}
        self._deleted: dict[str, None] = {}  # in the order in which they were deleted

    def job(self, key: Key) -> FineTuneJob | None:
        """The job, if it exists and something is left to decide about it."""
        found = self._jobs.get(key)
        return found if isinstance(found, FineTuneJob) else None

    def key_of(self, uid: str) -> Key | None:
        """The key of the job with this uid, if it exists."""
        return self._keys.get(uid)

    def outcome(self, uid: str) -> Outcome | None:
        """Of the job with this uid, if it exists."""
        if (key := self._keys.get(uid)) is None:
            return None
        found = self._jobs[key]
        if isinstance(found, _Settled):
            return Outcome(found.run_id, ended=True, succeeded=found.succeeded)
        status = found.status
        return Outcome(status.run_id, status.terminal, status.is_true(ConditionType.COMPLETE))

    def jobs(self) -> Iterator[tuple[Key, FineTuneJob]]:
        """All jobs about which something is left to decide."""
        return ((key, job) for key, job in self._jobs.items() if isinstance(job, FineTuneJob))

    def children(self, uid: str) -> tuple[tuple[JobFacts, ...], tuple[PodFacts, ...]]:
        """Jobs and pods of the job with this uid."""
        found = self._children.get(uid)
        if found is None:
            return (), ()
        return tuple(facts for _, facts in found.jobs.values()), tuple(facts for _, facts in found.pods.values())

    def version_of(self, metadata: Mapping[str, Any]) -> int:
        """The resource version of this object that is known; 0: none."""
        uid = metadata["uid"]
        if key := self._keys.get(uid):
            return self._version(key)
        if (found := self._children.get((metadata.get("labels") or {}).get(LABEL_JOB_UID, ""))) is None:
            return 0
        known = found.jobs.get(uid) or found.pods.get(uid)
        return known[0] if known else 0

    def put_job(self, document: Mapping[str, Any]) -> Key | None:
        """Take a FineTuneJob; None when it cannot be read or tells nothing new, as the echo of an own write does."""
        metadata = document["metadata"]
        key = Key(metadata["namespace"], metadata["name"])
        if metadata["uid"] in self._deleted or self._version(key) >= _number(metadata["resourceVersion"]):
            return None
        if settled := _settled(document):
            self._put(key, settled.uid, settled)
            return key
        try:
            job = FineTuneJob.model_validate(_trimmed(document))
        except ValidationError as error:
            _log.error("%s/%s cannot be read: %s", *key, error)
            return None
        self._put(key, job.metadata.uid, job)
        return key

    def put_status(self, key: Key, job: FineTuneJob, status: FineTuneJobStatus, resource_version: str) -> None:
        """Take a status that was written to this job, and the version that the job has since.

        Nothing is taken when a watch was faster: it told of a newer version, or that the job is gone.
        """
        known = self.job(key)
        if known is None or known.metadata.uid != job.metadata.uid:
            return
        if _number(known.metadata.resource_version) < _number(resource_version):
            metadata = job.metadata.model_copy(update={"resource_version": resource_version})
            written = job.model_copy(update={"metadata": metadata, "status": status})
            settled = _settled(written.to_dict()) if status.terminal else None
            self._put(key, job.metadata.uid, settled or written)

    def note_deleted(self, uid: str) -> None:
        """The watch told that the job with this uid was deleted: a list that began before does not bring it back.

        It would be taken for one without children, in the state that it had then, and its attempt be made once more.
        """
        self._deleted[uid] = None
        if len(self._deleted) > _DELETED_REMEMBERED:
            del self._deleted[next(iter(self._deleted))]
        self.drop_job(uid)

    def drop_job(self, uid: str) -> FineTuneJob | None:
        """The job with this uid is gone, and everything that was kept for it.

        Returns it if something was left to decide about it.
        """
        self._children.pop(uid, None)
        key = self._keys.pop(uid, None)
        found = self._jobs.pop(key, None) if key else None
        return found if isinstance(found, FineTuneJob) else None

    def put_child(self, document: Mapping[str, Any], *, gone: bool = False) -> Key | None:
        """Take a Job or pod of a stage; None when it is neither, or tells nothing that a decision could rest on."""
        metadata = document["metadata"]
        labels = metadata.get("labels") or {}
        owner, name = labels.get(LABEL_JOB_UID), labels.get(LABEL_JOB_NAME)
        if not owner or not name:
            return None
        key = Key(metadata["namespace"], name)
        children = self._children.setdefault(owner, _Children(key))
        version = _number(metadata.get("resourceVersion") or "")
        put = _put_job if "template" in (document.get("spec") or {}) else _put_pod
        news = put(children, document, version, gone)
        if self._ended(key, owner):
            children.forget_the_ended()
            return None
        return key if news else None

    def child_gone(self, owner: str, uid: str) -> None:
        """A list did not show this child any more."""
        if (children := self._children.get(owner)) is None:
            return
        children.jobs.pop(uid, None)
        if found := children.pods.get(uid):
            children.pods[uid] = (found[0], replace(found[1], gone=True))

    def states(self) -> Counter[str]:
        """How many jobs there are by status.state; those without one yet count as Pending."""
        return Counter(_state(job) for job in self._jobs.values())

    def known(self, namespace: str) -> Known:
        """Everything in a namespace ("" for all) that is believed to exist."""
        jobs = {uid: key for uid, key in self._keys.items() if namespace in ("", key.namespace)}
        children = {
            uid: owner
            for owner, found in self._children.items()
            if namespace in ("", found.key.namespace)
            for uid in (*found.jobs, *(uid for uid, (_, pod) in found.pods.items() if not pod.gone))
        }
        return Known(jobs, children)

    def drop_orphans(self) -> None:
        """Forget children whose job does not exist."""
        for owner in [owner for owner in self._children if owner not in self._keys]:
            del self._children[owner]

    def _put(self, key: Key, uid: str, job: FineTuneJob | _Settled) -> None:
        old = self._jobs.get(key)
        if old and _uid(old) != uid:
            self.drop_job(_uid(old))
        self._jobs[key] = job
        self._keys[uid] = key
        if self._ended(key, uid) and (children := self._children.get(uid)):
            children.forget_the_ended()

    def _ended(self, key: Key, uid: str) -> bool:
        job = self._jobs.get(key)
        return job is not None and _uid(job) == uid and (isinstance(job, _Settled) or job.status.terminal)

    def _version(self, key: Key) -> int:
        job = self._jobs.get(key)
        if isinstance(job, _Settled):
            return job.version
        return _number(job.metadata.resource_version) if job else 0


def _uid(job: FineTuneJob | _Settled) -> str:
    return job.uid if isinstance(job, _Settled) else job.metadata.uid


def _state(job: FineTuneJob | _Settled) -> str:
    return job.state if isinstance(job, _Settled) else (job.status.state or JobState.PENDING).value


def _put_job(children: _Children, document: Mapping[str, Any], version: int, gone: bool) -> bool:
    facts = job_facts(document)
    if facts is None or children.jobs.get(facts.uid, (0, facts))[0] > version:
        return False
    if gone:
        return children.jobs.pop(facts.uid, None) is not None
    old = children.jobs.get(facts.uid)
    children.jobs[facts.uid] = (version, facts)
    return old is None or old[1] != facts


def _put_pod(children: _Children, document: Mapping[str, Any], version: int, gone: bool) -> bool:
    facts = pod_facts(document, gone=gone)
    if facts is None or children.pods.get(facts.uid, (0, facts))[0] > version:
        return False
    old = children.pods.get(facts.uid)
    children.pods[facts.uid] = (version, facts)
    return old is None or old[1] != facts


def _settled(document: Mapping[str, Any]) -> _Settled | None:
    """None when something is left to decide: the job goes on, has a time to live, or was changed after its end."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    true = {item["type"] for item in status.get("conditions") or () if item["status"] == ConditionStatus.TRUE}
    if not true & _ENDS or (spec.get("runPolicy") or {}).get("ttlSecondsAfterFinished") is not None:
        return None
    if status.get("observedGeneration") != metadata["generation"]:
        return None
    return _Settled(
        uid=metadata["uid"],
        version=_number(metadata["resourceVersion"]),
        state=status.get("state") or "",
        run_id=(status.get("mlflow") or {}).get("runID") or "",
        succeeded=ConditionType.COMPLETE in true,
    )


def _trimmed(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in document["metadata"].items() if name not in _UNUSED}
    return {**document, "metadata": metadata, "status": document.get("status") or {}}


def _number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdecimal() else 0
