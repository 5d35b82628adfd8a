"""The quick start says where it is only when it can be reached there."""

import io
import socket
from pathlib import Path

import pytest

from jelmore.embedded.quickstart import QuickStartError, _elsewhere, _welcome, plan, reachable
from jelmore.embedded.service import reason_in
from jelmore.settings import Settings


async def test_a_listening_address_is_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        await reachable(f"127.0.0.1:{server.getsockname()[1]}", within_s=10)


async def test_an_address_that_nobody_listens_on_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: nobody else can begin to listen there
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(QuickStartError, match=f"JELMORE_HTTP_LISTEN: nothing accepts connections on {listen}"):
            await reachable(listen, within_s=0.2)


class Terminal(io.StringIO):
    """A stream that is shown to a person."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal(), True), (io.StringIO(), False)], ids=["terminal", "log"])
def test_the_key_is_shown_on_a_terminal_and_kept_out_of_logs(
    stream: io.StringIO, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output that is no terminal is kept: by a service manager's journal, or as the log of a container."""
    plans = plan(Settings(_env_file=None, data_dir=tmp_path / "data"), {})
    monkeypatch.setattr("sys.stdout", stream)
    _welcome(plans)
    assert (plans.api_key in stream.getvalue()) is shown
    assert str(tmp_path / "data" / "env") in stream.getvalue()


def test_of_a_log_in_json_the_error_alone_is_shown() -> None:
    lines = [
        '{"event": "Started server process", "level": "info"}',
        '{"error": "postgres: restore the database", "event": "manager_failed", "level": "error"}',
        '{"event": "Shutting down", "level": "info"}',
    ]
    assert reason_in("\n".join(lines)) == "postgres: restore the database"
    assert reason_in("FATAL: the port is taken\n7") == "FATAL: the port is taken\n7"


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("192.168.1.7:8080", "http://192.168.1.7:8080"),
    ],
)
def test_the_url_of_a_server_that_listens_everywhere_is_one_that_opens(listen: str, url: str, tmp_path: Path) -> None:
    assert plan(Settings(_env_file=None, data_dir=tmp_path / "data", http_listen=listen), {}).url == url


def test_the_address_for_a_phone_is_printed_where_the_server_listens_for_it() -> None:
    assert _elsewhere("127.0.0.1:8080") == ""
    said = _elsewhere("0.0.0.0:8080")
    assert said == "" or (":8080   (from other devices" in said and "0.0.0.0" not in said)
