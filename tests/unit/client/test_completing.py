"""What a shell completes: asked as the scripts of bash, zsh and fish ask, and by the shells that are here."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jelmore_client.cli import completing

IDS = ("01a22097-10ab-72d2-8fc1-f84723f95382", "01a22097-aaaa-72d2-8fc1-000000001234")


class Sessions(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        titles = ("mend\x1b[31m it", None)
        body = json.dumps([{"id": each, "title": title} for each, title in zip(IDS, titles, strict=True)]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    found = HTTPServer(("127.0.0.1", 0), Sessions)
    thread = threading.Thread(target=found.serve_forever, name="sessions")
    thread.start()
    monkeypatch.setenv("JELMORE_URL", f"http://127.0.0.1:{found.server_port}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    yield found.server_name
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.mark.usefixtures("server")
def test_sessions_are_completed_by_the_end_of_their_id_or_the_whole_of_it() -> None:
    assert completing.sessions("") == [("23f95382", "mend[31m it"), ("00001234", "")]
    assert completing.sessions("23") == [("23f95382", "mend[31m it")]
    assert completing.sessions("01a22097-a") == [(IDS[1], "")]
    assert completing.sessions("zz") == []


def test_a_server_that_is_away_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JELMORE_URL", "http://127.0.0.1:1")
    assert completing.sessions("") == []


def test_contexts_and_actions_are_completed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert completing.context_names("") == []
    file = tmp_path / "jelmore" / "contexts.json"
    file.parent.mkdir()
    file.write_text('{"current": null, "contexts": {"team": {"url": "http://x"}, "home": {"url": "http://y"}}}')
    assert completing.context_names("t") == ["team"]
    file.write_text("[]")
    assert completing.context_names("") == []
    assert completing.words("list", "create")("c") == ["create"]


@pytest.mark.parametrize(("typed", "word"), [("ru", "run"), ("attach 23", "23f95382"), ("keys ro", "rotate")])
@pytest.mark.usefixtures("server")
def test_fish_completes(typed: str, word: str) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish here")
    script = f"jelmore completion fish | source; complete -C 'jelmore {typed}'"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [fish, "--no-config", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split("\t")[0].strip() == word, done.stderr


@pytest.mark.parametrize(
    ("words", "found"), [(("ru",), "run"), (("attach", "23"), "23f95382"), (("completion", "z"), "zsh")]
)
@pytest.mark.usefixtures("server")
def test_bash_completes(words: tuple[str, ...], found: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    typed = " ".join(words)
    script = (
        f"source <(jelmore completion bash); COMP_WORDS=(jelmore {typed}); COMP_CWORD={len(words)};"
        '_jelmore_completion jelmore; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == found, done.stderr
