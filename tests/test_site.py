"""The documentation site builds, its links lead somewhere, and no page of it fetches from another host."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import segment_tiles

pytest.importorskip("zensical", reason="the extra docs is not installed")

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
# what a browser loads by itself when it shows a page
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class References(HTMLParser):
    """What a page links to, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        for name in ("href", "src"):
            if target := named.get(name):
                self.links.add(target)
        if target := named.get(LOADED.get(tag, "")):
            self.loaded.add(target)


def references(page: Path) -> References:
    found = References()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; built from a copy, since the builder writes beside its configuration."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    sources = folder / "build" / "python" / "segment_tiles"  # as `make docs` lays them out
    sources.mkdir(parents=True)
    for part in ("segment_tiles/__init__.py", "pipeline", "workflows", "cli"):
        (sources / Path(part).name).symlink_to(ROOT / part)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "build" / "site"


def test_every_page_is_built_and_can_be_searched(site: Path) -> None:
    for source in SOURCES:
        assert (site / source.with_suffix(".html")).is_file(), source
    found = {
        entry["location"].partition("#")[0]
        for entry in json.loads((site / "search.json").read_text())["items"]
    }
    assert {source.with_suffix(".html").as_posix() for source in SOURCES} - {"index.html"} <= found


def test_every_page_is_in_the_navigation(site: Path) -> None:
    listed = {
        (site / page).parent.joinpath(unquote(urlsplit(link).path)).resolve()
        for page in ("index.html", "decisions/index.html", "running.html", "command-line.html")
        for link in references(site / page).links
    }
    for source in SOURCES:
        assert (site / source.with_suffix(".html")).resolve() in listed, f"{source} is not in docs/.nav.yml"


def test_links_lead_to_files_of_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links start at the root of the server
            continue
        for link in references(page).links:
            parts = urlsplit(link)
            if not parts.scheme and parts.path:
                assert (page.parent / unquote(parts.path)).exists(), (page.relative_to(site), link)


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        for target in references(page).loaded:
            assert not urlsplit(target).netloc, (page.relative_to(site), target)


def test_comments_cite_sections_that_are_there(site: Path) -> None:
    cited = {
        anchor
        for folder in ("pipeline", "workflows", "cli", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for anchor in re.findall(r"docs/architecture\.md#([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert {"laws", "the-engine"} <= cited
    page = (site / "architecture.html").read_text()
    assert all(f'id="{anchor}"' in page for anchor in cited), cited


def test_the_python_reference_has_every_public_name(site: Path) -> None:
    page = (site / "python.html").read_text(encoding="utf-8")
    for name in set(segment_tiles.__all__) - {"__version__"}:
        assert f'id="segment_tiles.{name}"' in page, name
