"""The OpenAI-compatible API of the chart on the dev cluster: the unmodified SDK, keys of Kubernetes, real stages."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import pytest
import trustme
import yaml

from demo import install
from demo.install import OPERATOR_NAMESPACE
from demo.shell import Shell
from demo.target import Target
from support.cluster_jobs import SHARED, ClusterJobs

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SERVICE = "vernacular-openai"
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "openai-api.md"
VALUES = {
    "openaiApi": {
        "enabled": True,
        "tls": {"secretName": "openai-tls"},
        "models": {"gpt-4o-mini": {"model": {"uri": "pvc://tiny/tiny"}}},
        "jobDefaults": {"compute": {"pods": 1, "gpusPerPod": 0}, "storage": SHARED},
        "files": {"storage": {"size": "1Gi", "keep": False}},
    }
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def address(target: Target, authority: trustme.CA) -> Iterator[str]:
    """Where the API answers on this machine, after `helm upgrade` has added it to the chart."""
    made = authority.issue_cert(f"{SERVICE}.{OPERATOR_NAMESPACE}.svc", "localhost")
    files = {
        "tls.crt": b"".join(blob.bytes() for blob in made.cert_chain_pems).decode(),
        "tls.key": made.private_key_pem.bytes().decode(),
        "ca.crt": authority.cert_pem.bytes().decode(),
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "openai-tls"}, "type": "kubernetes.io/tls"}
    target.shell.apply({**secret, "stringData": files}, OPERATOR_NAMESPACE)
    install.install_chart(target, VALUES)
    with forwarded(target.shell) as port:
        yield f"https://localhost:{port}/v1"
    install.install_chart(target)
    target.shell.kubectl("delete", "secret", "openai-tls", "-n", OPERATOR_NAMESPACE)


@contextmanager
def forwarded(shell: Shell) -> Iterator[int]:
    """A port of this machine that leads to the Service while the context is open."""
    command = ["kubectl", "port-forward", "-n", OPERATOR_NAMESPACE, f"service/{SERVICE}", ":443"]
    with subprocess.Popen(
        command, env={**os.environ, **shell.environment}, stdout=subprocess.PIPE, text=True
    ) as forward:
        assert forward.stdout is not None
        first = forward.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", first)
        assert found, first
        try:
            yield int(found[1])
        finally:
            forward.terminate()


@pytest.fixture
def sdk(address: str, authority: trustme.CA, prepared: ClusterJobs) -> openai.OpenAI:
    """The SDK with a key of the account that the guide makes."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    (rights,) = [block for block in blocks if "kind: RoleBinding" in block]
    for manifest in yaml.safe_load_all(rights.replace("namespace: team", f"namespace: {prepared.namespace}")):
        prepared.shell.apply(manifest, prepared.namespace)
    key = prepared.shell.kubectl("create", "token", "tuner", "-n", prepared.namespace).strip()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    client = httpx2.Client(verify=trust, trust_env=False)
    return openai.OpenAI(api_key=key, base_url=address, http_client=client)


def test_a_script_of_a_hosted_api_tunes_on_the_cluster(sdk: openai.OpenAI, prepared: ClusterJobs) -> None:
    said = [{"role": "user", "content": "where is room {n}"}, {"role": "assistant", "content": "floor {n}"}]
    rows = "".join(json.dumps({"messages": said}).replace("{n}", str(n)) + "\n" for n in range(40)).encode()
    file = sdk.files.create(file=("train.jsonl", rows), purpose="fine-tune")

    job = sdk.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=file.id,
        suffix="rooms",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
    )
    deadline = time.monotonic() + 300
    while job.status not in ("succeeded", "failed", "cancelled") and time.monotonic() < deadline:
        time.sleep(1)
        job = sdk.fine_tuning.jobs.retrieve(job.id)

    assert job.status == "succeeded", job.error
    (result,) = [model for model in sdk.models.list() if model.id == job.fine_tuned_model]
    assert result.model_dump()["registered_model"] == f"{prepared.namespace}.rooms"
    assert job.trained_tokens
    # the Secret with the token for its file goes with the job
    (secret,) = [item for item in prepared.list("secrets") if item["metadata"]["name"] == f"{job.id}-files"]
    assert [owner["name"] for owner in secret["metadata"]["ownerReferences"]] == [job.id]
