"""Runs a manager in a forked process, so that a manager that dies is replaced without loading its code again.

Importing the manager's libraries takes one to two seconds of processor time. This process imports them once and forks,
and the child serves. When a signal kills the child (a crash, the kernel's out-of-memory killer), the next one starts
with the code loaded. The processes share the pages of that code.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

_SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
_PR_SET_PDEATHSIG: Final = 1
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
"""Between children of which each dies within this time."""

_FORK_FAILED: Final = 71
"""The exit status of a child whose code raised an exception: EX_OSERR of sysexits.h."""


def run(serve: Callable[[], int]) -> int:
    """Run `serve` in a child process; return the exit status of the child that ends by itself or on request.

    A child that a signal kills is replaced: at once if it lived for 5 s, else after a pause that grows from 0.1 to 5 s.
    Call it before any thread starts. SIGTERM and SIGINT end the child with SIGTERM. When this process is killed, the
    kernel kills the child; other systems than Linux cannot do this, so there `serve` runs in this process.
    """
    if sys.platform != "linux":
        return serve()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    gc.collect()
    gc.freeze()  # the collector would write to, and so copy, the pages that the children share
    pause_s = 0.0
    while True:
        began = time.monotonic()
        status, is_stopping = _wait(_fork(serve))
        if is_stopping or not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 0
        lived_s = time.monotonic() - began
        pause_s = 0.0 if lived_s > _LONGEST_PAUSE_S else min(max(pause_s * 2, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        _log.error("manager_killed", signal=os.WTERMSIG(status), restart_in_s=pause_s)
        if signal.sigtimedwait(_SIGNALS - {signal.SIGCHLD}, pause_s) is not None:
            return 0


def _fork(serve: Callable[[], int]) -> int:
    """Return the pid of a new child that runs `serve` and exits with its result."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = _FORK_FAILED
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the parent only, which ends the child with one signal
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if os.getppid() == parent:  # else it died before the call above
            status = serve()
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        _log.error("manager_failed", error=repr(error), exc_info=error)
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait(pid: int) -> tuple[int, bool]:
    """Wait for the child's end; return its wait status and whether a signal to this process asked for the end."""
    is_stopping = False
    while True:
        if signal.sigwait(_SIGNALS) != signal.SIGCHLD:
            is_stopping = True
            os.kill(pid, signal.SIGTERM)  # not reaped yet, so the pid is its own
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status, is_stopping
