"""The manifests of the examples are what the API accepts, and name only what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
WITH_FILES = ("dpo", "hr-bot", "hr-bot-broken", "legal", "medical", "own-trainer", "spreadsheet")
EXAMPLES = (*WITH_FILES, "full", "multi-node", "qlora", "queue", "s3", "spot")


def load(example: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((REPOSITORY / "examples" / example / name).read_text(encoding="utf-8"))
    return document


def closed(schema: Any) -> Any:
    """The schema as strict field validation reads it: an object has no fields but its own."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict):
        result.setdefault("additionalProperties", False)
    return result


@pytest.fixture(scope="module")
def spec_schema() -> dict[str, Any]:
    crd = yaml.safe_load((REPOSITORY / "crds/vernacular.dev_finetunejobs.yaml").read_text(encoding="utf-8"))
    (version,) = [version for version in crd["spec"]["versions"] if version["storage"]]
    schema: dict[str, Any] = closed(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    return schema


@pytest.mark.parametrize("example", EXAMPLES)
def test_spec_follows_the_schema_of_the_api(example: str, spec_schema: dict[str, Any]) -> None:
    job = load(example, "finetunejob.yaml")

    assert (job["apiVersion"], job["kind"]) == ("vernacular.dev/v1alpha1", "FineTuneJob")
    assert job["metadata"]["name"] == example
    assert job["metadata"].keys() <= {"name", "labels"}
    jsonschema.validate(job["spec"], spec_schema)


@pytest.mark.parametrize("example", WITH_FILES)
def test_kustomization_makes_the_config_maps_that_the_job_names(example: str) -> None:
    kustomization = load(example, "kustomization.yaml")
    spec = load(example, "finetunejob.yaml")["spec"]
    named = [source["configMap"] for source in spec["dataset"]["train"]]
    asked = spec.get("evaluation", {})
    named += [asked[name]["configMap"] for name in ("questions", "glossary") if name in asked]

    made = {(m["name"], file) for m in kustomization["configMapGenerator"] for file in m["files"]}

    assert {(item["name"], item["key"]) for item in named} == made
    assert kustomization["generatorOptions"] == {"disableNameSuffixHash": True}
    assert [file for _, file in made if not (REPOSITORY / "examples" / example / file).is_file()] == []


def test_gpu_variant_changes_only_the_devices() -> None:
    (patch,) = load("hr-bot-gpu", "kustomization.yaml")["patches"]
    operations = {step["path"]: step for step in yaml.safe_load(patch["patch"])}
    compute = load("hr-bot", "finetunejob.yaml")["spec"]["compute"]

    assert set(operations) == {"/spec/compute/gpusPerPod", "/spec/compute/cpuProcessesPerPod"}
    assert operations["/spec/compute/gpusPerPod"] == {"op": "replace", "path": "/spec/compute/gpusPerPod", "value": 1}
    assert operations["/spec/compute/cpuProcessesPerPod"]["op"] == "remove"
    assert (compute["gpusPerPod"], compute["cpuProcessesPerPod"]) == (0, 1)


def test_broken_example_is_broken_in_the_line_that_it_names() -> None:
    folder = REPOSITORY / "examples/hr-bot-broken"
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    roles = [[message["role"] for message in row["messages"]] for row in rows]

    assert [number for number, found in enumerate(roles, start=1) if found != ["user", "assistant"]] == [7]
    assert "line 7" in (folder / "finetunejob.yaml").read_text(encoding="utf-8")
