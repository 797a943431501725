"""Generates the CustomResourceDefinitions from the models, for crds/ and for the chart.

`python -m vernacular.api.crd` writes all files below the current folder, which is the repository; with `--check` it
exits 1 when one of them differs from the models; with `--print` it prints the CRDs and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from vernacular.api import constants
from vernacular.api.base import VALIDATIONS
from vernacular.api.finetunejob import FineTuneJob
from vernacular.api.finetuneruntime import FineTuneRuntime

CRD_FOLDER = Path("crds")
CHART_FOLDER = Path("charts") / "vernacular" / "templates"

_GENERATED = "# Generated from the models in client/src/vernacular/api by `make generate`; do not edit.\n"
_DROPPED = {"title", "additionalProperties", "propertyNames", "anyOf", "$ref", "$defs"}
_INT32 = 2**31

Json = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind of resource. `chart_file` is the name of its template in the chart."""

    model: type[BaseModel]
    kind: str
    list_kind: str
    plural: str
    singular: str
    short_name: str
    scope: str
    columns: tuple[Json, ...]
    chart_file: str

    @property
    def name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{constants.GROUP}"

    @property
    def crd_path(self) -> Path:
        """Where the plain CRD lies, below the repository."""
        return CRD_FOLDER / f"{constants.GROUP}_{self.plural}.yaml"

    @property
    def chart_path(self) -> Path:
        """Where the chart's template of it lies, below the repository."""
        return CHART_FOLDER / self.chart_file


def _column(name: str, path: str, description: str, *, kind: str = "string", wide: bool = False) -> Json:
    column: Json = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": 1} if wide else column


_JOB_COLUMNS = (
    _column("State", ".status.state", "The job in one word"),
    _column("Progress", ".status.progress.percent", "Training steps done in percent", kind="integer"),
    _column("ETA", ".status.progress.etaSeconds", "Seconds until training ends", kind="integer"),
    _column("Verdict", ".status.evaluation.verdict", "What to make of the tuned model"),
    _column("Age", ".metadata.creationTimestamp", "Time since creation", kind="date"),
    _column("Reason", ".status.reason", "Why the job is in this state", wide=True),
    _column("Loss", ".status.progress.loss", "Latest training loss", wide=True),
    _column("Model", ".spec.model.uri", "The base model", wide=True),
    _column("Method", ".spec.method.type", "How the model learns", wide=True),
    _column("GPUs", ".spec.compute.gpusPerPod", "GPUs of each pod", kind="integer", wide=True),
    _column("Restarts", ".status.usage.restarts", "Attempts after a failure", kind="integer", wide=True),
    _column("Cost", ".status.usage.cost", "What the GPU time cost so far", wide=True),
    _column("Run", ".status.mlflow.runID", "Run in MLflow", wide=True),
)


_RUNTIME_COLUMNS = (
    _column("Default", ".metadata.annotations.vernacular\\.dev/default", "Whether jobs without runtimeRef get it"),
    _column("MaxGPUs", ".spec.limits.maxGpus", "GPUs that a job may train on", kind="integer"),
    _column("Age", ".metadata.creationTimestamp", "Time since creation", kind="date"),
    _column("Trainer", ".spec.images.trainer", "Image of train and evaluate", wide=True),
)

FINE_TUNE_JOB = Resource(
    model=FineTuneJob,
    kind=constants.KIND,
    list_kind=constants.LIST_KIND,
    plural=constants.PLURAL,
    singular=constants.SINGULAR,
    short_name=constants.SHORT_NAME,
    scope="Namespaced",
    columns=_JOB_COLUMNS,
    chart_file="crd.yaml",
)
FINE_TUNE_RUNTIME = Resource(
    model=FineTuneRuntime,
    kind=constants.RUNTIME_KIND,
    list_kind=constants.RUNTIME_LIST_KIND,
    plural=constants.RUNTIME_PLURAL,
    singular=constants.RUNTIME_SINGULAR,
    short_name=constants.RUNTIME_SHORT_NAME,
    scope="Cluster",
    columns=_RUNTIME_COLUMNS,
    chart_file="crd-finetuneruntimes.yaml",
)
RESOURCES = (FINE_TUNE_JOB, FINE_TUNE_RUNTIME)


