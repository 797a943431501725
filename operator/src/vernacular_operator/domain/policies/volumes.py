"""Claims that a pod waits for: one that does not exist ends the job, one that is not bound yet is waited for."""

from __future__ import annotations

import re
from datetime import timedelta

from vernacular.api import FailureCode, Stage
from vernacular.api.sources import ClaimPath
from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.policies import ending
from vernacular_operator.domain.snapshot import PodFacts
from vernacular_operator.manifests.claim import claim_name
from vernacular_operator.manifests.inputs import dataset_claims, model_cache

PATIENCE = timedelta(seconds=20)
_NOT_FOUND = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_UNBOUND = re.compile(r"unbound immediate PersistentVolumeClaims|didn't find available persistent volumes")


def missing(pod: PodFacts) -> str:
    """The claim that a scheduler does not find for this pod, "" when none is missing."""
    found = _NOT_FOUND.search(pod.unschedulable)
    return found.group(1) if found else ""


def unbound(pod: PodFacts) -> bool:
    """Whether the pod waits for a volume of a claim that exists."""
    return bool(_UNBOUND.search(pod.unschedulable))


def fail_if_missing(draft: Draft, stage: Stage, pod: PodFacts) -> bool:
    """Fail the job once the claim has been missing for long enough; True when it failed."""
    claim, since = missing(pod), pod.unschedulable_since
    if not claim or since is None:
        return False
    if draft.now - since <= PATIENCE:
        draft.requeue((PATIENCE - (draft.now - since)).total_seconds() + 1)
        return False
    namespace = draft.world.job.metadata.namespace
    code, use = _meaning(draft, claim)
    message = f"the claim {claim} in namespace {namespace} does not exist; {use} names it"
    advice = f"Create the claim {claim} in namespace {namespace}, or mend the name in {use}, then create the job again."
    ending.fail(draft, stage, code, message, advice=advice, evidence=f"pod {pod.name}: {pod.unschedulable}")
    return True


def _meaning(draft: Draft, claim: str) -> tuple[FailureCode, str]:
    job = draft.world.job
    if claim == claim_name(job):
        return FailureCode.VOLUME_NOT_BOUND, "spec.storage.workspace"
    if claim in dataset_claims(job):
        return FailureCode.DATASET_NOT_FOUND, "spec.dataset or spec.evaluation"
    if claim == model_cache(job):
        return FailureCode.VOLUME_NOT_BOUND, "spec.storage.modelCache, of the job or of its FineTuneRuntime,"
    model = ClaimPath.parse(job.spec.model.uri)
    if model and model.claim == claim:
        return FailureCode.MODEL_NOT_FOUND, "spec.model.uri"
    return FailureCode.VOLUME_NOT_BOUND, "the pod"
