"""Lets this process import uvicorn without its command line, of which a runner has no use.

`import uvicorn` imports `uvicorn.main`, and that click and multiprocessing: 1.4 MB of memory that no other process
shares, in every sandbox (uvicorn 0.54). Only the runner's own program may do this: what imports uvicorn later in the
same process does not get the names of its command line.
"""

import sys
from types import ModuleType
from typing import Final

_COMMAND_LINE: Final = "uvicorn.main"
_NAMES: Final = ("Server", "main", "run")


def leave_out_command_line() -> None:
    """Call before the first import of uvicorn; afterwards it has no effect. May run twice."""
    if "uvicorn" in sys.modules:
        return
    placeholder = ModuleType(_COMMAND_LINE, __doc__)
    for name in _NAMES:
        setattr(placeholder, name, None)
    sys.modules[_COMMAND_LINE] = placeholder
