"""One running installation for the tests of this folder: the real services and the real Claude Code, without an engine.

Sessions are plain processes (`JELMORE_RUNTIME=local`), and the demo model answers.
"""

import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.support.stack_quickstart import QuickStart


class LocalStack(QuickStart):
    """The quick start with local sessions: it leaves nothing with an engine."""

    def discard(self) -> None:
        """Stop the model and remove the data."""
        if self._model is not None:
            self._model.terminate()
            self._model.wait(10)
            self._model = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> httpx.Client:
        """Return a client with the admin key."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": self.api_key}, timeout=60)


@pytest.fixture(scope="module")
def running() -> Iterator[LocalStack]:
    """A running installation for each file: one of them calls every operation with whatever comes to mind."""
    stack = LocalStack(
        JELMORE_RUNTIME="local",
        JELMORE_MAX_SESSIONS="20",
        JELMORE_LOG_LEVEL="warning",
        JELMORE_CORS_ORIGINS="https://app.example",
        JELMORE_WEBHOOK_PRIVATE_HOSTS="127.0.0.1",
    )
    stack.start()
    yield stack
    stack.stop()
    stack.discard()
