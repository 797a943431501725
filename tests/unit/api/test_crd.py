"""The generated CRD: in step with the models, and within the conventions of Kubernetes APIs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.apiserver import REPOSITORY
from vernacular.api import crd

Schema = dict[str, Any]


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema below (and with) this one by its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from fields(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from fields(schema[name], f"{path}[]")


def of_type(kind: str) -> list[tuple[str, Schema]]:
    return [(path, schema) for path, schema in parts() if schema["type"] == kind]


def parts() -> list[tuple[str, Schema]]:
    """Every schema of the job's spec and status, and of the runtime's spec."""
    job, runtime = (crd.structural_schema(resource)["properties"] for resource in crd.RESOURCES)
    return [
        *fields(job["spec"], "spec"),
        *fields(job["status"], "status"),
        *fields(runtime["spec"], "runtime.spec"),
    ]


def test_the_files_are_in_step_with_the_models() -> None:
    assert crd.outdated(REPOSITORY) == []


def test_a_stale_or_missing_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert crd.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "crds/vernacular.dev_finetunejobs.yaml, charts/vernacular/templates/crd.yaml" in told
    assert "crds/vernacular.dev_finetuneruntimes.yaml" in told

    assert crd.main([]) == 0
    assert crd.main(["--check"]) == 0

    changed = tmp_path / crd.FINE_TUNE_JOB.chart_path
    changed.write_text(changed.read_text(encoding="utf-8").replace("maximum: 1000", "maximum: 999"), encoding="utf-8")
    assert crd.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("charts/vernacular/templates/crd.yaml: differs")


def test_the_module_prints_the_crds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vernacular.api.crd", "--print"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    printed = list(yaml.safe_load_all(done.stdout))
    assert printed == [crd.custom_resource_definition(resource) for resource in crd.RESOURCES]


def test_every_string_list_and_map_is_bounded() -> None:
    strings = [path for path, schema in of_type("string") if "enum" not in schema and "maxLength" not in schema]
    lists = [path for path, schema in of_type("array") if "maxItems" not in schema]
    maps = [path for path, schema in of_type("object") if "properties" not in schema and "maxProperties" not in schema]

    assert (strings, lists, maps) == ([], [], [])


def test_every_integer_says_its_width_and_no_number_is_a_float() -> None:
    assert of_type("number") == []
    assert [path for path, schema in of_type("integer") if schema["format"] not in ("int32", "int64")] == []
    assert [path for path, schema in of_type("integer") if "minimum" not in schema] == []


def test_every_list_says_how_it_is_merged() -> None:
    kinds = {path: schema.get("x-kubernetes-list-type") for path, schema in of_type("array")}

    assert set(kinds.values()) == {"atomic", "map"}
    lists = ("env", "imagePullSecrets", "volumes")
    by_name = {f"{spec}.podOverrides[].{name}" for name in lists for spec in ("spec", "runtime.spec")}
    assert {path for path, kind in kinds.items() if kind == "map"} == {"status.conditions", "status.stages", *by_name}


def test_every_field_is_described_in_a_sentence() -> None:
    described = [(path, schema.get("description", "")) for path, schema in parts() if not path.endswith("[]")]

    assert [path for path, text in described if not re.fullmatch(r".+[.]", text)] == []


def test_every_choice_is_in_camel_case() -> None:
    choices = [value for _, schema in parts() for value in schema.get("enum", [])]

    assert len(choices) > 30
    assert [value for value in choices if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", value)] == []


def test_no_keyword_is_left_that_a_structural_schema_forbids() -> None:
    allowed = {
        *(
            "type",
            "description",
            "properties",
            "required",
            "items",
            "enum",
            "default",
            "format",
            "additionalProperties",
        ),
        *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"),
        *(
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-validations",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
        ),
    }

    assert {keyword for _, schema in parts() for keyword in schema} <= allowed
    # the snapshot of a runtime, which the operator writes: its schema is that of the runtime
    assert [path for path, schema in parts() if "x-kubernetes-preserve-unknown-fields" in schema] == [
        "status.runtime.spec"
    ]


def test_what_is_chosen_by_the_plan_and_either_or_members_have_no_defaults() -> None:
    free = (
        "spec.training",
        "spec.method.lora",
        "spec.storage",
        "spec.compute.strategy",
        "spec.compute.cpuProcesses",
    )
    defaults = {path for path, schema in parts() if "default" in schema}

    assert [path for path in defaults if path.startswith(free)] == []
    assert [path for path in defaults if path.startswith("status")] == []
    assert {"spec.compute.pods", "spec.compute.gpusPerPod", "spec.runPolicy.maxRestarts"} <= defaults


def test_every_rule_has_a_message() -> None:
    schemas = [crd.structural_schema(resource) for resource in crd.RESOURCES]
    rules = [rule for schema in schemas for _, part in fields(schema) for rule in part.get(crd.VALIDATIONS, [])]

    assert len(rules) > 30
    assert [rule for rule in rules if not rule.get("message")] == []
    assert [rule["message"] for rule in rules if "\n" in rule["message"]] == []


def test_every_column_shows_a_field_that_exists() -> None:
    known = {f".{path.removeprefix('runtime.')}" for path, _ in parts()} | {".metadata.creationTimestamp"}
    shown = {column["jsonPath"] for resource in crd.RESOURCES for column in resource.columns}

    assert shown - known == {".metadata.annotations.vernacular\\.dev/default"}
