"""The chart, rendered by the real helm binary."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.apiserver import REPOSITORY

CHART = REPOSITORY / "charts" / "vernacular"
Manifest = dict[str, Any]
BUNDLED: dict[str, Any] = {"mlflow": {"bundled": {"enabled": True}}}


class HelmError(Exception):
    """helm ended with an error; the text is its own."""


@dataclass(frozen=True)
class Helm:
    """The helm binary; the release is called `vernacular` and lives in namespace `system`."""

    binary: str

    @classmethod
    def find(cls) -> Helm:
        """The machine's helm, or the one that the dev cluster builds from its Go module."""
        if found := shutil.which("helm"):
            return cls(found)
        build = [sys.executable, "-m", "devcluster", "build", "helm"]
        done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HelmError(done.stderr)
        return cls(str(Path(done.stdout.strip()) / "helm"))

    def run(self, *arguments: str, values: dict[str, Any] | None = None) -> str:
        """Run helm, with values on standard input. Raises HelmError with its words."""
        return _run(self.binary, arguments, None if values is None else json.dumps(values))

    def template(self, values: dict[str, Any]) -> str:
        """All manifests as text. Equal values are rendered once."""
        options = ("template", "vernacular", str(CHART), "-n", "system", "--kube-version=1.37.0")
        return _rendered(self.binary, options, json.dumps(values))

    def render(self, values: dict[str, Any]) -> list[Manifest]:
        """All manifests."""
        return [document for document in yaml.safe_load_all(self.template(values)) if document]


def _run(binary: str, arguments: tuple[str, ...], values: str | None) -> str:
    command = [binary, *arguments, *([] if values is None else ["--values", "-"])]
    done = subprocess.run(command, input=values, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise HelmError(done.stderr + done.stdout)
    return done.stdout


_rendered = functools.cache(_run)


def find(manifests: list[Manifest], kind: str, name: str = "vernacular") -> Manifest:
    """The one manifest of this kind and name."""
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def names(manifests: list[Manifest], kind: str) -> set[str]:
    """Names of all manifests of a kind."""
    return {each["metadata"]["name"] for each in manifests if each["kind"] == kind}
