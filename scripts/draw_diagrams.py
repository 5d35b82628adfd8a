"""Draw the Mermaid diagrams of docs/ for the site, as docs/diagrams/DIGEST.svg. Needs npm and Chromium.

A reader of the repository sees the diagrams drawn by its host. The site shows these pictures and needs no script.
`make check` fails when a picture is missing; run `.venv/bin/python scripts/draw_diagrams.py` then.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
VERSION: Final = "11.17.2"
SHA512: Final = (
    "57a2b70bc101744b0f1595d228c25eea9a50384371b87011afd1af1d7e21878e"
    "e501b84c443f6a7f8a042bb2e869143150b31af34feab798073bbdda0a578106"
)
"""Of the package from npm."""

_BLOCK: Final = re.compile(r"^```mermaid\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def diagrams() -> dict[Path, str]:
    """Return the picture's path and the source of each diagram."""
    sources = [found for page in sorted(DOCS.rglob("*.md")) for found in _BLOCK.findall(page.read_text())]
    return {DOCS / "diagrams" / f"{digest(source)}.svg": source for source in sources}


def digest(source: str) -> str:
    """Return the name of a diagram's picture."""
    return hashlib.sha256(source.strip().encode()).hexdigest()[:12]


def _script(folder: Path) -> str:
    """Return the source of Mermaid, as locked."""
    command = ["npm", "pack", f"mermaid@{VERSION}", "--pack-destination", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    package = folder / f"mermaid-{VERSION}.tgz"
    if hashlib.sha512(package.read_bytes()).hexdigest() != SHA512:
        raise SystemExit(f"mermaid {VERSION} from npm is not the package that this script knows")
    with tarfile.open(package) as archive:
        found = archive.extractfile("package/dist/mermaid.min.js")
        assert found is not None  # noqa: S101 - a package of this digest has it
        return found.read().decode()


def main() -> int:
    """Draw what has no picture and remove pictures without a diagram. With `--check`: return how many differ."""
    wanted = diagrams()
    kept = set((DOCS / "diagrams").glob("*.svg"))
    if "--check" in sys.argv:
        for path in sorted(wanted.keys() ^ kept):
            print(f"docs/diagrams/{path.name}: out of date; run scripts/draw_diagrams.py")
        return len(wanted.keys() ^ kept)
    for path in kept - wanted.keys():
        path.unlink()
    missing = {path: source for path, source in wanted.items() if path not in kept}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        script = _script(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("<!doctype html><body></body>")
        page.add_script_tag(content=script)
        page.evaluate("mermaid.initialize({startOnLoad: false, theme: 'neutral', htmlLabels: false, "
                      "flowchart: {htmlLabels: false}, fontFamily: 'sans-serif'})")  # fmt: skip
        for path, source in missing.items():
            drawn: str = page.evaluate("async (source) => (await mermaid.render('diagram', source)).svg", source)
            path.parent.mkdir(exist_ok=True)
            path.write_text(drawn + "\n")
            print(f"drew docs/diagrams/{path.name}")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
