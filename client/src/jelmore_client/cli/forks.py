"""Another way from an earlier point: fork and rewind."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jelmore_client.cli.app import OK, AsJson, SessionRef, command, connect, find
from jelmore_client.cli.blocks import printable
from jelmore_client.cli.printing import print_json, say, short
from jelmore_client.cli.progress import working
from jelmore_client.cli.sessions import begin

if TYPE_CHECKING:
    from jelmore_client import Message, Session

_TITLE_CHARACTERS: Final = 256
_PROMPT_CHARACTERS: Final = 80
_CONTENT: Final = frozenset({"text", "image", "document"})


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
        with working(f"copying session {short(session.id)}"):
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


@command("rewind")
def rewind(
    reference: SessionRef,
    seq: Annotated[int | None, typer.Argument(metavar="[SEQ]", min=1, help="The number of a prompt.")] = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="The newest prompt.")] = False,
    files_only: Annotated[bool, typer.Option("--files-only", help="The agent remembers all of it.")] = False,
    conversation_only: Annotated[bool, typer.Option("--conversation-only", help="Files stay as they are.")] = False,
    as_json: AsJson = False,
) -> int:
    """Take files and conversation back to before a prompt. Without one, list the prompts with their numbers."""
    if files_only and conversation_only:
        raise typer.BadParameter("leaves nothing with --conversation-only", param_hint="--files-only")
    with connect() as client:
        session = find(client, reference)
        prompts = [] if seq is not None else _prompts(session)
        if last and seq is None and prompts:
            seq = prompts[-1].seq
        if seq is None:
            _list_prompts(prompts, as_json=as_json)
            return OK
        recorded = session.rewind(seq, files=not conversation_only, conversation=not files_only)
    if as_json:
        print_json({"seq": recorded, "to_seq": seq})
    name = short(session.id)
    say(f"session {name} is as it was before prompt {seq}; 'jelmore attach {name}' continues from there")
    return OK


def _prompts(session: "Session") -> "list[Message]":
    return [
        each
        for each in session.messages()
        if each.role == "user"
        and each.sender != "claude"
        and each.input_id
        and _CONTENT & {b.get("type") for b in each.blocks}
    ]


def _list_prompts(prompts: "list[Message]", *, as_json: bool) -> None:
    if as_json:
        print_json([{"seq": each.seq, "input_id": each.input_id, "text": each.text} for each in prompts])
        return
    for each in prompts:
        print(f"{each.seq:>8}  {printable(each.text[:_PROMPT_CHARACTERS].splitlines()[0] if each.text else '')}")  # noqa: T201
