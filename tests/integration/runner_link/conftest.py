"""Where a scripted runner listens."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jelmore.ports import ControlAddress
from tests.integration.runner_link.scripted_runner import SESSION_ID


@pytest.fixture
def at() -> Iterator[ControlAddress]:
    folder = Path(tempfile.mkdtemp(prefix="jm-"))
    yield ControlAddress(f"unix:{folder}/control.sock", SESSION_ID, 1)
    shutil.rmtree(folder)
