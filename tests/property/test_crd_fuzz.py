"""Specs from the CRDs' schemas by the thousand: what the API server accepts can be read and built, nothing else can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from support.apiserver import CRD_FILES, RESTRICTED, ApiServer
from support.crd_fuzz import DryRun, rules_across_fields, specs, without
from support.finetunejobs import MINIMAL_SPEC, both
from support.worlds import NOW, UID, config
from vernacular.api import FineTuneJob, FineTuneRuntime, Stage
from vernacular.api.base import timestamp
from vernacular_operator.domain.reconcile import reconcile
from vernacular_operator.domain.snapshot import RuntimeChoice, Snapshot
from vernacular_operator.manifests.claim import workspace_claim
from vernacular_operator.manifests.job import stage_job
from vernacular_operator.manifests.job_config import Attempt
from vernacular_operator.manifests.service import headless_service
from vernacular_trainer.contract import JOB_ANNOTATION, JOB_FILE, TERMINATION_LOG, JobConfig

pytestmark = pytest.mark.integration

SCHEMAS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for crd in (yaml.safe_load(file.read_text(encoding="utf-8")) for file in CRD_FILES)
}
MODELS: dict[str, type[BaseModel]] = {"FineTuneJob": FineTuneJob, "FineTuneRuntime": FineTuneRuntime}
REPAIRS = 20
MANY = 1000
KUBE = {"Job": "/apis/batch/v1/namespaces/{}/jobs", "Service": "/api/v1/namespaces/{}/services"} | {
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims", "Pod": "/api/v1/namespaces/{}/pods",
}  # fmt: skip


class Fuzz:
    """Asks the API server and the models about one spec and all that are made from it by taking away what is wrong."""

    def __init__(self, server: ApiServer) -> None:
        self.dry_run = DryRun(server)
        self.namespace = server.new_namespace("fuzz", RESTRICTED)
        account = {"metadata": {"name": "default"}}
        server.request("POST", f"/api/v1/namespaces/{self.namespace}/serviceaccounts", account)
        self.asked = self.accepted = 0

    def settle(self, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
        """The object as stored, once enough of what the server refuses is gone; None when nothing useful is left."""
        document: dict[str, Any] | None = self._document(kind, spec)
        for _ in range(REPAIRS):
            if document is None:
                return None
            stored, causes = self.dry_run.create(self._path(kind), document)
            self.asked += 1
            self._compare(kind, document, stored, causes)
            if stored:
                self.accepted += 1
                return stored
            document = without(document, causes[0].get("field", ""))
            if document and kind == "FineTuneJob":
                document["spec"] = both(MINIMAL_SPEC, document.get("spec", {}))
        return None

    def must_accept(self, manifest: dict[str, Any]) -> None:
        """What the operator creates must never be refused."""
        path = KUBE[manifest["kind"]].format(self.namespace)
        body = {**manifest, "metadata": {**manifest["metadata"], "namespace": self.namespace}}
        body["metadata"].pop("ownerReferences", None)
        stored, causes = self.dry_run.create(path, body)
        assert stored, (causes, manifest)

    def _compare(self, kind: str, document: dict[str, Any], stored: Any, causes: list[dict[str, Any]]) -> None:
        problem = _problem(kind, stored or document)
        assert not (stored and problem), f"accepted by the API server, refused by the model: {problem}"
        if not problem:
            known = rules_across_fields(SCHEMAS[kind])
            left = [cause for cause in causes if not _left_to_the_server(cause["message"], known)]
            assert not left, f"refused by the API server, accepted by the model: {left} {document['spec']}"

    def _document(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "vernacular.dev/v1alpha1", "kind": kind, "metadata": {"name": "fuzz"}, "spec": spec}

    def _path(self, kind: str) -> str:
        scope = f"/namespaces/{self.namespace}" if kind == "FineTuneJob" else ""
        return f"/apis/vernacular.dev/v1alpha1{scope}/{kind.lower()}s"


def _problem(kind: str, document: dict[str, Any]) -> str:
    try:
        MODELS[kind].model_validate(document)
    except ValidationError as error:
        return str(error)
    return ""


def _left_to_the_server(message: str, known: frozenset[str]) -> bool:
    """Rules across fields, structural types (the models read 3 and "3" alike), and duplicates in lists."""
    return any(text in message for text in (*known, "must be of type", "Duplicate value", "no such key"))


@pytest.fixture(scope="module")
def fuzz(api_server: ApiServer) -> Iterator[Fuzz]:
    made = Fuzz(api_server)
    yield made
    made.dry_run.close()


def examples(count: int) -> settings:
    """So many; few are the same ones every time: the long tests look for new ones, where a find holds nothing up."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count < MANY,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize(
    ("count", "specs_asked"),
    [
        pytest.param(200, 500, marks=pytest.mark.slow),
        pytest.param(2000, 5000, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_what_is_accepted_can_be_built_and_run(fuzz: Fuzz, count: int, specs_asked: int) -> None:
    @examples(count)
    @given(spec=specs(SCHEMAS["FineTuneJob"]), stage=st.sampled_from(list(Stage)))
    def check(spec: dict[str, Any], stage: Stage) -> None:
        if stored := fuzz.settle("FineTuneJob", spec):
            job = FineTuneJob.model_validate(stored)
            reconcile_it(job)
            build_it(fuzz, job, stage)

    fuzz.asked = fuzz.accepted = 0
    check()
    print(f"{fuzz.asked} specs, {fuzz.accepted} accepted")
    assert fuzz.asked >= specs_asked
    assert fuzz.accepted >= count / 3


@pytest.mark.parametrize(
    "count", [pytest.param(100, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.long)]
)
def test_what_is_accepted_as_a_runtime_can_be_read_and_merged(fuzz: Fuzz, count: int) -> None:
    @examples(count)
    @given(spec=specs(SCHEMAS["FineTuneRuntime"]))
    def check(spec: dict[str, Any]) -> None:
        if stored := fuzz.settle("FineTuneRuntime", spec):
            runtime = FineTuneRuntime.model_validate(stored)
            reconcile_it(job_document(), RuntimeChoice(runtime))

    check()


def job_document() -> FineTuneJob:
    spec = {"model": {"uri": "hf://a/b"}, "dataset": {"train": [{"configMap": {"name": "a", "key": "b"}}]}}
    metadata = {"name": "fuzz", "namespace": "demo", "uid": UID, "creationTimestamp": timestamp(NOW)}
    return FineTuneJob.model_validate({"metadata": metadata, "spec": spec})


def reconcile_it(job: FineTuneJob, runtime: RuntimeChoice | None = None) -> None:
    """The decision is made without a crash, and what a job may not set gets into no Job."""
    plan = reconcile(Snapshot(job, config(), runtime=runtime or RuntimeChoice()), NOW)
    json.dumps(plan.status.to_dict())
    for manifest in plan.create:
        json.dumps(manifest)
        if manifest["kind"] == "Job" and runtime is None:
            pod = manifest["spec"]["template"]["spec"]
            assert "serviceAccountName" not in pod
            assert [variable["name"] for variable in pod["containers"][0]["env"]] == ["NODE_NAME"]


def build_it(fuzz: Fuzz, job: FineTuneJob, stage: Stage) -> None:
    """Everything that the operator would create is valid, restricted, and has no user's string where it would run."""
    manifest = stage_job(Attempt(job, stage, 1, "run-1", "cluster-1"), config())
    template = manifest["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    # a user's image is entered through the operator's own program; the user's command is read from job.json
    assert container.get("command") in (None, ["python3", "-m", "vernacular_trainer"])
    assert container["args"] == [stage.lower(), "--config", JOB_FILE, "--termination-log", TERMINATION_LOG]
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume or "projected" in volume]
    assert not pod.get("automountServiceAccountToken", True)
    document = template["metadata"]["annotations"][JOB_ANNOTATION]
    assert JobConfig.from_json(document).to_json() == document
    assert job.spec.model.uri == JobConfig.from_json(document).model.uri
    fuzz.must_accept(manifest)
    if "serviceAccountName" not in pod and "priorityClassName" not in pod:
        fuzz.must_accept({"apiVersion": "v1", "kind": "Pod", **template, "metadata": pod_metadata(template)})
    if stage is Stage.TRAIN:
        fuzz.must_accept(headless_service(job, 1))
    if claim := workspace_claim(job, config()):
        fuzz.must_accept(claim)


def pod_metadata(template: dict[str, Any]) -> dict[str, Any]:
    return {**template["metadata"], "name": "fuzz"}
