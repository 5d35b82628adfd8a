"""What a terminal owes to its clients, without a process: whom it waits for, and where a slow one continues."""

from typing import Any

from jelmore_protocol.terminal import RING_BYTES, OpenFrame, Stream
from jelmore_protocol.websocket_server import Admission, Client
from jelmore_runner.terminals import terminal as module
from jelmore_runner.terminals.terminal import Terminal

CLIENT = Client(Admission("key", can_write=True), None)


class NoShell:
    """Has no process; keeps the sizes that its screen was given."""

    def __init__(self, *, pty: bool) -> None:
        self.pty = pty
        self.sizes: list[tuple[int, int]] = []

    def read(self, on_output: Any) -> None: ...

    def pause(self) -> None: ...

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))


def made(*, pty: bool = True, keeps: bool = True) -> tuple[Terminal, NoShell]:
    shell = NoShell(pty=pty)
    return Terminal("main", "i", shell, (80, 24), keeps=keeps), shell  # type: ignore[arg-type]


def opening(**fields: Any) -> OpenFrame:
    return OpenFrame(type="open", **fields)


async def test_a_command_is_waited_for_and_a_shell_is_not() -> None:
    for keeps in (True, False):
        terminal, _ = made(pty=False, keeps=keeps)
        assert not terminal.awaited
        with terminal.attached(CLIENT, opening(watch=True), new=False):
            assert terminal.awaited is not keeps
        assert not terminal.awaited
        if terminal._abandoned is not None:
            terminal._abandoned.cancel()


async def test_a_program_draws_again_for_who_comes_late_and_only_then(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "REDRAW_S", 0.0)
    terminal, shell = made()
    with terminal.attached(CLIENT, opening(), new=True):
        pass
    assert shell.sizes == [(80, 24)]
    terminal.ring.add(Stream.STDOUT, b"\x1b[?1049h" + b"x" * RING_BYTES)
    terminal.ring.add(Stream.STDOUT, b"y" * RING_BYTES)
    with terminal.attached(CLIENT, opening(watch=True), new=False) as late:
        output = late.output()
        opened = (await anext(output)).text
        assert (await anext(output)).data == b"\x1b[?1049h"
        assert f'"position":{late.cursor - 8},"end":{terminal.ring.end}' in opened
        assert shell.sizes[1:] == [(80, 23)]
        assert terminal._redrawn is not None
        terminal._full_size()
        assert shell.sizes[-1] == (80, 24)
        await output.aclose()


async def test_a_slow_client_never_gets_bytes_of_another_position() -> None:
    terminal, _ = made()
    with terminal.attached(CLIENT, opening(), new=True) as slow:
        output = slow.output()
        await anext(output)
        for number in range(3):  # the output continues while a frame is sent
            terminal.ring.add(Stream.STDOUT, b"%d" % number * RING_BYTES)
            terminal.ring.add(Stream.STDOUT, b"%d" % number * RING_BYTES)
        gap = await anext(output)
        for number in range(3, 6):
            terminal.ring.add(Stream.STDOUT, b"%d" % number * RING_BYTES)
        piece = await anext(output)
        assert ('"gap"' in gap.text, set(piece.data or b"")) == (True, {ord("2")})
        await output.aclose()
