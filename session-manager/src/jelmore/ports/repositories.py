"""Repositories that the trusted side fetches for sessions and pushes to. No credential reaches an agent."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from jelmore_protocol.gateway import Pushed, PushRequest, RepositoryRequest


@dataclass(frozen=True, slots=True)
class FetchedRepository:
    """A tar of the repository's `.git` folder, with nothing checked out. `branch` is empty for a tag or a commit."""

    commit: str
    branch: str
    archive: AsyncIterator[bytes]


class RepositorySource(Protocol):
    """Fetches repositories, and pushes branches."""

    def fetch(self, asked: RepositoryRequest) -> AbstractAsyncContextManager[FetchedRepository]:
        """Fetch a repository; leaving the context gives it up. May run twice.

        Raises RepositoryError naming the field or what git said, DependencyError while the gateway is away.
        """

    async def push(self, asked: PushRequest, bundle: AsyncIterator[bytes]) -> Pushed:
        """Push HEAD of a bundle to a branch, without force. May run twice.

        Raises ConflictError when the branch has other commits, RepositoryError naming the field or what git said,
        DependencyError while the gateway is away, and what the bundle raises.
        """
