"""The FineTuneRuntime on a real API server: every constraint of its spec, its scope, and what kubectl shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.apiserver import ApiError, ApiServer
from support.crd_cases import Accepted, Case, Refused, choice, integer, leaves, messages, text
from support.finetunejobs import Json
from support.pod_override_cases import OBJECT_NAME, POD_OVERRIDES
from vernacular.api import FineTuneRuntime
from vernacular.api.crd import FINE_TUNE_RUNTIME, structural_schema

pytestmark = pytest.mark.integration

RUNTIMES = "/apis/vernacular.dev/v1alpha1/finetuneruntimes"
IMAGE = "must be the name of an image, like registry.example.com/vernacular/trainer:1.0"
DIGEST = "registry.example.com:5000/a/b@sha256:" + "0" * 64
WORKSPACE = "storage.workspace"
PRICE = 'must be a decimal number in quotes, like "2.50"'
CURRENCY = "must be the three letters of a currency, like EUR"
PRICED = {"cost": {"gpuPricePerHour": "2.50"}}


def images(field: str) -> list[Case]:
    return text(field, 512, ("trainer", "ghcr.io/a/b:1.0", DIGEST), ("https://a/b", "-a", "a b", "a@sha256:0"), IMAGE)


CASES: list[Case] = [
    *images("images.data"),
    *images("images.trainer"),
    *text(f"{WORKSPACE}.size", 32, ("200Gi",), ("0", "big"), "must be a size above 0, like 20Gi"),
    *text(f"{WORKSPACE}.storageClassName", 253, ("efs",), ("Efs_1",), OBJECT_NAME),
    *choice(f"{WORKSPACE}.accessMode", "ReadWriteOnce", "ReadWriteMany"),
    *text("storage.modelCache.claimName", 253, ("models",), ("Models",), OBJECT_NAME),
    *integer("gpuMemoryGiB", 1, 4096),
    *integer("limits.maxGpus", 0, 65_536),
    *integer("limits.maxGpuHours", 0, 1_000_000),
    *text("cost.gpuPricePerHour", 32, ("2.50", "0", "0.000001"), ("-1", "2,50", "1e3", "$2"), PRICE),
    *text("cost.currency", 3, ("EUR",), ("eur", "EU1"), CURRENCY, PRICED),
    *POD_OVERRIDES,
]


def runtime(name: str, spec: Json, **metadata: Any) -> Json:
    return {
        "apiVersion": "vernacular.dev/v1alpha1",
        "kind": "FineTuneRuntime",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def case_id(case: Case) -> str:
    return case.field


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case, Accepted)], ids=case_id)
def test_accepted_and_parsed_by_the_models(api_server: ApiServer, case: Accepted) -> None:
    path = f"{RUNTIMES}?dryRun=All&fieldValidation=Strict"

    FineTuneRuntime.model_validate(api_server.request("POST", path, runtime("h100", case.patch)))


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case, Refused)], ids=case_id)
def test_refused_with_a_message(api_server: ApiServer, case: Refused) -> None:
    with pytest.raises(ApiError) as refusal:
        api_server.request("POST", f"{RUNTIMES}?dryRun=All&fieldValidation=Strict", runtime("h100", case.patch))

    assert refusal.value.status == 422
    assert case.says in refusal.value.message


def test_every_field_has_both_kinds_of_cases_and_every_rule_refuses_something() -> None:
    schema = structural_schema(FINE_TUNE_RUNTIME)["properties"]["spec"]
    fields = set(leaves(schema))
    seen = [case.says for case in CASES if isinstance(case, Refused)]

    assert fields - {case.field for case in CASES if isinstance(case, Accepted)} == set()
    assert fields - {case.field for case in CASES if isinstance(case, Refused)} == set()
    assert {text for text in messages(schema) if not any(text.startswith(says) for says in seen)} == set()


def test_kubectl_refuses_an_unknown_field_and_shows_what_matters(api_server: ApiServer) -> None:
    default = {"annotations": {"vernacular.dev/default": "true"}}
    document = runtime("shown", {"limits": {"maxGpus": 8}, "images": {"trainer": "t:1"}}, **default)
    unknown = json.dumps(runtime("unknown", {"limit": {}}))

    refused = api_server.kubectl("apply", "--validate=strict", "-f", "-", stdin=unknown)
    assert 'unknown field "spec.limit"' in refused.stderr
    api_server.request("POST", RUNTIMES, document)
    try:
        lines = api_server.kubectl("get", "ftr", "-o", "wide").stdout.splitlines()
    finally:
        api_server.request("DELETE", f"{RUNTIMES}/shown")
    assert lines[0].split() == ["NAME", "DEFAULT", "MAXGPUS", "AGE", "TRAINER"]
    row = lines[1].split()
    assert (row[:3], row[4]) == (["shown", "true", "8"], "t:1")
