"""What the command says when it cannot do what was asked, without a server."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Self, cast

import httpx
import pytest
from typer.testing import CliRunner

from jelmore.session.states import SessionStatus
from jelmore_client import Event, Jelmore, Pending, SessionInfo
from jelmore_client.cli import app as cli
from jelmore_client.cli import lists, printing, repositories, sessions, shell
from jelmore_client.cli.app import app, find
from jelmore_client.cli.attach import Conversation
from jelmore_client.cli.choices import UnclearError, choices
from jelmore_client.cli.contexts import ContextError
from jelmore_client.errors import NeedsAnswerError, Problem, ended_early, error_of


class OneSession:
    """A client of a server with as many sessions as given."""

    def __init__(self, *ids: str) -> None:
        self.sessions = self
        self._found = [SessionInfo(id=each, status="active") for each in ids]
        self.read = 0

    def list(self, **_: Any) -> Any:
        for each in self._found:
            self.read += 1
            yield each


def client(*ids: str) -> Jelmore:
    return cast("Jelmore", OneSession(*ids))


@pytest.mark.parametrize("reference", ["", "  "])
def test_an_empty_reference_names_no_session(reference: str) -> None:
    """`jelmore rm "$ID"` with an unset variable must not end the only session."""
    with pytest.raises(ContextError, match="SESSION is empty"):
        find(client("01a21f72-525b-7297-b3f8-db1337d939bd"), reference)


def test_an_id_is_searched_among_the_newest_only() -> None:
    """A server keeps ended sessions for long: their number must not decide how long a command takes."""
    ids = [f"01a21f72-525b-7297-b3f8-{number:012x}" for number in range(cli._FIND_MAX + 1)]
    many = OneSession(*ids)
    assert find(cast("Jelmore", many), "00000003").id == ids[3]
    assert many.read == 4  # what the listings print names one session
    with pytest.raises(ContextError, match="give the whole id"):
        find(cast("Jelmore", many), "ffffffff")
    assert many.read - 4 == cli._FIND_MAX
    with pytest.raises(ContextError, match="give more characters"):
        find(client(*ids[:20]), "3")


def test_the_list_asks_for_what_has_not_ended() -> None:
    class Server:
        asked: list[list[str]]

        def __init__(self) -> None:
            self.sessions, self.asked = self, []

        def list(self, *, status: Any, **_: Any) -> Any:
            self.asked.append(status)
            yield SessionInfo(id="same", status=status[0])

    server = Server()
    assert [each.id for each in lists.live(cast("Jelmore", server))] == ["same"]
    [asked] = server.asked  # one request, not one for each state
    assert set(asked) == {each.value for each in SessionStatus} - {"terminated", "failed"}


@pytest.mark.parametrize("url", ["localhost:8080", "team.example.org", "ftp://x"])
def test_a_url_without_a_scheme_is_said_before_a_key_is_sent(url: str) -> None:
    done = CliRunner().invoke(app, ["--url", url, "ls"])
    assert (done.exit_code, "write http://" in done.stderr) == (2, True)
    done = CliRunner().invoke(app, ["login", url])
    assert (done.exit_code, "Api key" in done.stdout) == (2, False)


def test_no_sentence_of_the_help_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert "..." not in shown.partition("Commands:")[2]
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_waiting_for_a_slot_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    full = error_of(Problem(429, "capacity", "No capacity for now", "all 3 sessions are in use", "", True, 5.0))
    cli._say_why_it_waits(full, 5.0)
    assert capsys.readouterr().err == "waiting for a slot, next try in 5 s: all 3 sessions are in use …\n"
    cli._say_why_it_waits(error_of(Problem(429, "rate", "Too many", "", "", True, 1.0)), 1.0)
    assert not capsys.readouterr().err
    away = error_of(Problem(503, "dependency_away", "Away", "it does not answer for now", "", True, 1.0))
    cli._say_why_it_waits(away, 1.0)
    assert capsys.readouterr().err == "it does not answer for now, trying again …\n"


def test_a_client_says_that_it_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    from jelmore_client.core.requests import Request

    said: list[float] = []
    with Jelmore("http://test") as waiting:
        outcomes: list[Any] = [error_of(Problem(429, "capacity", "Full", "", "", True, 0.0)), "answer"]

        def once(_: Request) -> Any:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(waiting, "_send_once", once)
        waiting.on_retry = lambda _, delay_s: said.append(delay_s)
        assert cast("str", waiting.send(Request("GET", "/"))) == "answer"
    assert said == [0.0]


def test_the_newest_of_no_session_is_said_in_words() -> None:
    with pytest.raises(ContextError, match="no session yet"):
        find(client(), "@")


def test_without_the_extra_the_command_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['typer'] = None; from jelmore_client.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the command needs an extra: pip install 'jelmore-client[cli]'\n",
    )


def test_the_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.startswith("jelmore")) == (0, True)


def test_attach_without_a_terminal_names_the_commands_for_a_pipe() -> None:
    done = CliRunner().invoke(app, ["attach", "@"])
    assert (done.exit_code, "logs -f" in done.stderr) == (2, True)


def test_a_local_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> int:
        return (tmp_path / "absent" / "file").write_text("x")

    assert cli._guarded(write) == cli.FAILED
    assert capsys.readouterr().err == f"error: {tmp_path}/absent/file: No such file or directory\n"


QUESTIONS = {
    "questions": [
        {"question": "Which?", "options": [{"label": "red"}, {"label": "blue"}]},
        {"question": "Where?", "options": [{"label": "here"}, {"label": "there"}], "multiSelect": True},
    ]
}


def test_each_question_gets_its_choice() -> None:
    assert choices(QUESTIONS, ["2", "1, there"]) == {"Which?": "blue", "Where?": ["here", "there"]}
    assert choices(QUESTIONS, ["green", "1,2"]) == {"Which?": "green", "Where?": ["here", "there"]}


@pytest.mark.parametrize("typed", [[], ["1"], ["1", "1", "1"], ["", "1"]])
def test_a_question_is_not_answered_by_nothing(typed: list[str]) -> None:
    with pytest.raises(UnclearError):
        choices(QUESTIONS, typed)


def test_an_answer_is_a_decision_or_a_choice() -> None:
    for given in (["answer", "@"], ["answer", "@", "maybe"], ["answer", "@", "allow", "--choose", "1"]):
        assert CliRunner().invoke(app, given).exit_code == 2


def test_allow_does_not_answer_a_question() -> None:
    from jelmore_client.cli.sessions import _answer

    asked = Pending(request_id="r", waiting_for="question", title="Which?", input=QUESTIONS)
    with pytest.raises(ContextError, match=r"--choose for each, in this order: Which\? \(red, blue\); Where\?"):
        _answer(asked, "allow", [], None, always=False)
    assert _answer(asked, None, ["1", "1"], None, always=False).answers == {"Which?": "red", "Where?": ["here"]}
    permission = Pending(request_id="r", waiting_for="permission", title="Bash")
    assert _answer(permission, "allow", [], None, always=True).remember == "session"
    assert _answer(permission, "deny", [], "no", always=False).message == "no"
    with pytest.raises(ContextError, match="use allow or deny"):
        _answer(permission, None, ["1"], None, always=False)


def test_a_request_that_waited_before_is_known_once() -> None:
    """`attach --new` begins after the event of the request; it is asked for, and the event may come too."""
    known = Conversation()
    request = {"request_id": "r1", "waiting_for": "permission", "tool": "Bash"}
    known.wait_for(Pending.model_validate(request))
    known.take(
        Event.model_validate({"seq": 1, "kind": "permission_requested", "at": "2026-01-01T00:00:00Z", "data": request})
    )
    assert [each.request_id for each in known.pending] == ["r1"]
    assert known.prompt().startswith("allow?")


def test_a_row_is_one_line_of_the_terminal() -> None:
    head, rows = ("ID", "TITLE", "N"), [("12345678", "日本語のとても長い題名です、続きます", "1"), ("2", "short", "10")]
    lines = list(printing.table_lines(head, rows, 1, 30))
    assert [printing._cells(line) <= 30 for line in lines] == [True, True, True]
    assert "…" in lines[1]
    assert lines[2] == "2         short             10"
    assert list(printing.table_lines(head, rows, 1, None))[1] == "12345678  日本語のとても長い題名です、続きます  1"
    assert len({line.rfind("  ") for line in printing.table_lines(("A", "B"), [("é", "x"), ("e", "y")], 0, 80)}) == 1


def test_an_ended_session_is_said_with_the_command_that_starts_it(capsys: pytest.CaptureFixture[str]) -> None:
    def call() -> int:
        raise ended_early("a")

    assert cli._guarded(call) == cli.FAILED
    assert "jelmore resume" in capsys.readouterr().err


def test_attach_shows_the_end_of_a_message_while_it_is_written() -> None:
    def event(kind: str, data: dict[str, Any]) -> Event:
        return Event.model_validate({"seq": 1, "kind": kind, "at": "2026-01-01T00:00:00Z", "data": data})

    def piece(text: str, **more: Any) -> Event:
        return event("delta", {"event": {"delta": {"type": "text_delta", "text": text}}, **more})

    known = Conversation()
    for number in range(9):
        known.take(piece(f"line {number}\x1b[2J\n"))
    known.take(piece("of a sub-agent", parent_tool_use_id="t"))
    known.take(event("delta", {"event": {"type": "message_start"}}))
    assert known.prompt().split("\n") == [f"line {number}[2J" for number in range(3, 9)] + ["> "]
    known.take(event("said", {"role": "assistant", "text": "the whole"}))
    assert known.prompt() == "> "


def test_no_capacity_is_said_with_the_command_that_makes_room(capsys: pytest.CaptureFixture[str]) -> None:
    def call() -> int:
        raise error_of(Problem(429, "capacity", "No capacity for now", "all 3 sessions are in use", "", True, 5.0))

    assert cli._guarded(call) == cli.FAILED
    assert "'jelmore rm SESSION' ends one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("made", ["stopping: ", "ended"]),
        (error_of(Problem(429, "capacity", "Full", "", "", True, 0.0)), ["stopping: ", "no session was created"]),
        (KeyboardInterrupt(), ["stopping: ", "'jelmore ls'"]),
    ],
)
def test_ctrl_c_while_a_session_is_created_leaves_none(
    second: Any, said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jelmore_client.cli import sessions

    keys: list[str] = []
    with Jelmore("http://test", api_key="key") as interrupted:

        def send(request: Any) -> Any:
            if request.method == "DELETE":
                print("ended", file=sys.stderr)
            else:
                keys.append(request.headers["Idempotency-Key"])
                if len(keys) == 1:
                    raise KeyboardInterrupt
                if isinstance(second, BaseException):
                    raise second
            return httpx.Response(200, json={"id": "s", "status": "terminated"}, request=httpx.Request("GET", "/"))

        monkeypatch.setattr(interrupted, "_send_once", send)
        with pytest.raises(KeyboardInterrupt):
            sessions._created(interrupted, {"title": "x"})
    assert keys[0] == keys[1], "the same session, if there is one"
    for words, line in zip(said, capsys.readouterr().err.splitlines(), strict=True):
        assert words in line


def test_what_waits_is_said_with_the_name_of_its_session(capsys: pytest.CaptureFixture[str]) -> None:
    error = NeedsAnswerError(Pending(request_id="r", waiting_for="permission", title="Bash: ls"))
    error.session_id = "01a2215d-8716-7316-ac8d-502c87d7014a"

    def ask() -> int:
        raise error

    assert cli._guarded(ask) == cli.WAITS
    assert "'jelmore answer 87d7014a allow'" in capsys.readouterr().err


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from jelmore_client.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


class Waiting(OneSession):
    """One session, in which requests wait, and whose workspace is no repository."""

    def __init__(self, *requests: str) -> None:
        super().__init__("01a21f72-525b-7297-b3f8-db1337d939bd")
        self._requests = [Pending(request_id=each, waiting_for="permission") for each in requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def fetch_all(self, *_: object) -> list[Pending]:
        return self._requests

    def send(self, *_: object) -> Any:
        raise error_of(Problem(409, "conflict", "Conflict", "the workspace is not a git repository", "", False, None))


@pytest.mark.parametrize(
    ("typed", "requests", "said"),
    [
        (["answer", "@", "allow"], [], "nothing waits for an answer in session 37d939bd; 'jelmore inbox'"),
        (["answer", "@", "allow", "r9"], ["r1"], "no request r9 waits"),
        (["answer", "@", "allow"], ["r1", "r2"], "name one: r1, r2"),
        (["diff", "@"], [], "'jelmore diff 37d939bd --turn SEQ' compares with before one"),
        (["shell", "@", "--name", "A B"], [], "lower-case letters, digits and hyphens"),
        (["api", "", "sessions"], [], "must be one of GET, POST"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_can(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], requests: list[str], said: str
) -> None:
    for module in (sessions, repositories, shell):
        monkeypatch.setattr(module, "connect", lambda: Waiting(*requests))
    done = CliRunner().invoke(app, typed, env={"COLUMNS": "200"})
    assert done.exit_code in {1, 2}
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize("name", ["acp", "mcp"])
def test_a_protocol_without_another_program_is_refused(name: str) -> None:
    asked = [sys.executable, "-m", "jelmore_client.cli", name]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "docs/editors.md" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_what_is_no_message_of_the_protocol_ends_acp_with_a_word() -> None:
    asked = [sys.executable, "-m", "jelmore_client.cli", "--url", "http://127.0.0.1:1", "acp"]
    done = subprocess.run(asked, input=b"[]\n", capture_output=True, timeout=60, check=False)
    last = done.stderr.decode().splitlines()[-1]
    assert (done.returncode, last.startswith("jelmore acp: the other side sent what is no message")) == (1, True)
