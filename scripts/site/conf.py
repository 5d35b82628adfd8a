"""Settings of the documentation site, which `make site` builds from the Markdown files of docs/ with Sphinx.

The files are written for a reader of the repository. On the site, links to files outside of docs/ lead to the
repository when `JELMORE_SITE_SOURCE` is its address, and are plain text otherwise.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
SOURCE: Final = os.environ.get("JELMORE_SITE_SOURCE", "").rstrip("/")

project = "Jelmore"
author = "the Jelmore maintainers"
copyright = author  # noqa: A001 - Sphinx reads this name
extensions = ["myst_parser"]
exclude_patterns = ["diagrams"]
html_theme = "furo"
html_title = "Jelmore"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = [str(DOCS / name) for name in ("openapi.json", "events.schema.json")]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"source_view_link": ""}
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = [
    "myst.xref_missing",
    "misc.highlighting_failure",
]  # links: see RepositoryLinks and the test of the site


def diagram_of(source: str) -> Path:
    """Return where the picture of a Mermaid diagram is kept."""
    return DOCS / "diagrams" / f"{hashlib.sha256(source.strip().encode()).hexdigest()[:12]}.svg"


class Diagrams(SphinxTransform):
    """Shows the picture of each Mermaid diagram in place of its source."""

    default_priority = 10

    def apply(self, **_: Any) -> None:
        """Replace the blocks."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                picture = diagram_of(block.astext())
                block.replace_self(nodes.image(uri=f"/{picture.relative_to(DOCS)}", alt="Diagram", classes=["diagram"]))


class RepositoryLinks(SphinxTransform):
    """Leads links to files outside of docs/ to the repository."""

    default_priority = 10

    def apply(self, **_: Any) -> None:
        """Replace the links."""
        page = Path(self.env.doc2path(self.env.docname)).parent
        for link in list(self.document.findall(nodes.Element)):
            target = link.get("refuri") or link.get("reftarget") or ""
            if (
                "://" in target
                or target.startswith(("#", "mailto:"))
                or link.tagname not in {"reference", "pending_xref", "download_reference"}
            ):
                continue
            place, _, anchor = unquote(target).partition("#")
            file = (page / place).resolve()
            if place and not file.is_relative_to(DOCS) and file.exists():
                children = [child.deepcopy() for child in link.children]
                link.replace_self(_reference(file, anchor, children) if SOURCE else children)


def _reference(file: Path, anchor: str, children: list[nodes.Node]) -> nodes.reference:
    uri = f"{SOURCE}/{file.relative_to(ROOT)}" + (f"#{anchor}" if anchor else "")
    return nodes.reference("", "", *children, refuri=uri, internal=False)


def setup(app: Sphinx) -> None:
    """Register the transforms."""
    app.add_transform(Diagrams)
    app.add_transform(RepositoryLinks)
