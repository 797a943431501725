"""Running programs: one place that turns a failed command into a sentence."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent


class DemoError(Exception):
    """Something a person must know about; the text says what to do."""


@dataclass(frozen=True)
class Shell:
    """Runs commands in the repository with a fixed environment."""

    environment: Mapping[str, str]

    def run(self, *command: str, stdin: str | bytes | None = None, quiet: bool = True) -> str:
        """Run to the end and give the standard output. Raises DemoError with the command's own error text."""
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **self.environment},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            check=False,
        )
        if done.returncode:
            text = (done.stderr or b"").decode(errors="replace").strip() or (done.stdout or b"").decode(
                errors="replace"
            )
            raise DemoError(f"`{' '.join(command)}` ended with {done.returncode}:\n{text}")
        return (done.stdout or b"").decode()

    def kubectl(self, *arguments: str, stdin: str | bytes | None = None) -> str:
        """Run kubectl; raises DemoError."""
        return self.run("kubectl", *arguments, stdin=stdin)

    def apply(self, manifest: Mapping[str, Any], namespace: str = "default") -> None:
        """`kubectl apply` one object."""
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """One object, or None when there is none."""
        text = self.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json")
        document: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return document
