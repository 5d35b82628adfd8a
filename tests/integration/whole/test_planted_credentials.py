"""Credentials of every kind are used by a session, and are then found in no log, file, process, event, trace or answer.

The credential of the model is looked for in `tests/e2e/test_isolation.py`, and what the engine shows of containers in
`tests/security/test_planted_credentials.py`.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.whole.conftest import LocalStack
from tests.support.planted import answers, outside, plant
from tests.support.stack import wait_for
from tests.support.stack_quickstart import family
from tests.support.trace_receiver import Receiver, trace_receiver

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@contextmanager
def stack_of(receiver: Receiver) -> Iterator[LocalStack]:
    stack = LocalStack(
        JELMORE_RUNTIME="local",
        JELMORE_MAX_SESSIONS="5",
        JELMORE_LOG_LEVEL="debug",
        JELMORE_WEBHOOK_PRIVATE_HOSTS="127.0.0.1",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    stack.start()
    try:
        yield stack
        stack.stop()
    finally:
        stack.discard()


def in_files(folder: Path, text: str) -> list[str]:
    """Return the files below `folder` that hold `text`."""
    search = ["grep", "-rlaF", "-D", "skip", "-f", "-", str(folder)]  # by standard input: no process shows the text
    done = subprocess.run(search, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines()


def in_processes(stack: LocalStack, text: str) -> list[str]:
    """Return which processes of the installation were given `text`."""
    assert stack._process is not None
    found = []
    for pid in [stack._process.pid, *family(stack._process.pid)]:
        for name in ("environ", "cmdline"):
            try:
                held = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue  # it has ended
            found += [f"{pid}/{name}"] if text.encode() in held else []
    return found


def test_planted_credentials_are_nowhere_but_where_they_are_used() -> None:
    with trace_receiver() as receiver, outside() as servers, stack_of(receiver) as stack:
        with stack.client() as http:
            id_ = plant(http, servers)
            wait_for(lambda: receiver.raw, seconds=30, what="traces")
            said = answers(http, id_)
        assert len(said) >= 15, list(said)

        # The search sees what is there.
        assert in_files(stack.folder, "demo> say done")
        assert in_processes(stack, stack.api_key)
        for text in servers.all():
            in_database = stack.data_dir / "postgres"
            allowed = in_database if text == servers.webhook else None  # each call is signed with it
            places = [
                path for path in in_files(stack.folder, text) if allowed is None or allowed not in Path(path).parents
            ]
            assert places == [], text
            assert in_processes(stack, text) == [], text
            assert [path for path, answer in said.items() if text in answer] == [], text
            assert text not in stack.logs()
            assert not any(text.encode() in each for each in receiver.raw), text
            assert not any(text in each for each in servers.hooks), text
        for service in ("gateway", "manager"):
            assert "Max core file size        0 " in Path(f"/proc/{stack.pid(service)}/limits").read_text(), service
