"""The protocol's models are built at their first use, or ahead of it."""

import subprocess
import sys


def test_models_are_built_when_somebody_asks_for_it() -> None:
    program = (
        "from jelmore_protocol.control import Health, Init; from jelmore_protocol.building import build_models; "
        "built = lambda: (Init.__pydantic_complete__, Health.__pydantic_complete__); "
        "print(built()); build_models(); print(built())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:2] == ["(False, False)", "(True, True)"]
