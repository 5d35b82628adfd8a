"""The modes that a program has switched its terminal to, so that they survive the output that set them. Pure.

A full-screen program sets them once: its own screen, the form of the arrow keys, mouse reports. Who connects after that
part of the output has been dropped would not have them. Only these sequences are looked for; nothing is a screen here.
"""

import re
from typing import Final

_SEQUENCE: Final = re.compile(rb"\x1b(?:\[\?([0-9;]{1,40})([hl])|([=>])|(c|\[!p))")
_BEGINNING: Final = re.compile(rb"\x1b(?:\[(?:\?[0-9;]{0,40}|!)?)?\Z")
"""A sequence that the end of a piece cuts."""

_SCREENS: Final = (47, 1047, 1049)
_KEPT: Final = frozenset({1, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004, *_SCREENS})
"""Arrow keys, mouse, focus, pasted text, the second screen. Others are drawn again with the screen."""

_SHOWN_CURSOR: Final = 25


class ScreenModes:
    """What is switched on after the bytes so far."""

    def __init__(self) -> None:
        self._on: set[int] = set()
        self._keypad = False
        self._cursor_hidden = False
        self._cut = b""

    def copy(self) -> "ScreenModes":
        """Return modes of their own that are the same now."""
        made = ScreenModes()
        made._on, made._keypad, made._cursor_hidden, made._cut = (
            set(self._on),
            self._keypad,
            self._cursor_hidden,
            self._cut,
        )
        return made

    def feed(self, data: bytes) -> None:
        """Learn from the next bytes."""
        text = self._cut + data
        for private, action, keypad, reset in _SEQUENCE.findall(text):
            if reset:
                self._on, self._keypad, self._cursor_hidden = set(), False, False
            elif keypad:
                self._keypad = keypad == b"="
            else:
                self._switch([int(each) for each in private.split(b";") if each], on=action == b"h")
        cut = _BEGINNING.search(text)
        self._cut = cut[0] if cut is not None else b""

    def _switch(self, modes: list[int], *, on: bool) -> None:
        for mode in modes:
            if mode == _SHOWN_CURSOR:
                self._cursor_hidden = not on
            elif mode in _KEPT:
                (self._on.add if on else self._on.discard)(mode)

    def restore(self) -> bytes:
        """Return the sequences that switch a fresh terminal to these modes, the screen first."""
        order = [*(mode for mode in _SCREENS if mode in self._on), *sorted(self._on - set(_SCREENS))]
        switched = b"".join(b"\x1b[?%dh" % mode for mode in order)
        return switched + b"\x1b=" * self._keypad + b"\x1b[?25l" * self._cursor_hidden
