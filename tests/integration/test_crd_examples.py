"""Every FineTuneJob that the repository shows is one that a real API server accepts."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from support.apiserver import REPOSITORY, ApiServer

pytestmark = pytest.mark.integration

KIND = "FineTuneJob"
# a CronJob that makes the job; its own test is below
NIGHTLY = "nightly"


def shown() -> Iterator[tuple[str, str]]:
    """Name and manifests of everything that is shown: examples as kustomize builds them, and blocks of documents."""
    for path in sorted((REPOSITORY / "examples").rglob("kustomization.yaml")):
        if path.parent.name == NIGHTLY:
            continue
        command = ["kubectl", "kustomize", str(path.parent)]
        yield (
            str(path.parent.relative_to(REPOSITORY)),
            subprocess.run(command, capture_output=True, text=True, check=True).stdout,
        )
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        blocks = re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        for number, block in enumerate(block for block in blocks if f"kind: {KIND}" in block):
            yield f"{path.relative_to(REPOSITORY)}-{number}", block


JOBS = dict(shown())


@pytest.mark.parametrize("name", JOBS)
def test_shown_jobs_are_accepted(api_server: ApiServer, name: str) -> None:
    items = [each for each in yaml.safe_load_all(JOBS[name]) if each and each["kind"] == KIND]
    assert items
    # JSON: PyYAML writes the string 1e-3 without quotes, and kubectl reads that as a number
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})

    done = api_server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest)

    assert done.returncode == 0, done.stderr


def test_the_first_example_is_among_them() -> None:
    assert "examples/hr-bot" in JOBS


def test_the_account_of_the_nightly_training_may_create_its_job_and_nothing_else(api_server: ApiServer) -> None:
    folder = REPOSITORY / "examples" / NIGHTLY
    account = "--as=system:serviceaccount:nightly:nightly-training"
    api_server.kubectl("create", "namespace", "nightly")
    made = api_server.kubectl("apply", "--validate=strict", "-n", "nightly", "-k", str(folder))
    assert made.returncode == 0, made.stderr
    (container,) = json.loads(api_server.kubectl("get", "cronjob", "-n", "nightly", "-o", "json").stdout)["items"][0][
        "spec"
    ]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command = [str(folder / "finetunejob.yaml") if item.startswith("/job/") else item for item in container["args"]]

    done = api_server.kubectl(*command, account, "-n", "nightly", "--dry-run=server", "-o", "name")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("finetunejob.vernacular.dev/support-bot-")
    refused = api_server.kubectl("get", "secrets", account, "-n", "nightly")
    assert "forbidden" in refused.stderr
