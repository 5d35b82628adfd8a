"""Repositories that the trusted side fetches for sessions. No agent takes part, and no credential comes along."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from jelmore_protocol.gateway import RepositoryRequest


@dataclass(frozen=True, slots=True)
class FetchedRepository:
    """A tar of the repository's `.git` folder, with nothing checked out. `branch` is empty for a tag or a commit."""

    commit: str
    branch: str
    archive: AsyncIterator[bytes]


class RepositorySource(Protocol):
    """Fetches repositories."""

    def fetch(self, asked: RepositoryRequest) -> AbstractAsyncContextManager[FetchedRepository]:
        """Fetch a repository; leaving the context gives it up. May run twice.

        Raises RepositoryError naming the field or what git said, DependencyError while the gateway is away.
        """
