"""FineTuneJobs of one namespace, and what the server's refusals mean for a person."""

from __future__ import annotations

import difflib
import json
import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vernacular.cli.cluster.client import WATCH_SILENCE, ApiError, Client
from vernacular.cli.cluster.kubeconfig import find_access
from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError, ExitCode

Json = dict[str, Any]

# the package vernacular.api has them too, but takes longer to import than a list of jobs takes to show
GROUP_PATH = "/apis/vernacular.dev/v1alpha1"
PLURAL = "finetunejobs"
_INSTALL = "install the operator with its CRD (helm install, see the README), or choose a cluster with --context"
_PAGE = "500"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Jobs:
    """FineTuneJobs of one namespace. Every method raises CliError."""

    def __init__(self, client: Client, namespace: str, commands: Commands) -> None:
        self.client = client
        self.namespace = namespace
        self.commands = commands

    def path(self, name: str = "", namespace: str | None = None) -> str:
        """Of the jobs of a namespace, or of one job; namespace "": of all."""
        chosen = self.namespace if namespace is None else namespace
        scope = f"/namespaces/{chosen}" if chosen else ""
        return f"{GROUP_PATH}{scope}/{PLURAL}{name and '/' + name}"

    def all(self, *, everywhere: bool = False) -> list[Json]:
        """All jobs, the newest last."""
        items: list[Json] = []
        query = {"limit": _PAGE}
        with refusals(self.namespace):
            while True:
                page = self.client.get(self.path(namespace="" if everywhere else None), **query)
                items += page.get("items") or []
                if not (token := (page.get("metadata") or {}).get("continue")):
                    break
                query["continue"] = token
        return sorted(items, key=lambda item: (item["metadata"].get("creationTimestamp", ""), item["metadata"]["name"]))

    def names(self) -> list[str]:
        """Names of all jobs; none where they may not be listed."""
        try:
            return [item["metadata"]["name"] for item in self.all()]
        except CliError:
            return []

    def one(self, name: str) -> Json:
        """One job. Raises CliError that names jobs with a similar name when there is none."""
        # a slash, even an encoded one, would lead elsewhere
        if not _NAME.fullmatch(name):
            raise self._unknown(repr(name))
        try:
            with refusals(self.namespace):
                return self.client.get(self.path(name))
        except CliError as error:
            cause = error.__cause__
            # the CRD is there, and names could be meant
            if not isinstance(cause, ApiError) or cause.code != 404 or error.code == ExitCode.NO_ACCESS:
                raise
            raise self._unknown(name) from cause

    def changes(self, name: str, version: str) -> Iterator[tuple[str, Json]]:
        """What happens to a job from a version of it on: pairs of ADDED, MODIFIED or DELETED and the job.

        Ends when the server ends the watch. Raises ApiError with code 410 when the version is too old.
        """
        query = {"watch": "1", "fieldSelector": f"metadata.name={name}", "resourceVersion": version}
        query |= {"allowWatchBookmarks": "true", "timeoutSeconds": "300"}
        for line in self.client.lines(self.path(), WATCH_SILENCE, **query):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise ApiError(event["object"].get("code", 500), event["object"])
            if event["type"] != "BOOKMARK":
                yield event["type"], event["object"]

    def create(self, job: Json, *, dry_run: bool = False) -> Json:
        """Create a job; with `dry_run` the server only says whether it would."""
        query = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        with refusals(self.namespace):
            return self.client.create(self.path(), job, **query)

    def set_run_policy(self, name: str, policy: Json) -> None:
        """Change fields of spec.runPolicy, the part of a spec that may change."""
        with refusals(self.namespace):
            self.client.merge(self.path(name), {"spec": {"runPolicy": policy}})

    def delete(self, job: Json) -> None:
        """Delete exactly this job, not one that was made under its name meanwhile."""
        metadata = job["metadata"]
        options = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        with refusals(self.namespace):
            self.client.delete(self.path(metadata["name"]), options)

    def events(self, job: Json) -> list[Json]:
        """Events about a job, the newest last; none where events may not be read: they are a courtesy."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        try:
            found = self.client.get(path, fieldSelector=f"involvedObject.uid={job['metadata']['uid']}").get("items")
        except ApiError:
            return []
        return sorted(found or [], key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def _unknown(self, name: str) -> CliError:
        names = self.names()
        near = difflib.get_close_matches(name, names, 3, cutoff=0.5)
        if near:
            advice = f"did you mean {' or '.join(near)}?"
        elif names:
            advice = f"{self.commands.own('list')} shows those that there are"
        else:
            advice = "there are no jobs in this namespace; choose another with --namespace"
        return CliError(f"there is no FineTuneJob {name} in namespace {self.namespace}", advice)


def open_jobs(options: Namespace) -> Jobs:
    """The jobs that the command line's flags point to."""
    access = find_access(options.kubeconfig, options.context, os.environ, Path.home())
    namespace = options.namespace or access.namespace
    if not _NAMESPACE.fullmatch(namespace):
        raise CliError(
            f"{namespace!r} is no name of a namespace", "name one with --namespace: lower-case letters, digits and -"
        )
    return Jobs(Client(access), namespace, Commands.of(options, namespace))


def unless_missing(read: Callable[[], Json]) -> Json | None:
    """What is read, None when the namespace has no such job. Raises CliError when that cannot be known."""
    try:
        return read()
    except CliError as error:
        missing = isinstance(error.__cause__, ApiError) and error.__cause__.code == 404
        if missing and error.code != ExitCode.NO_ACCESS:
            return None
        raise


@contextmanager
def refusals(namespace: str) -> Iterator[None]:
    """Turn what the server refuses into a sentence with advice; the ApiError stays its cause."""
    try:
        yield
    except ApiError as error:
        raise _sentence(error, namespace) from error


def _sentence(error: ApiError, namespace: str) -> CliError:
    if error.code == 401:
        return CliError(
            "the cluster does not accept these credentials", "log in to the cluster again", ExitCode.NO_ACCESS
        )
    if error.code == 403:
        advice = f"ask who runs the cluster for this right in namespace {namespace}, or choose another with --namespace"
        return CliError(f"the cluster refuses: {error.message}", advice, ExitCode.NO_ACCESS)
    # for a group that it does not know the server has a plain page, without a reason
    if error.code == 404 and (not error.reason or "could not find the requested resource" in error.message):
        return CliError("this cluster does not know FineTuneJobs", _INSTALL, ExitCode.NO_ACCESS)
    if error.code >= 500 or error.code == 429:
        return CliError(f"the cluster cannot answer now: {error.message}", "try again in a moment", ExitCode.NO_ACCESS)
    return CliError(f"the cluster refuses: {error.message}", "")
