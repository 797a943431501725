"""Which web servers a job may read files from: who may only create jobs must not reach what pods of the cluster can."""

from __future__ import annotations

from collections.abc import Iterator

from vernacular.api import FineTuneJob
from vernacular.api.sources import FileRef
from vernacular_operator.config import OperatorConfig
from vernacular_operator.manifests.job_config import https_config

_SCHEME = "https://"


def problem(job: FineTuneJob, config: OperatorConfig) -> str:
    """The first file on a server that is not allowed and what to do about it, "" when all are."""
    allowed = https_config(config)
    for field, reference in _files(job):
        if not (reference.uri or "").startswith(_SCHEME):
            continue
        server = (reference.uri or "").removeprefix(_SCHEME).partition("/")[0]
        host, _, port = server.partition(":")
        if not allowed.allows(host, int(port or 443)):
            return (
                f"{field}.uri: files of {server} are not allowed here; ask the platform team to add it to the chart's"
                " value config.https.hosts"
            )
    return ""


def _files(job: FineTuneJob) -> Iterator[tuple[str, FileRef]]:
    """All files that a job names, by their fields."""
    dataset, evaluation = job.spec.dataset, job.spec.evaluation
    yield from ((f"spec.dataset.train[{index}]", source) for index, source in enumerate(dataset.train))
    kept_back = dataset.validation.sources or ()
    yield from ((f"spec.dataset.validation.sources[{index}]", source) for index, source in enumerate(kept_back))
    if dataset.chat_template:
        yield "spec.dataset.chatTemplate", dataset.chat_template
    for name, source in (("questions", evaluation.questions), ("glossary", evaluation.glossary)):
        if source:
            yield f"spec.evaluation.{name}", source
