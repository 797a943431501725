"""What a training ran with: the packages of its image, its own code, and the devices."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import distributions
from pathlib import Path
from typing import Any


def environment(devices: list[str]) -> dict[str, Any]:
    """Versions of all packages, and a `sha256:` digest over the code of the trainer."""
    found = {name.lower(): item.version for item in distributions() if (name := item.metadata["Name"])}
    return {
        "python": platform.python_version(),
        "code": code_digest(Path(__file__).resolve().parents[1]),
        "devices": devices,
        "packages": dict(sorted(found.items())),
    }


def code_digest(folder: Path) -> str:
    """Over all modules below a folder, with their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{digest.hexdigest()}"
