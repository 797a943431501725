"""The documentation site: built strictly, every page in it reachable, every link leads somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from docs import site

CONFIGURATION = tomllib.loads((site.REPOSITORY / "zensical.toml").read_text())["project"]
# read where they are linked, not in a list of pages
LINKED_ONLY = re.compile(r"docs/adr/|examples/.+/")


class Links(HTMLParser):
    """The addresses a page points to, and the places in it that can be pointed to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.targets.add(value)
            elif value and name == "id":
                self.places.add(value)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    code = site.build(site.REPOSITORY, folder)
    assert code == 0
    return folder / CONFIGURATION["site_dir"]


def in_nav(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from in_nav(value)


def test_every_page_is_in_the_list_of_pages() -> None:
    pages = {str(path) for path in site.sources(site.REPOSITORY) if path.suffix == ".md"} - {"README.md"}

    assert {page for page in pages if not LINKED_ONLY.match(page)} == {*in_nav(CONFIGURATION["nav"])} - {"index.md"}


def test_every_link_of_the_site_leads_somewhere(built: Path) -> None:
    pages: dict[Path, Links] = {}
    for path in built.rglob("*.html"):
        pages[path] = Links()
        pages[path].feed(path.read_text("utf-8"))
    assert len(pages) > 30
    lost = []
    for path, links in pages.items():
        if path.name == "404.html":  # its addresses start at the root of a server
            continue
        for link in links.targets:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            place = unquote(address.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                lost.append(f"{path.relative_to(built)}: {link}")
    assert not lost


def test_every_link_of_the_repository_leads_somewhere() -> None:
    lost = []
    for page in (path for path in site.sources(site.REPOSITORY) if path.suffix == ".md"):
        text = (site.REPOSITORY / page).read_text("utf-8")
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", text)
        lost += [f"{page}: {link}" for link in links if not (site.REPOSITORY / page.parent / link).exists()]
    assert not lost


def test_the_site_fetches_nothing_from_elsewhere(built: Path) -> None:
    fetched = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)="https?://[^"]+""")

    assert [
        found[0] for path in built.rglob("*.html") for found in [fetched.search(path.read_text("utf-8"))] if found
    ] == []


def test_a_broken_link_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "repository"
    (repository / "docs").mkdir(parents=True)
    (repository / "README.md").write_text("# One\n\n[two](docs/two.md#there)\n")
    (repository / "docs" / "two.md").write_text("# Two\n\n[one](../README.md) [nothing](gone.md)\n")
    (repository / "zensical.toml").write_text(
        '[project]\nsite_name = "x"\ndocs_dir = "build/pages"\nsite_dir = "build/site"\n'
    )

    assert site.build(repository, tmp_path / "built") != 0
    said = "".join(capfd.readouterr())
    assert "page does not exist" in said
    assert "anchor does not exist" in said
