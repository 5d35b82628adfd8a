"""A runner imports uvicorn without its command line, which costs memory in every sandbox."""

import subprocess
import sys

_PROGRAM = (
    "import sys; from jelmore_runner.uvicorn_import import leave_out_command_line; {call}"
    "from jelmore_runner.process import run; from jelmore_runner.serving import Server; "
    "print(sorted({{'click', 'multiprocessing'}} & set(sys.modules)), Server.__mro__[1].__module__)"
)


def imported(call: str) -> str:
    command = [sys.executable, "-P", "-c", _PROGRAM.format(call=call)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_command_line_is_left_out_and_the_server_is_there() -> None:
    assert imported("leave_out_command_line(); leave_out_command_line(); ") == "[] uvicorn.server"


def test_a_process_that_imported_uvicorn_before_keeps_all_of_it() -> None:
    found = imported("import uvicorn; leave_out_command_line(); assert uvicorn.Server and uvicorn.main; ")
    assert found == "['click', 'multiprocessing'] uvicorn.server"
