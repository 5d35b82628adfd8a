"""Sessions from others: fork."""

import sys
from typing import Annotated, Any, Final

import typer

from jelmore_client.cli.app import AsJson, SessionRef, command, connect, find
from jelmore_client.cli.printing import say, short
from jelmore_client.cli.sessions import begin

_TITLE_CHARACTERS: Final = 256


@command("fork")
def fork(
    reference: SessionRef,
    prompt: Annotated[str | None, typer.Argument(help="Its next prompt; '-' reads it from standard input.")] = None,
    *,
    at_seq: Annotated[
        int | None, typer.Option(metavar="SEQ", min=0, help="Keep the turns that had ended at this output.")
    ] = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="Copy the workspace, not the conversation.")] = False,
    title: Annotated[str | None, typer.Option(help="Default: 'Fork of' and the session's title.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and return.")] = False,
    as_json: AsJson = False,
) -> int:
    """Make a session with a copy of another one's workspace and conversation. Then the same as 'run'."""
    if files_only and at_seq is not None:
        raise typer.BadParameter("belongs to the conversation, which --files-only leaves out", param_hint="--at-seq")
    if prompt == "-":
        prompt = sys.stdin.read()
    with connect() as client:
        session = find(client, reference)
        say(f"copying session {short(session.id)} …")
        if files_only:
            title = title or (f"Fork of {session.info.title}"[:_TITLE_CHARACTERS] if session.info.title else None)
            named: dict[str, Any] = {} if title is None else {"title": title}
            made = client.sessions.create(base=session.id, **named)
        else:
            made = session.fork(at_seq=at_seq, title=title)
        try:
            return begin(made, prompt, detach=detach, as_json=as_json)
        finally:
            if not detach:
                name = short(made.id)
                say(f"session {name} continues; 'jelmore attach {name}' follows it, 'jelmore rm {name}' ends it")
