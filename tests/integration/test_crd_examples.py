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


def shown() -> Iterator[tuple[str, str]]:
    """Name and manifests of everything that is shown: examples as kustomize builds them, and blocks of documents."""
    for path in sorted((REPOSITORY / "examples").rglob("kustomization.yaml")):
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
