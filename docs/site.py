"""`make docs`: builds the documentation site with Zensical, strictly.

The pages of the site are those of the repository, in the same folders, so that a link works on both. Only links to the
README and to folders are written otherwise.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = Path("build") / "pages"  # as in zensical.toml
_FOLDERS = ("docs", "examples", "crds", "charts/vernacular", "devcluster")
_FILES = {".md", ".yaml", ".json", ".jsonl", ".png"}
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def sources(repository: Path) -> Iterator[Path]:
    """Everything that the site shows or links to, relative to the repository."""
    yield Path("README.md")
    for folder in _FOLDERS:
        for path in sorted((repository / folder).rglob("*")):
            if path.is_file() and path.suffix in _FILES:
                yield path.relative_to(repository)


def site_links(text: str, page: Path, repository: Path) -> str:
    """The text of a page with its links as they are on the site: a folder is its README."""

    def on_site(link: re.Match[str]) -> str:
        target = (repository / page.parent / link["path"]).resolve()
        path = link["path"]
        if (target / "README.md").is_file():
            path = f"{path.rstrip('/')}/README.md"
        elif target == repository / "README.md":
            path = f"{path.removesuffix('README.md')}index.md"
        return path + (link["anchor"] or "")

    return _LINK.sub(on_site, text)


def assemble(repository: Path, target: Path) -> None:
    """Lay the pages out under `target`, in place of what lies there."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sources(repository):
        copy = target / ("index.md" if path == Path("README.md") else path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            copy.write_text(site_links((repository / path).read_text("utf-8"), path, repository), "utf-8")
        else:
            shutil.copyfile(repository / path, copy)


def build(repository: Path, folder: Path) -> int:
    """Build the site into build/site under `folder`; gives the exit code of Zensical, which names broken links."""
    assemble(repository, folder / PAGES)
    if folder != repository:
        shutil.copyfile(repository / "zensical.toml", folder / "zensical.toml")
    zensical = Path(sys.executable).parent / "zensical"
    return subprocess.run([zensical, "build", "--strict", "--clean"], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(build(REPOSITORY, REPOSITORY))
