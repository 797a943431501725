"""The OpenAPI document of the OpenAI-compatible API, and whatever it allows, sent to a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from support.apiserver import ApiServer
from support.openai_api import RIGHTS, OpenAiApi, key_of
from vernacular_openai.operations import OPERATIONS, openapi

pytestmark = pytest.mark.integration

SCHEMA = schemathesis.openapi.from_dict(openapi())
SCHEMA.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@pytest.fixture(scope="module")
def service(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAiApi]:
    with OpenAiApi(api_server, tmp_path_factory.mktemp("openai-document"), {}) as running:
        yield running


@pytest.fixture(scope="module")
def key(api_server: ApiServer) -> str:
    return key_of(api_server, api_server.new_namespace("document"), "tuner", RIGHTS)


def test_the_document_is_served_and_names_every_call(service: OpenAiApi) -> None:
    document = service.plain("/openapi.json")

    assert document == openapi()
    named = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert named == {(operation.method, operation.path) for operation in OPERATIONS}
    identities = [each["operationId"] for found in document["paths"].values() for each in found.values()]
    assert len(set(identities)) == len(identities)


@SCHEMA.parametrize()
@settings(
    max_examples=12, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[*HealthCheck],
)  # fmt: skip
def test_every_call_keeps_to_the_document(case: Any, service: OpenAiApi, key: str) -> None:
    # whether a file is there, no document can say
    makes_a_job = case.method == "POST" and case.path.endswith("/jobs")
    case.call_and_validate(
        base_url=f"https://{service.host}",
        verify=str(service.ca_file),
        headers={"Authorization": f"Bearer {key}"},
        excluded_checks=[positive_data_acceptance] if makes_a_job else [],
    )
    assert " ERROR " not in service.said()
