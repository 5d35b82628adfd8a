"""A manager raises its limit of open files when it starts."""

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jelmore.api.stream_limits import MAX_FILES, allow_many_files
from jelmore.drivers.paths import RunPaths
from jelmore.serve import claim_slot, serve
from jelmore.session.errors import RefusedError
from jelmore.settings import Settings
from tests.integration.test_accepting import MAX_OPEN, few_descriptors

pytestmark = pytest.mark.integration


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="jm-") as path:
        yield Path(path)


def test_a_manager_may_open_as_many_files_as_the_system_allows(folder: Path) -> None:
    paths = RunPaths(folder)
    paths.prepare()
    claim_slot(paths, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with few_descriptors():
        with pytest.raises(RefusedError, match="JELMORE_MANAGER_SLOT=0"):
            serve(Settings(run_dir=folder, manager_slot=0))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert (soft > MAX_OPEN, soft, hard) == (True, min(most, MAX_FILES), most)
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
