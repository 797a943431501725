"""What all models share: frozen, camelCase outside, and annotations that are checks here and schema in the CRD."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

VALIDATIONS = "x-kubernetes-validations"


def api_name(name: str) -> str:
    """Spell a Python field name as the API does: `run_id` is `runID`, `artifact_uri` is `artifactURI`,
    `gpu_memory_gib` is `gpuMemoryGiB`.
    """
    camel = to_camel(name)
    camel = re.sub(r"(?<=[a-z])Gib$", "GiB", camel)
    return re.sub(r"(?<=[a-z])(Id|Uri)$", lambda match: match.group().upper(), camel)


class ApiModel(BaseModel):
    """A frozen part of the resource. Unknown fields are ignored; parts of the spec forbid them."""

    model_config = ConfigDict(frozen=True, alias_generator=api_name, populate_by_name=True, extra="ignore")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data in the API's spelling, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SpecModel(ApiModel):
    """A frozen part of the spec: a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


def cel(rule: str, message: str) -> JsonDict:
    """One CEL rule with the message that says what to write instead."""
    return {"rule": rule, "message": message}


def rules(*entries: JsonDict) -> JsonDict:
    """Schema keywords (`json_schema_extra`) with rules that the API server checks."""
    return {VALIDATIONS: [*entries]}


@dataclass(frozen=True)
class Checked:
    """A string that API server and Python check with the same pattern, and refuse with the same readable message.

    `pattern` is anchored by this class. `also` narrows further: a CEL condition and the same in Python.
    """

    pattern: str
    message: str
    also: tuple[str, Callable[[str], bool]] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rule = f"self.matches('^({_cel_escape(self.pattern)})$')"
        if self.also:
            rule = f"{rule} && {self.also[0]}"
        return {**handler(schema), VALIDATIONS: [cel(rule, self.message)]}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value, re.ASCII) or (self.also and not self.also[1](value)):
            raise ValueError(self.message)
        return value


def _cel_escape(pattern: str) -> str:
    return pattern.replace("\\", "\\\\").replace("'", "\\'")


def _cutter(limit: int) -> Callable[[Any], Any]:
    def cut(value: Any) -> Any:
        if isinstance(value, str):
            return value if len(value) <= limit else value[: limit - 1] + "…"
        if isinstance(value, list | tuple):
            return tuple(value)[:limit]
        return value

    return cut


def at_most(limit: int) -> tuple[Any, BeforeValidator]:
    """Cut a string or a list of the status to `limit`, so that no status is ever refused for its length.

    Returns the annotations to unpack into `Annotated`.
    """
    return Field(max_length=limit), BeforeValidator(_cutter(limit))


def _map_list(key: str) -> Any:
    return Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})


ATOMIC_LIST = Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})
BY_TYPE = _map_list("type")
BY_NAME = _map_list("name")

Line = Annotated[str, *at_most(256)]
Text = Annotated[str, *at_most(1024)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Timestamp = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it. `moment` must carry a time zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
