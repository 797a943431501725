"""Where helm comes from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.apiserver import REPOSITORY
from support.helm import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The machine's helm, or the one that the dev cluster builds from its Go module."""
    if found := shutil.which("helm"):
        return Helm(found)
    done = subprocess.run(
        [sys.executable, "-m", "devcluster", "build", "helm"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Helm(str(Path(done.stdout.strip()) / "helm"))
