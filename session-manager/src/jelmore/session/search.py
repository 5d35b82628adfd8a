"""What of a session's output can be searched: its prompts and answers. Pure."""

from typing import Final

from jelmore.session.output import Output

MAX_CHARACTERS: Final = 16_000
"""How much of a message is searched: the words are stored in the transaction that stores the output."""

_MAX_LINE_CHARACTERS: Final = 512 * 1024
"""A longer line is not parsed for a search."""


def searchable(output: Output) -> str | None:
    """Return the text by which a search finds this output; None for anything but a prompt or an answer."""
    if output.kind not in {"input", "input_changed", "said"} or len(output.text) > _MAX_LINE_CHARACTERS:
        return None
    data = output.data
    name = "text" if output.kind == "said" else "input"
    text = None if data.get("thinking") else data.get(name)
    return text[:MAX_CHARACTERS] if isinstance(text, str) and text.strip() else None
