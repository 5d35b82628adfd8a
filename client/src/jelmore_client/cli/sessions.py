"""Commands about sessions: run, attach, send, list, show, answer, end."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jelmore_client.cli import completing, sources
from jelmore_client.cli.app import FAILED, OK, SETUP, USAGE, WAITS, AsJson, SessionRef, command, connect, find, server
from jelmore_client.cli.contexts import ContextError
from jelmore_client.cli.printing import Printer, print_json, print_text, say, short
from jelmore_client.cli.progress import working

if TYPE_CHECKING:
    from jelmore_client import Answer, Jelmore, Pending, Session


@command("run")
def run(
    prompt: Annotated[str | None, typer.Argument(help="The first prompt; '-' reads it from standard input.")] = None,
    *,
    title: str | None = None,
    model: str | None = None,
    permission_mode: str | None = None,
    profile: Annotated[str | None, typer.Option(help="See 'jelmore profiles'.")] = None,
    network: Annotated[str | None, typer.Option(help="What it may reach: none, packages or open.")] = None,
    budget: Annotated[float | None, typer.Option(metavar="USD", help="From this cost on, it waits for you.")] = None,
    file: sources.Files = None,
    repo: sources.Repo = None,
    ref: sources.Ref = None,
    depth: sources.Depth = None,
    credential: sources.Credential = None,
    setup: Annotated[str | None, typer.Option(metavar="COMMAND", help="Runs once before the first turn.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and return.")] = False,
    remove: Annotated[bool, typer.Option("--rm", help="End the session when the command ends.")] = False,
    as_json: AsJson = False,
) -> int:
    """Create a session. On a terminal, attach to it; otherwise print the answer to PROMPT."""
    if remove and detach:
        raise typer.BadParameter("ends the session when the command ends, and --detach lets it run", param_hint="--rm")
    if prompt == "-":
        prompt = sys.stdin.read()
    from jelmore_client.core.requests import title_of

    title = title or title_of(prompt)
    options: dict[str, Any] = {"title": title, "model": model, "permission_mode": permission_mode, "profile": profile}
    options |= {"network": network, "budget_usd": budget}
    given = {name: value for name, value in options.items() if value is not None}
    if setup is not None:
        given["setup"] = {"run": setup}
    source = sources.source_of(repo, ref, depth, credential)
    if source.local is not None and setup is not None:
        raise ContextError("--setup: a local repository is copied after the session has started; give its URL instead")
    with connect() as client:
        try:
            with working("creating a session"):
                session = _created(client, {**given, **source.options, "files": file or None})
        except OSError as error:
            raise ContextError(f"--file: {error.filename}: {error.strerror}") from None
        if source.local is not None:
            sources.upload(session, source.local)
        has_hint = repo is not None
        try:
            code = (_begin_and_end if remove else begin)(session, prompt, detach=detach, as_json=as_json)
            if source.local is not None and not detach:
                from jelmore_client.cli.repositories import bring_back

                ends, remove = remove, False  # what cannot be brought back must not end with its session
                bring_back(session, source.local.top, title or "Work of the agent")
                remove, has_hint = ends, False
            return code
        finally:
            if remove:
                session.end()
            elif not detach:
                name = short(session.id)
                say(f"session {name} continues; 'jelmore attach {name}' follows it, 'jelmore rm {name}' ends it")
            if has_hint:
                say(sources.hint(session))


def _created(client: "Jelmore", options: dict[str, Any]) -> "Session":
    """Create a session. After Ctrl-C the server may have gone on: then it is asked for the session, which is ended."""
    from jelmore_client.core.requests import new_id
    from jelmore_client.errors import CapacityError, JelmoreError

    key = new_id()
    try:
        return client.sessions.create(**options, idempotency_key=key)
    except KeyboardInterrupt:
        say("stopping: ending the session, if there is one already; Ctrl-C again leaves it …")
        client.on_retry = _give_up
        try:
            client.sessions.create(**options, idempotency_key=key).end()
        except CapacityError:
            say("no session was created")
        except (JelmoreError, KeyboardInterrupt):
            say("'jelmore ls' shows whether a session was left")
        raise


def _give_up(error: Exception, _delay_s: float) -> None:
    raise error


def begin(session: "Session", prompt: str | None, *, detach: bool, as_json: bool) -> int:
    """Talk on a terminal; otherwise send the prompt and print its result, or the session when nobody waits."""
    if sys.stdout.isatty() and sys.stdin.isatty() and not as_json and not detach:
        return _attach(session, prompt)
    if prompt is not None and not detach:
        return _print_first(session, prompt, as_json=as_json)
    if prompt is not None:
        session.send(prompt)
    print_json(session.info.model_dump(mode="json")) if as_json else print(session.id)  # noqa: T201
    return OK


def _begin_and_end(session: "Session", prompt: str | None, *, detach: bool, as_json: bool) -> int:
    """Do the same where the session ends with the command: nobody can answer later what the agent asks."""
    from jelmore_client.errors import NeedsAnswerError

    try:
        return begin(session, prompt, detach=detach, as_json=as_json)
    except NeedsAnswerError as error:
        say(f"the agent waits for an answer: {error.pending.title}")
        say("--rm ends the session without one; allow it beforehand (--permission-mode, --profile), or leave out --rm")
        return WAITS


def _print_first(session: "Session", prompt: str, *, as_json: bool) -> int:
    """Print the result of a session's first prompt. The setup ran before it: say when that has failed."""
    from jelmore_client.cli.setup_failure import setup_failure
    from jelmore_client.errors import NeedsAnswerError

    try:
        code = _print_result(session, prompt, as_json=as_json)
    except NeedsAnswerError:
        if failure := setup_failure(session):
            say(failure)
        raise
    if failure := setup_failure(session):
        say(failure)
        return code or SETUP
    return code


