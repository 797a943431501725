"""Why a job waits or has failed: what was seen, what it means, what follows, and the commands that mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.api import FAILURES, Consequence, FailureCode, Reason
from vernacular.api.failures import Failure
from vernacular.api.sources import ClaimPath
from vernacular.cli.commands import Commands
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
        *(FailureCode.DATASET_ACCESS_DENIED, FailureCode.SOURCE_UNAVAILABLE),
        *(FailureCode.MODEL_ACCESS_DENIED, FailureCode.SECRET_MISSING, FailureCode.VOLUME_NOT_BOUND),
        *(FailureCode.RENDEZVOUS_TIMEOUT, FailureCode.HANG, FailureCode.WORLD_SIZE_MISMATCH, FailureCode.NODE_LOST),
        *(FailureCode.IMAGE_PULL, FailureCode.EVICTED, FailureCode.TRACKING_UNAVAILABLE, FailureCode.INTERNAL_ERROR),
        *(FailureCode.TRACKING_ACCESS_DENIED, FailureCode.HOST_OUT_OF_MEMORY, FailureCode.GATE_FAILED),
    }
)
_DATA = frozenset(
    code
    for code in FailureCode
    if (code.startswith("Dataset") and code != FailureCode.DATASET_ACCESS_DENIED)
    or code == FailureCode.NO_TRAINABLE_TOKENS
)
_DIGEST = re.compile(r"(^|-)[0-9a-f]{12}([0-9a-f]{8})?$")
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


def explain(job: Json, events: Sequence[Json], commands: Commands, new: str = "") -> Explanation:
    """Why the job is where it is; `events` are those of the job, the newest last, `new` a name for one made anew."""
    state, reason = pick(job, "status.state"), pick(job, "status.reason") or ""
    if not state:
        return _unseen(commands)
    if succeeded(job):
        name = job["metadata"]["name"]
        return Explanation(
            "Succeeded",
            "The job has ended well.",
            tuple(filter(None, [pick(job, "status.evaluation.summary")])),
            commands=((commands.own("describe", name), "shows the results"),),
        )
    code = pick(job, "status.failure.code") or reason
    seen = tuple(_seen(job, events))
    if _cancelled(job):
        again = (commands.own("retry", job["metadata"]["name"]), "makes the job anew, without a deadline")
        return Explanation("Cancelled", "Somebody has ended the job: its deadline is 0.", seen, commands=(again,))
    todo = tuple(_commands(job, code, commands, new))
    if failure := _FAILURES.get(code):
        follows = "" if ended(job) else _FOLLOWS[failure.consequence]
        advice = pick(job, "status.failure.advice") or failure.advice
        return Explanation(f"{state}: {code}", failure.meaning, seen, follows, advice, todo)
    if reason in _WAITS:
        meaning, advice = _WAITS[Reason(reason)]
        return Explanation(f"{state}: {reason}", meaning, seen, "", advice, todo)
    meaning = "The job has failed." if ended(job) else "The job is at work; nothing holds it up."
    return Explanation(f"{state}: {reason}" if reason else state, meaning, seen, commands=todo)


def _cancelled(job: Json) -> bool:
    code, deadline = pick(job, "status.failure.code"), pick(job, "spec.runPolicy.activeDeadlineSeconds")
    return (code, deadline) == (FailureCode.DEADLINE_EXCEEDED, 0)


def _unseen(commands: Commands) -> Explanation:
    return Explanation(
        "Not seen by an operator",
        "No operator has looked at this job yet.",
        advice="If this lasts, the operator does not run, or does not watch this namespace.",
        commands=((commands.own("doctor"), "looks at what the job needs, the operator among it"),),
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


def _commands(job: Json, code: str, commands: Commands, new: str) -> Iterator[tuple[str, str]]:
    name, files = job["metadata"]["name"], _files(job, code)
    for file in files:
        yield from _file_commands(file, commands)
    if code == FailureCode.SECRET_MISSING:
        yield commands.kubectl(["get", "secrets"]), "shows which there are"
    if code == FailureCode.VOLUME_NOT_BOUND:
        yield commands.kubectl(["describe", "pvc"]), "shows why a claim gets no volume"
    if code == Reason.WAITING_FOR_RUNTIME:
        yield commands.kubectl(["get", "finetuneruntimes"], namespaced=False), "shows which there are"
    if code == Reason.WAITING_FOR_QUOTA:
        yield commands.kubectl(["get", "workloads"]), "shows what the queue lets in"
    if code in _PODS:
        pods = commands.kubectl(["describe", "pods"], "-l", f"vernacular.dev/job-name={name}")
        yield pods, "shows the pods and their events"
    if code in _NODES:
        nodes = commands.kubectl(["describe", "nodes"], namespaced=False)
        yield nodes, "shows what the nodes have, and what of it is taken"
    if code in _LOGS:
        yield commands.own("logs", name), "shows what the newest attempt said"
    if code == Reason.SUSPENDED:
        yield commands.own("resume", name), "lets it go on"
    if not ended(job):
        return
    if any(_is_of_submit(file) for file in files):
        anew = commands.own("submit", "JOB.yaml", name=new)
        yield anew, "makes it from the file that you submitted, with the rows as they are now"
    elif code in _MENDED_OUTSIDE or code == FailureCode.RESTARTS_EXHAUSTED:
        yield commands.own("retry", name), "makes the same job anew, once that is mended"
    else:
        # a file of the job's own name may be the one that its author wrote
        written = f"{commands.own('describe', name, '-o', 'yaml')} > {new}.yaml"
        yield written, "writes the job to a file: change it there"
        yield commands.own("submit", f"{new}.yaml", name=new), "makes the changed job"


def _files(job: Json, code: str) -> list[Json]:
    if code in _FILES:
        found = pick(job, f"spec.evaluation.{_FILES[FailureCode(code)]}")
        return [found] if found else []
    return list(pick(job, "spec.dataset.train") or ()) if code in _DATA else []


def _is_of_submit(file: Json) -> bool:
    """Whether the file is in a ConfigMap that `submit` has named after its content, which never changes."""
    return bool(_DIGEST.search(pick(file, "configMap.name") or ""))


def _file_commands(file: Json, commands: Commands) -> Iterator[tuple[str, str]]:
    if _is_of_submit(file):
        return
    if reference := file.get("configMap"):
        name, key = reference["name"], reference["key"]
        made = commands.kubectl(["create", "configmap", name], f"--from-file={key}", "--dry-run=client", "-o", "yaml")
        # other keys of the ConfigMap stay: they belong to other field managers
        apply = ["--server-side", "--force-conflicts", "--field-manager=mend", "-f", "-"]
        applied = commands.kubectl(["apply"], *apply, namespaced=False)
        yield f"{made} | {applied}", f"puts the file {key} that you mended in its place"
    elif path := ClaimPath.parse(file.get("uri", "")):
        yield commands.kubectl(["get", "pvc", path.claim]), f"shows the claim that holds {path.path}"
