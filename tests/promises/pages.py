"""What is read out of a page of Markdown."""

import re
from typing import Final

_FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def code_in(text: str) -> str:
    """Return only what is marked as code: blocks and spans."""
    blocks = _FENCED.findall(text)
    return "\n".join([*blocks, *_SPAN.findall(_FENCED.sub("", text))])


def links_in(text: str) -> list[str]:
    """Return the links to other files of the repository."""
    links = _LINK.findall(_FENCED.sub("", text))
    return [link for link in links if "://" not in link and not link.startswith(("#", "mailto:"))]


def prose_in(text: str) -> str:
    """Return a page without its code, links and tables' marks: what a reader reads as sentences."""
    return _SPAN.sub("", re.sub(r"\]\([^)]*\)", "]", re.sub(r"\[tests/[^\]]*\]", "", _FENCED.sub("", text))))