def _print_result(session: "Session", prompt: str, *, as_json: bool) -> int:
    from jelmore_client.errors import NeedsAnswerError

    try:
        with working("the agent works", line=False):
            result = session.ask(prompt)
    except NeedsAnswerError as error:
        error.session_id = session.id
        raise
    if as_json:
        print_json({"session_id": session.id, **result.model_dump(mode="json")})
    else:
        print_text(result.text)
    if not result.ok:
        say(f"the turn failed: {result.failure}")
    return OK if result.ok else FAILED


def _attach(session: "Session", prompt: str | None = None, after: int = 0) -> int:
    import asyncio

    from jelmore_client.cli.attach import attach as attach_to

    chosen = server()
    return asyncio.run(attach_to(chosen.url, chosen.api_key, session.id, prompt=prompt, after=after))


@command("attach")
def attach(
    reference: SessionRef, *, new: Annotated[bool, typer.Option(help="Leave out what was said before.")] = False
) -> int:
    """Follow a session and talk to it. Ctrl-C interrupts the turn, Ctrl-D leaves the session running."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say(
            "error: attach needs a terminal; 'jelmore logs -f SESSION' follows in a pipe, 'jelmore send' sends a prompt"
        )
        return USAGE
    with connect() as client:
        session = find(client, reference)
    return _attach(session, after=session.info.output_buffer_size if new else 0)


@command("send")
def send(
    reference: SessionRef,
    prompt: Annotated[str, typer.Argument(help="The prompt; '-' reads it from standard input.")],
    *,
    wait: Annotated[bool, typer.Option(help="Print the turn's result.")] = True,
    as_json: AsJson = False,
) -> int:
    """Send a prompt; print the result of its turn."""
    if prompt == "-":
        prompt = sys.stdin.read()
    with connect() as client:
        session = find(client, reference)
        if wait:
            return _print_result(session, prompt, as_json=as_json)
        accepted = session.send(prompt)
        print_json(accepted.model_dump()) if as_json else print(accepted.seq)  # noqa: T201
    return OK


@command("answer")
def answer(
    reference: SessionRef,
    decision: Annotated[str | None, typer.Argument(help="allow or deny; not with --choose")] = None,
    request_id: Annotated[str | None, typer.Argument(help="The request; default: the only one.")] = None,
    *,
    choose: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER|TEXT", help="Answer a question; once for each, when it asks several."),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Fill a field of the form that an MCP server asks for."),
    ] = None,
    message: Annotated[str | None, typer.Option(help="With deny: the reason.")] = None,
    always: Annotated[bool, typer.Option("--always", help="With allow: the same for the whole session.")] = False,
    as_json: AsJson = False,
) -> int:
    """Answer a permission, a question, or a connection that waits."""
    if fields and decision is None:
        decision = "allow"
    if (decision is None) == (not choose) or decision not in {None, "allow", "deny"}:
        raise typer.BadParameter("must be allow or deny, or --choose answers a question", param_hint="DECISION")
    with connect() as client:
        session = find(client, reference)
        waiting = [each for each in session.pending() if request_id in {None, each.request_id}]
        if len(waiting) != 1:
            say(f"error: {_which(session, request_id, waiting)}")
            return USAGE
        if waiting[0].tool == "Elicitation" and decision == "allow":
            given = _form(waiting[0], fields or [])
        elif fields:
            raise ContextError(f"--set fills a form, and this is none: {waiting[0].title}")
        else:
            given = _answer(waiting[0], decision, choose or [], message, always=always)
        session.answer(waiting[0].request_id, given)
        if as_json:
            answered = {"session_id": session.id, "request_id": waiting[0].request_id, "decision": given.decision}
            print_json({**answered, "answers": given.answers} if given.answers else answered)
    return OK


def _which(session: "Session", request_id: str | None, waiting: "list[Pending]") -> str:
    """Say why it is not clear what is answered."""
    if waiting:
        return f"several requests wait; name one: {', '.join(each.request_id for each in waiting)}"
    what = "nothing" if request_id is None else f"no request {request_id}"
    return f"{what} waits for an answer in session {short(session.id)}; 'jelmore inbox' lists what waits in all of them"


def _answer(
    waiting: "Pending", decision: str | None, choose: list[str], message: str | None, *, always: bool
) -> "Answer":
    """Return the answer that the flags give. Raises ContextError when it does not fit what is asked."""
    from jelmore_client import Answer
    from jelmore_client.cli.choices import UnclearError, choices

    if decision == "deny":
        return Answer.deny(message)
    if waiting.waiting_for != "question":
        if choose:
            raise ContextError(f"--choose answers a question, and this is none: {waiting.title}; use allow or deny")
        return Answer.allow(always=always)
    try:
        return Answer.choose(choices(waiting.input, choose))
    except UnclearError as error:
        raise ContextError(str(error)) from None


def _form(waiting: "Pending", fields: list[str]) -> "Answer":
    """Return the answer to an MCP server that asks for a form. Raises ContextError."""
    from jelmore_client import Answer
    from jelmore_client.cli.choices import UnclearError
    from jelmore_client.cli.forms import content_of

    try:
        return Answer.allow(content_of(waiting.input, fields))
    except UnclearError as error:
        raise ContextError(str(error)) from None


@command("logs")
def logs(
    reference: SessionRef,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the session ends.")] = False,
    whole: Annotated[bool, typer.Option(help="Do not fold long output.")] = False,
    after: Annotated[int, typer.Option(help="Only what has a higher seq.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Print what a session said and did."""
    from jelmore_client.cli.blocks import blocks_of

    printer = Printer()
    with connect() as client:
        session = find(client, reference)
        newest = session.refresh().output_buffer_size
        if not follow and newest <= after:
            return OK
        for event in session.events(after=after):
            if as_json:
                print_json(event.model_dump(mode="json"))
            else:
                for block in blocks_of(event, whole=whole):
                    printer.block(block)
            if not follow and event.seq >= newest:
                break
    return OK


