import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.runner.harness import Runner, free_port
from tests.integration.runner.recording_model import RecordingModel, recording_model


@pytest.fixture(scope="session")
def demo_model() -> Iterator[str]:
    """The address of a demo model."""
    port = free_port()
    command = [sys.executable, "-m", "jelmore_demo", "--listen", f"tcp:127.0.0.1:{port}"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport) as client:
            assert client.get(f"http://127.0.0.1:{port}/health").status_code == 200
        yield f"tcp:127.0.0.1:{port}"
        process.terminate()
        process.wait(10)


@pytest.fixture
def runner(demo_model: str) -> Iterator[Runner]:
    """A session folder with a short path; its last process is ended."""
    with tempfile.TemporaryDirectory(prefix="jr-") as folder:
        runner = Runner(Path(folder), demo_model)
        yield runner
        if runner.process is not None and runner.process.poll() is None:
            runner.terminate()
        print(runner.log)


@pytest.fixture
def model(runner: Runner) -> Iterator[RecordingModel]:
    """A model that keeps what it is asked. The runner has it in place of the demo model."""
    with recording_model() as model:
        runner.gateway = model.address
        yield model
