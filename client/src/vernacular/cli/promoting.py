"""Which version a promotion is about, and what a person should know before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.cli.commands import Commands
from vernacular.cli.errors import CliError
from vernacular.cli.registry import Reviewed, Version
from vernacular.cli.screens.values import pick

Json = Mapping[str, Any]

# vernacular.api.constants says the same, but takes long to import
DEFAULT_PROMOTED_ALIAS = "champion"
_PROMOTE = "Promote"
_REGRESSED = "Regressed"


@dataclass(frozen=True)
class Promotion:
    """An alias that goes from a version ("" for none) to another one. `doubt` is a question to ask first, if any."""

    version: Version
    alias: str
    before: str
    doubt: str = ""

    @property
    def needless(self) -> bool:
        """Whether the version has the alias already."""
        return self.before == str(self.version.number)


def alias_of(job: Json, told: str | None) -> str:
    """The alias that serving reads."""
    return told or pick(job, "spec.publish.promotedAlias") or DEFAULT_PROMOTED_ALIAS


def model_of(job: Json, number: int | None, commands: Commands) -> str:
    """The registered model of a job. Raises CliError when it has published none, and no version is told."""
    name, model = job["metadata"]["name"], pick(job, "status.mlflow.registeredModel")
    # the model has its name as soon as the run is open
    if not model or (number is None and not _own_number(job)):
        raise CliError(f"{name} has published no version", f"{commands.own('describe', name)} shows how far it is")
    return str(model)


def choose(job: Json, versions: Sequence[Version], number: int | None, address: str) -> Version:
    """The version that is told, else the job's own. Raises CliError when the MLflow at `address` has none such."""
    wanted = _own_number(job) if number is None else number
    model = pick(job, "status.mlflow.registeredModel")
    version = next((item for item in versions if item.number == wanted), None)
    if version is None:
        numbers = ", ".join(str(item.number) for item in versions) or "none"
        raise CliError(f"model {model} has no version {wanted}", f"there are: {numbers}")
    if number is None and not is_own(job, version):
        raise CliError(
            f"version {wanted} of model {model} in MLflow at {address} is not of {job['metadata']['name']}",
            "name the address of the MLflow that the job was published to with --mlflow, or the version with --version",
        )
    return version


def is_own(job: Json, version: Version) -> bool:
    """Whether this very job has published the version; names and numbers are given again, elsewhere and later."""
    return version.number == _own_number(job) and version.uid == job["metadata"]["uid"]


def decide(
    job: Json, versions: Sequence[Version], version: Version, alias: str, verdict: str, *, force: bool = False
) -> Promotion:
    """The promotion of a version; `verdict` is that of its run, and not needed for the job's own version. A review
    counts instead of either.

    Raises CliError for a version that its review found worse than the base, unless it is to be forced.
    """
    before = next((str(item.number) for item in versions if alias in item.aliases), "")
    if version.review:
        doubt = _doubt_of_review(version, version.review, force=force)
    elif is_own(job, version):
        doubt = _doubt(job)
    elif verdict == _PROMOTE or _was_promoted(version, versions):
        doubt = ""
    else:
        doubt = f"The verdict on version {version.number} is {verdict or 'not known'}. Promote it all the same?"
    return Promotion(version, alias, before, doubt)


def _doubt_of_review(version: Version, review: Reviewed, *, force: bool) -> str:
    if review.verdict == _PROMOTE:
        return ""
    who = f" by {review.by}, {review.at}," if review.by else ""
    says = f"The review of version {version.number}{who} says {review.verdict}. {review.summary}"
    if review.verdict == _REGRESSED and not force:
        raise CliError(says, "choose another version with --version; --force promotes it all the same")
    return f"{says} Promote it all the same?"


def _own_number(job: Json) -> int:
    return int(pick(job, "status.mlflow.modelVersion") or 0)


def _was_promoted(version: Version, versions: Sequence[Version]) -> bool:
    return bool(version.replaced) or any(item.replaced == str(version.number) for item in versions)


def _doubt(job: Json) -> str:
    verdict, summary = pick(job, "status.evaluation.verdict"), pick(job, "status.evaluation.summary") or ""
    if verdict == _PROMOTE:
        return ""
    missed = "; ".join(pick(job, "status.evaluation.gateMissed") or ())
    gate = f" The gate was missed: {missed}." if missed else ""
    return f"The verdict is {verdict or 'not known'}. {summary}{gate} Promote it all the same?".replace("  ", " ")
