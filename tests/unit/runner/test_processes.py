import subprocess
import sys

# In a process of its own: whoever collects every dead child must not do so beside other tests.
SCRIPT = """
import os
from jelmore_runner import processes

def ended_child(code):
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

for _ in range(50):
    ended_child(0)
assert processes.reap_adopted(None, 20) == 20
assert processes.reap_adopted(None) == 30
kept = ended_child(7)
assert processes.reap_adopted(kept) == 0
assert os.waitstatus_to_exitcode(os.waitpid(kept, 0)[1]) == 7
awaited = ended_child(9)
processes.AWAITED.add(awaited)
assert processes.reap_adopted(None) == 0
assert os.waitstatus_to_exitcode(os.waitpid(awaited, 0)[1]) == 9
assert processes.reap_adopted(None) == 0
"""


def test_all_dead_children_are_collected_but_the_one_that_somebody_waits_for() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


# Without the signal, the next look would come after a minute.
STORM = """
import asyncio, os, time
from types import SimpleNamespace
from jelmore_runner import process

process.REAP_EVERY_S = 60
runner = SimpleNamespace(
    agent_pid=os.getpid(), helpers=SimpleNamespace(starting=False), spawns=SimpleNamespace(starting=False)
)

async def storm():
    reaper = asyncio.create_task(process.reap(runner))
    await asyncio.sleep(0)
    for _ in range(15):
        for _ in range(100):
            if os.fork() == 0:
                os._exit(0)
        await asyncio.sleep(0)
    until = time.monotonic() + 20
    while left() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    assert not left(), left()
    reaper.cancel()

def left():
    with open("/proc/self/task/%d/children" % os.getpid()) as children:
        return len(children.read().split())

asyncio.run(storm())
"""


def test_many_short_orphans_are_collected_as_they_end() -> None:
    ended = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