@command("open")
def open_page(
    reference: SessionRef,
    *,
    show_url: Annotated[bool, typer.Option("--print", help="Only print the address.")] = False,
    as_json: AsJson = False,
) -> int:
    """Open a session's page of the dashboard in a browser."""
    with connect() as client:
        session = find(client, reference)
    url = f"{server().url.rstrip('/')}/#/s/{session.id}"
    print_json({"session_id": session.id, "url": url}) if as_json else print(url)  # noqa: T201
    if sys.stdout.isatty() and not (show_url or as_json):
        import webbrowser

        if not webbrowser.open(url):
            say("there is no browser here; open the address yourself")
    return OK


@command("interrupt")
def interrupt(reference: SessionRef, *, as_json: AsJson = False) -> int:
    """Stop the running turn."""
    with connect() as client:
        session = find(client, reference)
        session.interrupt()
    if as_json:
        print_json({"session_id": session.id})
    return OK


@command("resume")
def resume(reference: SessionRef, *, as_json: AsJson = False) -> int:
    """Start an ended session again, with its conversation and workspace."""
    with connect() as client:
        info = find(client, reference).resume()
    print_json(info.model_dump(mode="json")) if as_json else print(info.status)  # noqa: T201
    return OK


@command("rm")
def rm(
    references: Annotated[list[str], typer.Argument(metavar="SESSION…", autocompletion=completing.sessions)],
    *,
    reason: str = "deleted",
    as_json: AsJson = False,
) -> int:
    """End sessions. Their output and workspace are kept for a while; 'jelmore resume' starts one again."""
    with connect() as client:
        for reference in references:
            info = find(client, reference).end(reason)
            print_json(info.model_dump(mode="json")) if as_json else print(info.id)  # noqa: T201
    return OK


@command("transcript")
def transcript(
    reference: SessionRef, form: Annotated[str, typer.Option("--format", help="markdown, json or html")] = "markdown"
) -> int:
    """Print a session's whole conversation as a document."""
    import tempfile
    from pathlib import Path

    with connect() as client, tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "transcript")
        find(client, reference).transcript(whole, form=form)  # type: ignore[arg-type]  # the server names its formats
        print_text(whole.read_text("utf-8", "replace").removesuffix("\n"))
    return OK
