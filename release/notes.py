"""One version everywhere, and what the changelog says of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from release.errors import ReleaseError


def require_one_version(repository: Path, tag: str) -> None:
    """Raises ReleaseError when the tag is not the version of package, chart, images and changelog."""
    version = tag.removeprefix("v")
    if wrong := [f"{where} has {found}" for where, found in _versions(repository) if found != version]:
        raise ReleaseError(f"the tag is {tag}, but {', '.join(wrong)}: write {version} there, or tag another commit")
    notes(repository, tag)


def notes(repository: Path, tag: str) -> str:
    """The section of CHANGELOG.md. Raises ReleaseError when there is none, or nothing in it."""
    text = (repository / "CHANGELOG.md").read_text("utf-8")
    found = re.search(
        rf"^## {re.escape(tag.removeprefix('v'))}\b[^\n]*\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    if found is None or not found[1].strip():
        raise ReleaseError(f"CHANGELOG.md has nothing under ## {tag.removeprefix('v')}: say there what changed")
    return found[1].strip()


def _versions(repository: Path) -> list[tuple[str, str]]:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    chart = yaml.safe_load((repository / "charts/vernacular/Chart.yaml").read_text("utf-8"))
    images = yaml.safe_load((repository / "charts/vernacular/values.yaml").read_text("utf-8"))["images"]
    return [
        ("pyproject.toml", project["version"]),
        ("version of Chart.yaml", chart["version"]),
        ("appVersion of Chart.yaml", chart["appVersion"]),
        *((f"images.{name} of the chart", images[name].rpartition(":")[2]) for name in ("operator", "data", "trainer")),
    ]
