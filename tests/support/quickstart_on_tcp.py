"""`python -m tests.support.quickstart_on_tcp`: the quick start, with the manager of `manager_on_tcp`."""

import asyncio
import sys

from jelmore.embedded import quickstart
from jelmore.embedded.children import ManagerProcess
from jelmore.settings import load_settings


class ManagerOnTcp(ManagerProcess):
    """The manager with another driver."""

    def command(self) -> list[str]:
        """Return its command line."""
        return [sys.executable, "-m", "tests.support.manager_on_tcp"]


if __name__ == "__main__":
    setattr(quickstart, "ManagerProcess", ManagerOnTcp)  # noqa: B010 - it offers no other way to choose it
    sys.exit(asyncio.run(quickstart.run(load_settings())))