def custom_resource_definition(resource: Resource) -> Json:
    """The complete CRD as plain data."""
    schema = structural_schema(resource)
    status: Json = {"subresources": {"status": {}}} if "status" in schema["properties"] else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name},
        "spec": {
            "group": constants.GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": resource.list_kind,
                "plural": resource.plural,
                "singular": resource.singular,
                "shortNames": [resource.short_name],
                "categories": [constants.CATEGORY] if resource.scope == "Namespaced" else [],
            },
            "scope": resource.scope,
            "versions": [
                {
                    "name": constants.VERSION,
                    "served": True,
                    "storage": True,
                    **status,
                    "additionalPrinterColumns": list(resource.columns),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def structural_schema(resource: Resource) -> Json:
    """The models as a structural schema; API server takes care of apiVersion, kind and metadata itself."""
    raw = resource.model.model_json_schema(by_alias=True, mode="validation")
    definitions, own = raw["$defs"], raw["properties"]
    properties = {
        "apiVersion": {"type": "string", "description": "Version of this schema."},
        "kind": {"type": "string", "description": "Kind of this resource."},
        "metadata": {"type": "object"},
        "spec": _structural(own["spec"], definitions),
    }
    if "status" in own:
        properties["status"] = _without_defaults(_structural(own["status"], definitions))
    rules = {VALIDATIONS: raw[VALIDATIONS]} if VALIDATIONS in raw else {}
    return {
        "type": "object",
        "description": raw["description"],
        "required": ["spec"],
        **rules,
        "properties": properties,
    }


def chart_template(resource: Resource) -> str:
    """The CRD as a template of the chart, which may leave it out or keep it when the chart is removed."""
    crd = custom_resource_definition(resource)
    lines = [
        _GENERATED.rstrip(),
        "{{- if .Values.crds.enabled }}",
        f"apiVersion: {crd['apiVersion']}",
        f"kind: {crd['kind']}",
        "metadata:",
        f"  name: {resource.name}",
        "  labels:",
        '    {{- include "vernacular.labels" . | nindent 4 }}',
        "  {{- if .Values.crds.keep }}",
        "  annotations:",
        "    helm.sh/resource-policy: keep",
        "  {{- end }}",
        _yaml({"spec": crd["spec"]}).rstrip(),
        "{{- end }}",
    ]
    return "\n".join(lines) + "\n"


def generated_files() -> dict[Path, str]:
    """Content of every generated file by its path below the repository."""
    files: dict[Path, str] = {}
    for resource in RESOURCES:
        files[resource.crd_path] = _GENERATED + _yaml(custom_resource_definition(resource))
        files[resource.chart_path] = chart_template(resource)
    return files


def outdated(root: Path) -> list[Path]:
    """Generated files below `root` that are missing or differ from the models."""
    files = generated_files()
    return [path for path, text in files.items() if not _holds(root / path, text)]


def write(root: Path) -> None:
    """Write every generated file below `root`."""
    for path, text in generated_files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out again instead of referring to them: people read this file."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: Json) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _structural(node: Json, definitions: Mapping[str, Json]) -> Json:
    node = _flattened(node, definitions)
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if result.get("type") == "integer":
        result["format"] = "int32" if result.get("maximum", _INT32) < _INT32 else "int64"
    if "default" in result:
        _simplify_default(result)
    if properties := node.get("properties"):
        result["properties"] = {name: _structural(child, definitions) for name, child in properties.items()}
    if items := node.get("items"):
        result["items"] = _structural(items, definitions)
    if isinstance(values := node.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(values, definitions)
    return result


def _flattened(node: Json, definitions: Mapping[str, Json]) -> Json:
    """Put what a reference or "or null" stands for in its place; keywords beside it win."""
    if reference := node.get("$ref"):
        return {**_flattened(definitions[reference.rsplit("/", 1)[1]], definitions), **node}
    if options := node.get("anyOf"):
        (option,) = [option for option in options if option != {"type": "null"}]
        return {**_flattened(option, definitions), **node}
    return node


def _simplify_default(schema: Json) -> None:
    """Absent stays absent, and an object's default is empty: the API server fills in those of its fields."""
    if schema["default"] is None:
        del schema["default"]
    elif isinstance(schema["default"], dict):
        schema["default"] = {}


def _without_defaults(schema: Json) -> Json:
    """The operator alone writes the status; the API server shall add nothing to it."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in schema:
        result["properties"] = {name: _without_defaults(child) for name, child in schema["properties"].items()}
    if "items" in schema:
        result["items"] = _without_defaults(schema["items"])
    return result


def main(arguments: list[str] | None = None) -> int:
    """Command line of the generator; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vernacular.api.crd", description=__doc__.partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="exit 1 when a file differs from the models")
    mode.add_argument("--print", action="store_true", help="print the CRDs and write nothing")
    options = parser.parse_args(arguments)
    if options.print:
        files = generated_files()
        sys.stdout.write("---\n".join(files[resource.crd_path] for resource in RESOURCES))
    elif not options.check:
        write(Path.cwd())
    elif stale := outdated(Path.cwd()):
        names = ", ".join(map(str, stale))
        sys.stderr.write(f"{names}: differs from the models; run: make generate\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
