"""What is done on the volume before a process of Claude Code starts."""

import signal

from jelmore_runner import processes
from jelmore_runner.agents.claude.options import Launch
from jelmore_runner.agents.claude.trust import set_trust
from jelmore_runner.safe_files import make_directory_below


def prepare_folders(launch: Launch) -> None:
    """Make the working directory, and record whether the repository's allow rules count. Blocks. Raises OSError."""
    folders = (launch.settings.workspace, launch.directory)
    make_directory_below(launch.settings.session_dir, launch.directory.relative_to(launch.settings.session_dir))
    set_trust(launch.settings.home, folders, trusted=launch.options.repository_rules)


def end_leftovers(launch: Launch) -> None:
    """Kill the agent of an earlier runner that was killed: two agents would corrupt the shared transcript. Blocks."""
    processes.send(signal.SIGKILL, processes.leftovers(launch.marks))
