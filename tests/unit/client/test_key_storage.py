"""Where `jelmore login` keeps a key: a keyring that works, one that hangs or fails, and none."""

import json
import stat
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jelmore_client.cli import contexts, key_storage
from jelmore_client.cli.app import app

KEY = "jlm_a-key"


class Keyring(types.ModuleType):
    """Stands for the package `keyring`: its three calls, and a backend that says how good it is."""

    def __init__(self, priority: float = 5) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}
        self.priority = priority
        self.locked: Exception | None = None
        self.hangs: threading.Event | None = None

    def get_keyring(self) -> "Keyring":
        return self

    def get_password(self, service: str, account: str) -> str | None:
        self._answer()
        return self.kept.get((service, account))

    def set_password(self, service: str, account: str, password: str) -> None:
        self._answer()
        self.kept[service, account] = password

    def delete_password(self, service: str, account: str) -> None:
        self._answer()
        del self.kept[service, account]

    def _answer(self) -> None:
        if self.locked is not None:
            raise self.locked
        if self.hangs is not None:
            self.hangs.wait(30)


@pytest.fixture
def server() -> Iterator[str]:
    """A server that knows KEY."""

    class Sessions(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["X-API-Key"] == KEY
            body = b"[]" if known else b"{}"
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Sessions) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Keyring:
    made = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", made)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("JELMORE_URL", "JELMORE_API_KEY", "JELMORE_CONTEXT", "JELMORE_KEYRING"):
        monkeypatch.delenv(name, raising=False)
    return made


def login(url: str, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["login", url, "--name", "team", "--api-key", KEY, *more])
    return done.exit_code, done.output


def chosen(tmp_path: Path) -> contexts.Server:
    return contexts.choose(None, "team", {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)


def test_a_key_is_in_the_keyring_and_not_in_the_file(ring: Keyring, server: str, tmp_path: Path) -> None:
    code, said = login(server)
    assert (code, "the system's keyring" in said) == (0, True), said
    assert KEY not in contexts.contexts_path().read_text()
    assert list(ring.kept.values()) == [KEY]
    assert chosen(tmp_path) == contexts.Server(server, KEY, "context team")
    assert CliRunner().invoke(app, ["logout", "--name", "team"]).exit_code == 0
    assert ring.kept == {}


def test_a_changed_file_leads_no_key_to_another_server(ring: Keyring, server: str, tmp_path: Path) -> None:
    assert ring.priority
    login(server)
    known = contexts.load(contexts.contexts_path())
    known["contexts"]["team"]["url"] = "http://elsewhere.invalid"
    contexts.save(contexts.contexts_path(), known)
    with pytest.raises(contexts.ContextError, match="has no key for this context"):
        chosen(tmp_path)


@pytest.mark.parametrize("why", ["not installed", "nothing behind it", "turned off", "--file"])
def test_without_a_keyring_the_key_is_in_a_file_of_its_owner(
    ring: Keyring, server: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if why == "not installed":
        monkeypatch.setitem(sys.modules, "keyring", None)
    if why == "turned off":
        monkeypatch.setenv(key_storage.OFF, "0")
    ring.priority = 0 if why == "nothing behind it" else 5
    code, said = login(server, *(["--file"] if why == "--file" else []))
    path = contexts.contexts_path()
    assert (code, str(path) in said) == (0, True), said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["contexts"]["team"]["api_key"] == KEY
    assert (ring.kept, chosen(tmp_path).api_key) == ({}, KEY)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_keyring_that_fails_is_no_reason_to_fail(
    ring: Keyring, server: str, hangs: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(key_storage, "KEYRING_S", 0.2)
    ring.hangs, ring.locked = (threading.Event(), None) if hangs else (None, RuntimeError("locked"))
    code, said = login(server)
    assert (code, "cannot be used" in said) == (0, True), said
    assert chosen(tmp_path).api_key == KEY
    code, said = login(server, "--keyring")
    assert (code, "Unlock it, or use --file" in said) == (2, True), said
    if ring.hangs is not None:
        ring.hangs.set()


def test_a_keyring_that_is_locked_later_is_named_with_what_to_do(ring: Keyring, server: str, tmp_path: Path) -> None:
    login(server)
    ring.locked = RuntimeError("locked by a person")
    with pytest.raises(contexts.ContextError, match=r"locked by a person.*jelmore login"):
        chosen(tmp_path)
    login(server)  # puts it into the file instead
    assert chosen(tmp_path).api_key == KEY


def test_a_wrong_key_is_kept_nowhere(ring: Keyring, server: str) -> None:
    done = CliRunner().invoke(app, ["login", server, "--name", "team", "--api-key", "wrong"])
    assert (done.exit_code, ring.kept, contexts.contexts_path().exists()) == (1, {}, False)


@pytest.mark.parametrize(("given", "code"), [(f"{KEY}\n", 0), ("\n", 2)])
def test_a_key_is_read_from_a_pipe(ring: Keyring, server: str, given: str, code: int) -> None:
    done = CliRunner().invoke(app, ["login", server, "--name", "team"], input=given)
    assert (done.exit_code, list(ring.kept.values())) == (code, [] if code else [KEY]), done.output
    assert "echoed" not in done.output
