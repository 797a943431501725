"""Why a job waits or has failed: what was seen, what it means, what follows, and the commands that mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.api import FAILURES, Consequence, FailureCode, Reason
from vernacular.api.failures import Failure
from vernacular.api.sources import ClaimPath
from vernacular.cli.screens.values import counted, pick
from vernacular.cli.screens.watch import ended, succeeded

Json = Mapping[str, Any]

_FOLLOWS = {
    Consequence.NEVER_RETRIED: "The job fails at once: only a person can mend it.",
    Consequence.RETRIED: "It is tried again, within spec.runPolicy.maxRestarts.",
    Consequence.REPAIRED: "It is tried again with less memory to need.",
    Consequence.CONTINUED: "It goes on from the newest checkpoint.",
    Consequence.WAITED_FOR: "The job waits, and goes on by itself once this is better.",
}

# codes as a status has them: one of a newer operator may be none of these
_FAILURES: Mapping[str, Failure] = {str(code): failure for code, failure in FAILURES.items()}

# waits that are no failures: meaning and advice
_WAITS = {
    Reason.WAITING_FOR_RUNTIME: (
        "The FineTuneRuntime that the job is to run with does not exist.",
        "Have the platform team create it; spec.runtimeRef cannot change, so a job for another runtime is a new one.",
    ),
    Reason.WAITING_FOR_TRACKING: (
        "The training begins once its run is open in MLflow.",
        "If this lasts, check that the MLflow server runs and that the operator reaches it.",
    ),
    Reason.WAITING_FOR_DELETION: (
        "Pods of the attempt before are still ending, which includes saving a checkpoint.",
        "If this lasts, look at these pods and their node.",
    ),
    Reason.WAITING_FOR_POD: (
        "The pods of the stage do not run yet.",
        "If this lasts, the events of the pods and of their Job say why.",
    ),
    Reason.WAITING_FOR_PEERS: (
        "Some pods of the training run, and wait for the others.",
        "If this lasts, the events of the pods that do not run say why.",
    ),
    Reason.CREATION_REFUSED: (
        "The cluster refuses an object that the job needs: a quota, a policy, or a right of the operator.",
        "Have what the message names allowed, or ask for less.",
    ),
    Reason.WAITING_FOR_QUOTA: (
        "A queue holds the training back until there is room.",
        "It starts by itself; the queue shows what is before it.",
    ),
    Reason.SUSPENDED: ("The job stands still: somebody suspended it.", "Let it go on when you like."),
    Reason.RETRYING: ("An attempt failed, and the next one starts soon.", "Nothing is to be done yet."),
    Reason.PREEMPTED: (
        "An attempt was ended from outside, and the next one goes on from its checkpoint.",
        "Nothing is to be done.",
    ),
}

_MENDED_OUTSIDE = frozenset(
    {
        *(FailureCode.DATASET_NOT_FOUND, FailureCode.DATASET_UNREADABLE, FailureCode.DATASET_SCHEMA),
        *(FailureCode.DATASET_TOO_SMALL, FailureCode.NO_TRAINABLE_TOKENS, FailureCode.DATASET_PERSONAL_DATA),
        *(FailureCode.DATASET_TOO_MANY_BAD_ROWS, FailureCode.QUESTIONS_UNREADABLE, FailureCode.GLOSSARY_UNREADABLE),
        *(FailureCode.MODEL_ACCESS_DENIED, FailureCode.SECRET_MISSING, FailureCode.VOLUME_NOT_BOUND),
        *(FailureCode.RENDEZVOUS_TIMEOUT, FailureCode.HANG, FailureCode.WORLD_SIZE_MISMATCH, FailureCode.NODE_LOST),
        *(FailureCode.IMAGE_PULL, FailureCode.EVICTED, FailureCode.TRACKING_UNAVAILABLE, FailureCode.INTERNAL_ERROR),
        *(FailureCode.TRACKING_ACCESS_DENIED, FailureCode.HOST_OUT_OF_MEMORY, FailureCode.GATE_FAILED),
    }
)
_DATA = frozenset(code for code in FailureCode if code.startswith("Dataset") or code == FailureCode.NO_TRAINABLE_TOKENS)
_FILES = {FailureCode.QUESTIONS_UNREADABLE: "questions", FailureCode.GLOSSARY_UNREADABLE: "glossary"}
_PODS = frozenset(
    {
        *(FailureCode.UNSCHEDULABLE, FailureCode.IMAGE_PULL, FailureCode.EVICTED, FailureCode.HOST_OUT_OF_MEMORY),
        *(Reason.WAITING_FOR_POD, Reason.WAITING_FOR_PEERS, Reason.WAITING_FOR_DELETION, Reason.CREATION_REFUSED),
    }
)
_NODES = frozenset({FailureCode.UNSCHEDULABLE, FailureCode.NODE_LOST, FailureCode.EVICTED})
_LOGS = frozenset(
    {
        *(FailureCode.INTERNAL_ERROR, FailureCode.HANG, FailureCode.RENDEZVOUS_TIMEOUT, FailureCode.NON_FINITE_LOSS),
        *(FailureCode.WORLD_SIZE_MISMATCH, FailureCode.RESTARTS_EXHAUSTED, Reason.RETRYING),
    }
)


@dataclass(frozen=True)
class Explanation:
    """An answer: `headline` in a word or two, `seen` as it was reported, and commands with what each is for."""

    headline: str
    meaning: str
    seen: tuple[str, ...] = ()
    follows: str = ""
    advice: str = ""
    commands: tuple[tuple[str, str], ...] = ()


def explain(job: Json, events: Sequence[Json], prog: str) -> Explanation:
    """Why the job is where it is; `events` are those of the job, the newest last."""
    state, reason = pick(job, "status.state"), pick(job, "status.reason") or ""
    if not state:
        return _unseen(job, prog)
    if succeeded(job):
        name = job["metadata"]["name"]
        return Explanation(
            "Succeeded",
            "The job has ended well.",
            tuple(filter(None, [pick(job, "status.evaluation.summary")])),
            commands=((f"{prog} describe {name}", "shows the results"),),
        )
    code = pick(job, "status.failure.code") or reason
    seen = tuple(_seen(job, events))
    commands = tuple(_commands(job, code, prog))
    if failure := _FAILURES.get(code):
        follows = "" if ended(job) else _FOLLOWS[failure.consequence]
        advice = pick(job, "status.failure.advice") or failure.advice
        return Explanation(f"{state}: {code}", failure.meaning, seen, follows, advice, commands)
    if reason in _WAITS:
        meaning, advice = _WAITS[Reason(reason)]
        return Explanation(f"{state}: {reason}", meaning, seen, "", advice, commands)
    meaning = "The job has failed." if ended(job) else "The job is at work; nothing holds it up."
    return Explanation(f"{state}: {reason}" if reason else state, meaning, seen, commands=commands)


def _unseen(job: Json, prog: str) -> Explanation:
    namespace = job["metadata"].get("namespace", "default")
    return Explanation(
        "Not seen by an operator",
        "No operator has looked at this job yet.",
        advice="If this lasts, the operator does not run, or does not watch this namespace.",
        commands=((f"{prog} doctor -n {namespace}", "looks at what the job needs, the operator among it"),),
    )


def _seen(job: Json, events: Sequence[Json]) -> Iterator[str]:
    failure = pick(job, "status.failure") or {}
    message = failure.get("message") or pick(job, "status.message")
    if message:
        yield message
    if failure.get("evidence"):
        yield f"seen in: {failure['evidence']}"
    if str(failure.get("code", "")) in _DATA:
        for problem in pick(job, "status.dataset.problems") or ():
            if problem.get("severity") == "Error":
                places, advice = ", ".join(problem.get("firstRows") or ()), problem.get("advice", "")
                yield f"{problem['code']} in {counted(problem['count'], 'row')}: {places}. {advice}".strip()
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("message")]
    for event in warnings[-3:]:
        if message != event["message"]:
            yield f"event {event.get('reason')}: {event['message']}"


def _commands(job: Json, code: str, prog: str) -> Iterator[tuple[str, str]]:
    name, namespace = job["metadata"]["name"], job["metadata"].get("namespace", "default")
    if code in _DATA or code in _FILES:
        yield from _file_commands(_files(job, code), namespace)
    if code == FailureCode.SECRET_MISSING:
        yield f"kubectl get secrets -n {namespace}", "shows which there are"
    if code == FailureCode.VOLUME_NOT_BOUND:
        yield f"kubectl describe pvc -n {namespace}", "shows why a claim gets no volume"
    if code == Reason.WAITING_FOR_RUNTIME:
        yield "kubectl get finetuneruntimes", "shows which there are"
    if code == Reason.WAITING_FOR_QUOTA:
        yield f"kubectl get workloads -n {namespace}", "shows what the queue lets in"
    if code in _PODS:
        yield (
            f"kubectl describe pods -n {namespace} -l vernacular.dev/job-name={name}",
            "shows the pods and their events",
        )
    if code in _NODES:
        yield "kubectl describe nodes", "shows what the nodes have, and what of it is taken"
    if code in _LOGS:
        yield f"{prog} logs {name} -n {namespace}", "shows what the newest attempt said"
    if code == Reason.SUSPENDED:
        yield f"{prog} resume {name} -n {namespace}", "lets it go on"
    if ended(job):
        yield from _again(name, namespace, code, prog)


def _again(name: str, namespace: str, code: str, prog: str) -> Iterator[tuple[str, str]]:
    if code in _MENDED_OUTSIDE or code == FailureCode.RESTARTS_EXHAUSTED:
        yield f"{prog} retry {name} -n {namespace}", "makes the same job anew, once that is mended"
    else:
        yield (
            f"{prog} describe {name} -n {namespace} -o yaml > {name}.yaml",
            "writes the job to a file: change it there",
        )
        yield f"{prog} submit {name}.yaml --name {name}-2", "makes the changed job"


def _files(job: Json, code: str) -> list[Json]:
    if code in _FILES:
        found = pick(job, f"spec.evaluation.{_FILES[FailureCode(code)]}")
        return [found] if found else []
    return list(pick(job, "spec.dataset.train") or ())


def _file_commands(files: Sequence[Json], namespace: str) -> Iterator[tuple[str, str]]:
    for file in files:
        if reference := file.get("configMap"):
            name, key = reference["name"], reference["key"]
            yield (
                f"kubectl create configmap {name} -n {namespace} --from-file={key} --dry-run=client -o yaml"
                # other keys of the ConfigMap stay: they belong to other field managers
                " | kubectl apply --server-side --force-conflicts --field-manager=mend -f -",
                f"puts the file {key} that you mended in its place",
            )
        elif path := ClaimPath.parse(file.get("uri", "")):
            yield f"kubectl get pvc {path.claim} -n {namespace}", f"shows the claim that holds {path.path}"
