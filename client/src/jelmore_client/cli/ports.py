"""`jelmore port`: the ports of a session, and local ports that lead to them."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jelmore_client.cli.app import OK, USAGE, AsJson, SessionRef, command, connect, find, server
from jelmore_client.cli.blocks import printable
from jelmore_client.cli.printing import age, print_json, say
from jelmore_client.core.ports import port_pair

if TYPE_CHECKING:
    from jelmore_client.models import Port

_Ports = Annotated[
    list[str] | None, typer.Argument(metavar="PORT[:LOCAL]", help="Ports to forward; none lists what listens.")
]


@command("port")
def port(
    reference: SessionRef,
    ports: _Ports = None,
    *,
    link: Annotated[bool, typer.Option("--open", help="Print a link for a browser, and open it.")] = False,
    expires_in_s: Annotated[int, typer.Option("--expires", help="How long the link works, in seconds.")] = 3600,
    as_json: AsJson = False,
) -> int:
    """Forward local ports to servers in a session's sandbox, list what listens there, or make a link for a browser.

    PORT:LOCAL listens on another local port. It listens on 127.0.0.1 only, until Ctrl-C. In a browser, use the URL that
    it prints: it keeps the session's pages from the cookies of other servers on this machine.
    """
    try:
        pairs = [port_pair(text) for text in ports or []]
    except ValueError as error:
        say(f"error: {error}")
        return USAGE
    with connect() as client:
        session = find(client, reference)
        if link:
            for remote, _ in pairs:
                _open(session.port_link(remote, expires_in_s=expires_in_s).url)
            return OK if pairs else USAGE
        if not pairs:
            listening = list(session.ports())
            if not listening:
                say("nothing listens in this session")
            for found in listening:
                if as_json:
                    print_json(found.model_dump(mode="json"))
                else:
                    typer.echo(row(found))
            return OK
        session_id = session.id
    import asyncio

    from jelmore_client.cli.forward import forward

    return asyncio.run(forward(server(), session_id, pairs))


def row(found: "Port") -> str:
    """Return the line of a port. Its command line is what the agent wrote: it must not steer the terminal."""
    command = " ".join(printable(found.command).split())
    return f"{found.port:>5}  {age(found.since):>8}  {command}"


def _open(url: str) -> None:
    typer.echo(url)
    if sys.stdout.isatty():
        import webbrowser

        webbrowser.open(url)
