"""The client as others get it: a wheel, which is all that `pip install`, `pipx` and `uvx` have."""

import statistics
import subprocess
import sys
import time
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

CLIENT = Path(__file__).resolve().parents[3] / "client"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy: a build leaves folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "client"
    subprocess.run(["cp", "-r", str(CLIENT), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run([*build, str(source)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_names_the_command_and_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        read = Parser().parsestr(archive.read(metadata).decode())
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "jelmore = jelmore_client.cli:main" in archive.read(entry_points).decode()
    assert {"cli", "terminal", "mcp", "acp", "keyring"} == set(read.get_all("Provides-Extra") or [])
    needed = [each.split(">")[0] for each in read.get_all("Requires-Dist") or [] if "extra ==" not in each]
    assert sorted(needed) == ["httpx", "pydantic"]
    there = {
        Path(name).relative_to("jelmore_client").as_posix() for name in names if name.startswith("jelmore_client/")
    }
    here = CLIENT / "src" / "jelmore_client"
    assert there >= {path.relative_to(here).as_posix() for path in here.rglob("*.py")} | {"py.typed"}


def test_the_command_of_the_wheel_answers_at_once(wheel: Path, tmp_path: Path) -> None:
    """The bound is a ratio to an empty program, because machines differ: 150 ms where Python starts in 10 ms."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin:/bin"}

    def seconds(*words: str) -> float:
        took = []
        for _ in range(7):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, check=True, timeout=60
            )
            took.append(time.monotonic() - began)
        assert words[0] == "-c" or b"Commands:" in done.stdout
        return statistics.median(took)

    assert seconds("-m", "jelmore_client.cli", "--help") < 15 * seconds("-c", "pass")
