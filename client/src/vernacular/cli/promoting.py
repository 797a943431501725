"""Which version a promotion is about, and what a person should know before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vernacular.cli.errors import CliError
from vernacular.cli.registry import Version
from vernacular.cli.screens.values import pick

Json = Mapping[str, Any]

# vernacular.api.constants says the same, but takes long to import
DEFAULT_PROMOTED_ALIAS = "champion"
_PROMOTE = "Promote"


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


def model_of(job: Json) -> str:
    """The registered model of a job. Raises CliError when it has published none."""
    if name := pick(job, "status.mlflow.registeredModel"):
        return str(name)
    name = job["metadata"]["name"]
    raise CliError(f"{name} has published no version", f"vernacular describe {name} shows how far it is")


def decide(job: Json, versions: Sequence[Version], number: int | None, alias: str) -> Promotion:
    """The promotion of a version of the job's model, its own unless told. Raises CliError when there is none such."""
    own = int(pick(job, "status.mlflow.modelVersion") or 0)
    wanted = own if number is None else number
    version = next((item for item in versions if item.number == wanted), None)
    if version is None:
        numbers = ", ".join(str(item.number) for item in versions) or "none"
        raise CliError(f"model {model_of(job)} has no version {wanted}", f"there are: {numbers}")
    before = next((str(item.number) for item in versions if alias in item.aliases), "")
    return Promotion(version, alias, before, _doubt(job) if wanted == own else "")


def _doubt(job: Json) -> str:
    verdict, summary = pick(job, "status.evaluation.verdict"), pick(job, "status.evaluation.summary") or ""
    if verdict == _PROMOTE:
        return ""
    missed = "; ".join(pick(job, "status.evaluation.gateMissed") or ())
    gate = f" The gate was missed: {missed}." if missed else ""
    return f"The verdict is {verdict or 'not known'}. {summary}{gate} Promote it all the same?".replace("  ", " ")
