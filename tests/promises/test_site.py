"""The documentation site: it builds without a warning, every page is in its sidebar, and it needs no other host."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted((ROOT / "docs").rglob("*.md"))
_LOADED: Final = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*\shref=\"([^\"]+)\"")
_LINK: Final = re.compile(r"<a [^>]*href=\"([^\"#]+\.html)(?:#[^\"]*)?\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = ["-q", "--fail-on-warning", "-c", "scripts/site", "-d", str(folder / "cache"), "docs", str(folder / "html")]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=110
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_the_site_builds_and_the_sidebar_has_every_page(site: Path) -> None:
    start = (site / "index.html").read_text() + (site / "decisions.html").read_text()
    linked = {(site / link).resolve() for link in _LINK.findall(start)}
    for page in PAGES:
        made = (site / page.relative_to(ROOT / "docs")).with_suffix(".html")
        assert made.exists(), page
        assert made.resolve() in linked or page.stem == "index", page


def test_the_site_loads_nothing_from_another_host_and_shows_every_diagram(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not [url for pair in _LOADED.findall(text) for url in pair if "://" in url], page
        assert "language-mermaid" not in text, page


def test_links_to_sources_lead_nowhere_or_to_the_repository(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r"href=\"[^\"]*\.\./(?:tests|examples|session-manager)/", page.read_text()), page
