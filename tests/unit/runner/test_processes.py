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
