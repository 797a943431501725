"""The FineTuneJob as a whole."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from vernacular.api.base import ApiModel, cel, rules
from vernacular.api.constants import MAX_NAME_LENGTH
from vernacular.api.spec import FineTuneJobSpec
from vernacular.api.status import FineTuneJobStatus

_NAME_RULES = rules(
    cel(
        f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
        f"metadata.name must have at most {MAX_NAME_LENGTH} characters: names of pods and volumes are made from it",
    ),
    cel(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a lower-case letter"
        " and consist of lower-case letters, digits and '-', like hr-bot-2",
    ),
)


class ObjectMeta(ApiModel):
    """The part of the object's metadata that matters here."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class FineTuneJob(ApiModel):
    """Teaches a language model a company's own language: checks data, trains, evaluates, publishes."""

    model_config = ConfigDict(json_schema_extra=_NAME_RULES)

    api_version: Literal["vernacular.dev/v1alpha1"] = "vernacular.dev/v1alpha1"
    kind: Literal["FineTuneJob"] = "FineTuneJob"
    metadata: ObjectMeta
    spec: FineTuneJobSpec = Field(description="What to teach which model, and with what.")
    status: FineTuneJobStatus = Field(default_factory=FineTuneJobStatus, description="What the operator last saw.")
