"""The commands. Each connects, calls the client and prints; what it prints and where errors go is shared."""

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from jelmore_client import errors
from jelmore_client.cli import completing, contexts, local_git
from jelmore_client.cli.printing import say, short

if TYPE_CHECKING:
    from jelmore_client import Jelmore, Session, SessionInfo


class Commands(TyperGroup):
    """Commands whose list is not cut at the width of the terminal, but broken into lines."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - of click
        """Write each command and the first sentence about it."""
        rows = [(name, each.get_short_help_str(_SENTENCE)) for name, each in self.commands.items() if not each.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    name="jelmore",
    cls=Commands,
    help="Coding sessions in locked-down containers. SESSION is an id, its last characters, or '@' for the newest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_SENTENCE: Final = 400
"""The most characters of a sentence about a command; click cuts a longer one."""

_LONG_DELAY_S: Final = 1.5
_SAY_AGAIN_S: Final = 60.0
_FIND_MAX: Final = 5000
_UNIQUE_CHARACTERS: Final = 8
"""So many last characters of an id are random enough to name one session: the listings print them."""

OK, FAILED, USAGE, AWAY, UNKNOWN, WAITS, SETUP = 0, 1, 2, 3, 4, 5, 6
"""Exit codes: done; the turn failed or the server refused; usage; no answer; no such session; the agent waits; done,
but the setup before it failed.
"""

SessionRef = Annotated[
    str,
    typer.Argument(
        metavar="SESSION", help="Id, its last characters, or @ for the newest.", autocompletion=completing.sessions
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one value per line.")]


class _Flags:
    """The flags before the command."""

    url: str | None = None
    context: str | None = None


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"jelmore {version('jelmore-client')}")  # noqa: T201 - the result
        except PackageNotFoundError:
            print("jelmore, of a checkout")  # noqa: T201 - it is on the path, and not installed
        raise typer.Exit


@app.callback()
def flags(
    *,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,  # noqa: ARG001 - the callback does it
    url: Annotated[str | None, typer.Option(help="The server's URL; the key is JELMORE_API_KEY.")] = None,
    context: Annotated[
        str | None, typer.Option(help="A context of 'jelmore login'.", autocompletion=completing.context_names)
    ] = None,
) -> None:
    """Take the flags that every command has."""
    _Flags.url, _Flags.context = url, context


def command[**P](name: str, **more: Any) -> Callable[[Callable[P, int | None]], Callable[P, None]]:
    """Register a command whose result is the exit code. Errors become one line on standard error."""

    def register(call: Callable[P, int | None]) -> Callable[P, None]:
        @functools.wraps(call)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            raise typer.Exit(_guarded(lambda: call(*args, **kwargs) or OK))

        app.command(name, **more)(run)
        return run

    return register


def _guarded(call: Callable[[], int]) -> int:
    try:
        return call()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of a pipe has gone
        return OK
    except contexts.ContextError as error:
        say(f"error: {error}")
        return USAGE
    except local_git.LocalGitError as error:
        say(f"error: {error}")
        return FAILED
    except errors.NeedsAnswerError as error:
        say(f"the agent waits for an answer: {error.pending.title}")
        how = "--choose NUMBER" if error.pending.waiting_for == "question" else "allow"
        how = "--set NAME=VALUE" if error.pending.tool == "Elicitation" else how
        name = short(error.session_id) if error.session_id else "SESSION"
        say(f"'jelmore answer {name} {how}' answers it, also 'jelmore attach {name}'; 'jelmore inbox' lists it")
        return WAITS
    except errors.ConnectionFailedError as error:
        say(f"error: {error}")
        return AWAY
    except errors.NotFoundError as error:
        say(f"error: {error}")
        return UNKNOWN
    except errors.SessionEndedError:
        say("error: the session has ended; 'jelmore resume SESSION' starts it again")
        return FAILED
    except errors.CapacityError as error:
        hint = "\n'jelmore ls' shows the sessions, 'jelmore rm SESSION' ends one" if error.code == "capacity" else ""
        say(f"error: {error}{hint}")
        return FAILED
    except errors.UnauthenticatedError as error:
        say(f"error: {error}\nrun 'jelmore login', or set JELMORE_API_KEY")
        return FAILED
    except (errors.JelmoreError, TimeoutError) as error:
        say(f"error: {error}")
        return FAILED
    except OSError as error:  # a local file or folder; what the network does are errors of the client
        if error.filename is None:
            raise
        say(f"error: {error.filename}: {error.strerror or error}")
        return FAILED


def server() -> contexts.Server:
    """Return the server that flags, environment and contexts name. Raises ContextError."""
    return contexts.choose(_Flags.url, _Flags.context, os.environ, Path.cwd())


def connect() -> "Jelmore":
    """Return a client of that server."""
    from jelmore_client import Jelmore

    chosen = server()
    client = Jelmore(chosen.url, api_key=chosen.api_key)
    client.on_retry = _say_why_it_waits
    return client


class _Away:
    """When the last line about a server that is away was printed, on a monotonic clock."""

    said_at = float("-inf")


def _say_why_it_waits(error: errors.JelmoreError, delay_s: float) -> None:
    if isinstance(error, errors.CapacityError) and error.code == "capacity":
        say(f"waiting for a slot, next try in {delay_s:.0f} s: {error.problem.detail or error.problem.title} …")
    elif isinstance(error, errors.ServerError):  # it took its time: a proxy waits for seconds for a server that hangs
        say(f"{error.problem.detail or error.problem.title}, trying again …")
    elif isinstance(error, errors.ConnectionFailedError) and delay_s >= _LONG_DELAY_S:  # of a stream, which continues
        now, last = time.monotonic(), _Away.said_at
        if now - last >= _SAY_AGAIN_S:
            _Away.said_at = now
            say(f"{error} Trying again until Ctrl-C …")


def find(client: "Jelmore", reference: str) -> "Session":
    """Return the session that `reference` names. Raises NotFoundError, or ContextError when it names several."""
    from jelmore_client import Session

    reference = reference.strip()
    if not reference:  # every id ends with nothing: the only session would be taken
        raise contexts.ContextError("the SESSION is empty; give an id, its last characters, or @ for the newest")
    if len(reference) == len("00000000-0000-0000-0000-000000000000"):
        return client.sessions.get(reference)
    if reference == "@":
        newest = next(client.sessions.list(limit=1), None)
        if newest is None:
            raise contexts.ContextError("there is no session yet; 'jelmore run PROMPT' creates one")
        return Session(client, newest)
    found = _named(client, reference.lower())
    if len(found) > 1:
        raise contexts.ContextError(f"{reference!r} is the id of {len(found)} sessions; give more characters")
    return Session(client, found[0]) if found else client.sessions.get(reference)


def _named(client: "Jelmore", part: str) -> list["SessionInfo"]:
    """Return the sessions whose id begins or ends with `part`, among the newest: the API does not search ids.

    Raises ContextError when none is found there and there are more.
    """
    found: list[SessionInfo] = []
    for seen, each in enumerate(client.sessions.list(limit=200, archived="all"), 1):
        if each.id.endswith(part) and len(part) >= _UNIQUE_CHARACTERS:
            return [each]
        if each.id.endswith(part) or each.id.startswith(part):
            found.append(each)
        if seen == _FIND_MAX:
            if found:
                break
            raise contexts.ContextError(
                f"no id of the newest {seen:,} sessions begins or ends with {part!r}; give the whole id"
            )
    return found


from jelmore_client.cli import sessions, lists, forks  # noqa: E402, F401, I001 - and the others after them
from jelmore_client.cli import files, repositories, shell, ports, events, setup, doctor, admin  # noqa: E402, F401 - register their commands
from jelmore_client.cli import credentials, operator, bridges  # noqa: E402, F401 - in this order
