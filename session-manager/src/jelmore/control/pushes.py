"""Pushes the commits of a workspace to a branch. The workspace gives a bundle; the gateway has the credential.

A push is bound to branches with the deployment's prefix and never uses force, so it can replace nobody's work.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from jelmore.control.gateway_keeper import profile_name
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.control.workspaces import Workspaces
from jelmore.ports import RepositorySource
from jelmore.session.errors import ConflictError, ForbiddenError, InvalidRequestError, RepositoryError
from jelmore_protocol.gateway import PushRequest

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MAX_SHALLOW: Final = 1000


@dataclass(frozen=True, slots=True)
class WantedPush:
    """A push as it is asked for. Without a URL, to the repository that the session began with."""

    branch: str
    credential: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class PushResult:
    """A branch that its server has. `pushed` is false when it had the commit already."""

    url: str
    branch: str
    commit: str
    pushed: bool


class Pushes:
    """Pushes from workspaces. `prefix` is how the name of a branch must begin; empty for any."""

    def __init__(
        self,
        source: RepositorySource,
        queries: SessionQueries,
        workspaces: Workspaces,
        *,
        prefix: str,
        most_bytes: int,
    ) -> None:
        self._source = source
        self._queries = queries
        self._workspaces = workspaces
        self._prefix = prefix
        self._most_bytes = most_bytes

    async def push(self, caller: Caller, session_id: UUID, wanted: WantedPush) -> PushResult:
        """Push HEAD of the workspace. May run twice: the second one finds the commit there.

        Raises ForbiddenError, UnknownSessionError, InvalidRequestError for the branch, ConflictError without a
        repository or commit and when the branch has other commits, RepositoryError, DependencyError, and what a call
        on the workspace raises.
        """
        caller.check_may_write()
        if caller.token_subject is not None:
            raise ForbiddenError("a push uses a credential, so it needs an API key and not a token of the session")
        session = await self._queries.get(caller, session_id)
        if not wanted.branch.startswith(self._prefix):
            raise InvalidRequestError(f"branch: must begin with {self._prefix!r} (JELMORE_PUSH_PREFIX)")
        own = str(session.spec.repository.get("url", ""))
        url = wanted.url or own
        if not url:
            raise ConflictError("the session was not created with a repository; give the `url` to push to")
        asked = PushRequest(
            url=url,
            branch=wanted.branch,
            credential=wanted.credential,
            registered=url != own,
            user_id=session.spec.acting_user,
            profile=profile_name(session),
            max_bytes=self._most_bytes,
        )
        async with self._workspaces.call(session, {"op": "bundle", "from": ""}) as answer:
            try:
                complete = asked.model_copy(update={"shallow": _shallow(answer.head)})
                result = await self._source.push(complete, answer.content)
            except RepositoryError as error:
                raise RepositoryError(str(error).removeprefix("repository.")) from None
        return PushResult(url, wanted.branch, result.commit, result.pushed)


def _shallow(head: Mapping[str, Any]) -> list[str]:
    """Return the commits at which the workspace says that its history begins. Raises ConflictError for too many."""
    found = head.get("shallow") or []
    if not isinstance(found, list) or not all(isinstance(each, str) and _COMMIT.fullmatch(each) for each in found):
        raise ConflictError("the workspace's repository has a file `shallow` that names no commits")
    if len(found) > _MAX_SHALLOW:
        raise ConflictError(
            f"the history begins at more than {_MAX_SHALLOW} commits; fetch its bundle, or create it without depth"
        )
    return found
