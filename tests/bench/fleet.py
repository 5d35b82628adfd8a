"""`python -m tests.bench.fleet`: simulate a day of many sessions on a fleet of hosts.

Every host is an installation of its own, and a session stays on its host, where its workspace is. People come back to
their sessions during the working day; a conversation is a number of turns with pauses between. A session that works
or has just worked is awake and holds memory; after `--idle` minutes it is frozen, and its memory can be had for
another session by hibernating it; after `--sleep` more it is hibernated and costs a row and its workspace. Somebody
whose host has no memory left for a wake waits until another session can be put to sleep.

The defaults are the figures of docs/scaling.md. Nothing here runs a session: the figures of one come from `make bench`.
"""

import argparse
import heapq
import math
import random
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from tests.bench.table import aligned, number

_DAY_S: Final = 86_400.0
_WORK_BEGINS_S: Final = 8 * 3600.0
_WORK_ENDS_S: Final = 18 * 3600.0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What people do, and what a session costs. Seconds and MiB."""

    sessions: int = 100_000
    hosts: int = 50
    host_memory_mib: float = 64 * 1024
    reserved_mib: float = 4 * 1024
    session_mib: float = 250.0
    used_a_day: float = 0.3
    conversations: float = 3.0
    turns: float = 8.0
    turn_s: float = 40.0
    pause_s: float = 90.0
    idle_s: float = 600.0
    sleep_s: float = 1200.0
    seed: int = 1

    @property
    def slots(self) -> int:
        """How many sessions of a host may be awake or frozen at once."""
        return int((self.host_memory_mib - self.reserved_mib) // self.session_mib)


@dataclass(slots=True)
class Host:
    """A host and its day. A session is working, idle (awake or frozen, since when) or hibernated."""

    slots: int
    working: int = 0
    idle: dict[int, float] = field(default_factory=dict)  # in the order in which they became idle
    waiting: deque[tuple[float, int, int]] = field(default_factory=deque)
    most_working: int = 0
    most_held: int = 0
    wakes: int = 0
    hits: int = 0
    put_to_sleep: int = 0
    waits_s: list[float] = field(default_factory=list)

    def held(self) -> int:
        """Return how many sessions hold memory."""
        return self.working + len(self.idle)


type _Event = tuple[float, int, int]  # when, which session, turns left


def simulate_host(assumed: Assumptions, sessions: int, seed: int) -> Host:
    """Return the day of one host with that many sessions."""
    chance = random.Random(seed)
    host = Host(assumed.slots)
    begins: list[_Event] = [
        (chance.uniform(_WORK_BEGINS_S, _WORK_ENDS_S), session, _turns(chance, assumed))
        for session in range(sessions)
        if chance.random() < assumed.used_a_day
        for _ in range(max(1, round(chance.expovariate(1 / assumed.conversations))))
    ]
    heapq.heapify(begins)
    ends: list[_Event] = []
    busy: set[int] = set()
    while begins or ends:
        if ends and (not begins or ends[0][0] <= begins[0][0]):
            now, session, left = heapq.heappop(ends)
            host.working -= 1
            host.idle[session] = now
            busy.discard(session)
            if left > 1:
                heapq.heappush(begins, (now + chance.expovariate(1 / assumed.pause_s), session, left - 1))
            _serve_waiting(host, chance, assumed, ends, busy, now)
            continue
        now, session, left = heapq.heappop(begins)
        if session in busy:  # two conversations of one session: its queue takes the later one
            heapq.heappush(begins, (now + assumed.turn_s, session, left))
            continue
        _expire(host, assumed, now)
        busy.add(session)
        if not _start(host, chance, assumed, ends, now, now, session, left):
            host.waiting.append((now, session, left))
    return host


def _start(
    host: Host,
    chance: random.Random,
    assumed: Assumptions,
    ends: list[_Event],
    asked: float,
    now: float,
    session: int,
    left: int,
) -> bool:
    """Begin a turn if there is memory, which an idle session may have to give."""
    if host.idle.pop(session, None) is not None:
        host.hits += 1
    else:
        if host.held() >= host.slots:
            if not host.idle:
                return False
            del host.idle[next(iter(host.idle))]
            host.put_to_sleep += 1
        host.wakes += 1
    host.working += 1
    host.waits_s.append(now - asked)
    host.most_working = max(host.most_working, host.working)
    host.most_held = max(host.most_held, host.held())
    heapq.heappush(ends, (now + chance.expovariate(1 / assumed.turn_s), session, left))
    return True


def _serve_waiting(
    host: Host, chance: random.Random, assumed: Assumptions, ends: list[_Event], busy: set[int], now: float
) -> None:
    while host.waiting:
        asked, session, left = host.waiting[0]
        if not _start(host, chance, assumed, ends, asked, now, session, left):
            return
        host.waiting.popleft()
        busy.add(session)


def _expire(host: Host, assumed: Assumptions, now: float) -> None:
    """Hibernate what has been idle for long enough."""
    while host.idle:
        session, since = next(iter(host.idle.items()))
        if now - since < assumed.idle_s + assumed.sleep_s:
            return
        del host.idle[session]


def _turns(chance: random.Random, assumed: Assumptions) -> int:
    return max(1, round(chance.expovariate(1 / assumed.turns)))


def report(assumed: Assumptions) -> str:
    """Simulate the fleet; return a table."""
    each = math.ceil(assumed.sessions / assumed.hosts)
    hosts = [simulate_host(assumed, each, assumed.seed * 10_000 + place) for place in range(assumed.hosts)]
    waits = sorted(wait for host in hosts for wait in host.waits_s)
    turns = len(waits)
    waited = sum(wait > 0 for wait in waits)
    rows = [
        ["sessions for each host", number(each)],
        ["slots of a host", number(assumed.slots)],
        ["most that worked at once, of all hosts", number(max(host.most_working for host in hosts))],
        ["most that held memory at once, of all hosts", number(max(host.most_held for host in hosts))],
        ["turns that day", number(turns)],
        ["… that woke a session", number(sum(host.wakes for host in hosts))],
        ["… that found it awake or frozen", number(sum(host.hits for host in hosts))],
        ["sessions put to sleep to make room", number(sum(host.put_to_sleep for host in hosts))],
        ["turns that waited for memory, of 1,000", number(1000 * waited / max(turns, 1))],
        ["longest wait of 99 in 100 turns, s", number(waits[int(0.99 * turns)] if turns else 0)],
        ["longest wait of all, s", number(waits[-1] if turns else 0)],
    ]
    return aligned([["a day of the fleet", "figure"], *rows], frozenset({0}))


def main(arguments: list[str] | None = None) -> int:
    """Print the simulation of what the options say."""
    plain = Assumptions()
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__.partition("\n")[0])
    for name, kind, text in (
        ("sessions", int, "sessions of the fleet"),
        ("hosts", int, "hosts, each an installation"),
        ("host-memory-mib", float, "memory of a host"),
        ("reserved-mib", float, "of it for the services and the system"),
        ("session-mib", float, "memory of a session that is awake or frozen"),
        ("used-a-day", float, "share of the sessions that are used on a day"),
        ("conversations", float, "conversations a day of such a session, on average"),
        ("turns", float, "turns of a conversation, on average"),
        ("turn-s", float, "seconds of a turn, on average"),
        ("pause-s", float, "seconds between turns, on average"),
        ("idle-s", float, "seconds until a session is frozen"),
        ("sleep-s", float, "further seconds until it is hibernated"),
        ("seed", int, "of the random numbers"),
    ):
        default = getattr(plain, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{text} ({default:g})")
    assumed = Assumptions(**vars(parser.parse_args(arguments)))
    if min(assumed.sessions, assumed.hosts, assumed.slots) < 1 or assumed.turn_s <= 0 or assumed.pause_s <= 0:
        parser.error("sessions, hosts, the memory for sessions and the times must be more than 0")
    print(report(assumed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
