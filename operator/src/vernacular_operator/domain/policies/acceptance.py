"""Whether a job may begin: what only the operator can check, before anything starts."""

from __future__ import annotations

from datetime import datetime

from vernacular.api import ConditionStatus, ConditionType, FailureCode, FineTuneRuntime, JobState, Reason
from vernacular.api.spec import AccessMode
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.policies import deadline, ending, override_permissions, runtime, source_permissions
from vernacular_operator.manifests.claim import access_mode, workspace_spec
from vernacular_operator.manifests.runtime import settings, snapshot_of

_MISSING_CLAIM_SECONDS = 20
_BLOCKED_SECONDS = 30
_MISSING_RUNTIME_SECONDS = 10
_ANY_POD = frozenset({"ReadWriteMany"})


def apply(draft: Draft) -> None:
    """Accept the job, hold it back, or fail it. One that is cancelled needs no judgement: its deadline ends it."""
    for kind in ConditionType:
        if all(item.type != kind for item in draft.status.conditions):
            draft.condition(kind, ConditionStatus.UNKNOWN, Reason.NOT_STARTED)
    draft.set(usage=draft.usage)
    if deadline.no_time_at_all(draft):
        return
    if draft.world.blocked:
        _hold(draft, draft.world.blocked.code, draft.world.blocked.message, _BLOCKED_SECONDS)
    elif not draft.status.is_true(ConditionType.ACCEPTED):
        _judge(draft)


def _judge(draft: Draft) -> None:
    if draft.status.start_time:
        # it was accepted before, and a child that could not be created held it up since
        _accept(draft)
        return
    chosen = None
    if draft.status.runtime is None:
        if message := runtime.missing(draft):
            _hold(draft, Reason.WAITING_FOR_RUNTIME, message, _MISSING_RUNTIME_SECONDS)
            return
        chosen = draft.world.runtime.runtime
    if chosen and (message := runtime.over_the_limits(draft, chosen)):
        _refuse(draft, FailureCode.LIMIT_EXCEEDED, message)
    elif _storage_fits(draft, chosen):
        if problem := override_permissions.problem(draft.world.job, draft.world.config):
            _refuse(draft, FailureCode.OVERRIDE_NOT_ALLOWED, problem)
            return
        if problem := source_permissions.problem(draft.world.job, draft.world.config):
            _refuse(draft, FailureCode.SOURCE_NOT_ALLOWED, problem)
            return
        _accept(draft)
        if chosen:
            _take_over(draft, chosen)


def _accept(draft: Draft) -> None:
    draft.condition(ConditionType.ACCEPTED, ConditionStatus.TRUE, Reason.ACCEPTED)
    draft.condition(ConditionType.COMPLETE, ConditionStatus.FALSE, Reason.NOT_FINISHED)
    draft.condition(ConditionType.FAILED, ConditionStatus.FALSE, Reason.NOT_FINISHED)


def _take_over(draft: Draft, chosen: FineTuneRuntime) -> None:
    """The snapshot is stored before anything is made from it: no attempt ever goes by another version."""
    draft.set(runtime=snapshot_of(chosen))
    name, generation = chosen.metadata.name, chosen.metadata.generation
    draft.say(JobState.PENDING, Reason.ACCEPTED, f"accepted with the FineTuneRuntime {name}, generation {generation}")
    draft.requeue(0)
    draft.settled = True


def _storage_fits(draft: Draft, chosen: FineTuneRuntime | None) -> bool:
    """False when the job was refused or held for the volume that its stages share."""
    job, claim = draft.world.job, draft.world.claim
    config = settings(draft.world.config, snapshot_of(chosen) if chosen else None)
    named = workspace_spec(job).claim_name
    if named and claim and not claim.exists:
        _missing_claim(draft, named)
        return False
    if chosen and named and named == _cache_claim(chosen):
        message = (
            f"the claim {named} of spec.storage.workspace is the storage.modelCache of the FineTuneRuntime"
            f" {chosen.metadata.name}: training would write to what all jobs read"
        )
        _refuse(draft, FailureCode.ARGUMENT_REFUSED, message, "Name another claim in spec.storage.workspace, or none.")
        return False
    modes = claim.access_modes if claim else (str(access_mode(job, config)),)
    if job.spec.compute.pods == 1 or not _ANY_POD.isdisjoint(modes):
        return True
    what = f"claim {named}" if named else "the workspace"
    message = (
        f"{job.spec.compute.pods} pods share {what}, whose access mode is {' and '.join(modes) or 'not set'}:"
        f" only {AccessMode.READ_WRITE_MANY} lets pods on several nodes write"
    )
    _refuse(draft, FailureCode.STORAGE_NOT_SHARED, message)
    return False


def _cache_claim(runtime: FineTuneRuntime) -> str:
    """The claim that keeps what jobs fetch, "" when the runtime names none."""
    storage = runtime.spec.storage
    return storage.model_cache.claim_name if storage and storage.model_cache else ""


def _missing_claim(draft: Draft, name: str) -> None:
    namespace = draft.world.job.metadata.namespace
    message = f"the claim {name} of spec.storage.workspace does not exist in namespace {namespace}"
    created = draft.world.job.metadata.creation_timestamp
    age = (draft.now - datetime.fromisoformat(created)).total_seconds() if created else 0.0
    if age > _MISSING_CLAIM_SECONDS:
        advice = f"Create the claim {name} in namespace {namespace}, or remove claimName: the job then gets its own."
        _refuse(draft, FailureCode.VOLUME_NOT_BOUND, message, advice)
    else:
        _hold(draft, FailureCode.VOLUME_NOT_BOUND, message, _MISSING_CLAIM_SECONDS - age + 1)


def _refuse(draft: Draft, code: FailureCode, message: str, advice: str = "") -> None:
    draft.condition(ConditionType.ACCEPTED, ConditionStatus.FALSE, code, message)
    ending.fail(draft, None, code, message, advice=advice)


def _hold(draft: Draft, code: str, message: str, seconds: float) -> None:
    draft.condition(ConditionType.ACCEPTED, ConditionStatus.FALSE, code, message)
    draft.say(draft.status.state or JobState.PENDING, code, message)
    draft.requeue(seconds)
    draft.settled = True
