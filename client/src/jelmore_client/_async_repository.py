"""What became of a session's workspace, asynchronously. `_sync_repository.py` is generated from this file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jelmore_client._async_files import TRANSFER_TIMEOUT_S
from jelmore_client.core.requests import Request, compared
from jelmore_client.models import Commit, Diff, Pushed

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore


REWIND_TIMEOUT_S: Final = 180.0


class AsyncSessionRepository:
    """The calls of a session on the changes in its workspace."""

    _client: "AsyncJelmore"

    def _path(self, *parts: str) -> str:
        raise NotImplementedError

    async def diff(self, *, against: str | None = None, turn: str | int | None = None) -> Diff:
        """Return what differs between a commit and the workspace, uncommitted and new files included.

        `against` is a commit, branch or tag, or "start" for the commit of the create's `repository`; None is the last
        commit. With `turn`, the seq or the input id of a prompt, it is the workspace as it was before that turn, which
        needs no repository. Raises ConflictError without a repository, a start or a snapshot of the turn, NotFoundError
        without such a commit or input.
        """
        request = Request("GET", self._path("diff"), params=compared(against, turn), timeout_s=TRANSFER_TIMEOUT_S)
        return Diff.read(await self._client.request(request))

    async def patch(self, *, against: str | None = None, turn: str | int | None = None) -> bytes:
        """Return the same as `diff` as a patch for `git apply`. It is held in memory. Raises as `diff` does."""
        request = Request("GET", self._path("patch"), params=compared(against, turn), timeout_s=TRANSFER_TIMEOUT_S)
        return (await self._client.send(request)).content

    async def rewind(self, to_seq: int, *, files: bool = True, conversation: bool = True) -> int:
        """Take files and conversation back to before the prompt whose output is `to_seq`; may be called twice.

        Returns the seq of the output that records it. Raises ConflictError while a turn runs or inputs wait, without a
        snapshot of that turn, and when the conversation has no such prompt; nothing has changed then.
        """
        body = {"to_seq": to_seq, "files": files, "conversation": conversation}
        request = Request("POST", self._path("rewind"), json=body, timeout_s=REWIND_TIMEOUT_S)
        return int((await self._client.request(request))["seq"])

    async def bundle(self, target: Path, *, against: str | None = None) -> int:
        """Write the workspace's commits after `against` (None: all) to `target` as a git bundle; return its bytes.

        `git fetch TARGET HEAD:a-branch` takes them into a repository. Uncommitted changes are not in it: `commit`
        first. Raises ConflictError when there is no such commit; a failure leaves what was at `target`.
        """
        request = Request("GET", self._path("bundle"), params=compared(against), timeout_s=TRANSFER_TIMEOUT_S)
        return await self._client.save(request, target)

    async def commit(self, message: str, *, author: Mapping[str, str] | None = None) -> Commit:
        """Commit everything in the workspace that its repository does not ignore. `author` has name and email."""
        body = {"message": message, **({} if author is None else {"author": dict(author)})}
        request = Request("POST", self._path("commit"), json=body, timeout_s=TRANSFER_TIMEOUT_S)
        return Commit.read(await self._client.request(request))

    async def push(self, branch: str, *, url: str | None = None, credential: str | None = None) -> Pushed:
        """Let the server push the workspace's commits to `branch`, without force; may be called twice.

        `url` is by default the repository that the session started from, `credential` a name that the server knows.
        Raises ConflictError when the branch has other commits, InvalidRequestError when the git host refuses.
        """
        given = {"branch": branch, "url": url, "credential": credential}
        body = {name: value for name, value in given.items() if value is not None}
        request = Request("POST", self._path("push"), json=body, timeout_s=TRANSFER_TIMEOUT_S)
        return Pushed.read(await self._client.request(request))
