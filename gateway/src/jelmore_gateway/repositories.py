"""Fetches repositories for sessions and pushes their branches. Git is a process that knows one server and credential.

Nothing of a fetched repository runs here: no file of it is checked out. The session's own sandbox does that.
"""

import asyncio
import os
import shutil
import tarfile
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog

from jelmore_gateway.addresses import GuardedResolver, denial
from jelmore_gateway.egress.resolver import OwnAddresses
from jelmore_gateway.named_routes import find_credential
from jelmore_gateway.oauth import OAuthError
from jelmore_gateway.repository_rules import (
    RepositoryRefusedError,
    Source,
    bundled_head,
    check_branch,
    check_ref,
    git_environment,
    header_of,
    pushed_of,
    refusal_of,
    remote_words,
    shallow_text,
    source_of,
    wanted_of,
)
from jelmore_gateway.route_credentials import RouteCredentials
from jelmore_gateway.vault import VaultError
from jelmore_protocol.gateway import (
    REPOSITORY_FETCH_S,
    GatewayConfig,
    Pushed,
    PushRequest,
    RepositoryAccess,
    RepositoryRequest,
    SandboxEntry,
)

_log = structlog.get_logger(__name__)

MAX_AT_ONCE: Final = 4
_LIST_S: Final = 60.0
_CHECK_INTERVAL_S: Final = 0.25
_PUSH_COPIES: Final = 3
"""A push holds the bundle, what is unpacked of it, and the index of that."""

_GIT_MEMORY_BYTES: Final = 2 * 1024**3
"""Address space of a git command: a few kilobytes of a bundle, which an agent makes, unpack to as much as they say."""

_BOUNDED_GIT: Final = (
    '{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null; ulimit -c 0; ulimit -v "$1" && shift && exec git "$@"'
)
"""When memory is short, the kernel ends git, and not the gateway."""

_MAX_PRINTED_BYTES: Final = 1024 * 1024
"""Limit of what a git command prints, which its server may choose: refs, and messages."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched repository: a tar of its `.git` folder, its commit, and its branch or an empty text."""

    archive: Path
    commit: str
    branch: str


class Repositories:
    """Fetches for all sessions. `folder` holds what is being fetched; nothing in it outlives its fetch."""

    def __init__(self, folder: Path, config: Callable[[], GatewayConfig], credentials: RouteCredentials) -> None:
        self._folder = folder
        self._config = config
        self._credentials = credentials
        self._own = OwnAddresses()
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)

    def clear(self) -> None:
        """Remove what an interrupted gateway left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @asynccontextmanager
    async def fetched(self, asked: RepositoryRequest) -> AsyncGenerator[Fetched]:
        """Yield a fetched repository, which is removed afterwards. Raises RepositoryRefusedError, OSError."""
        config = self._config()
        source = source_of(asked, config)
        check_ref(asked.ref)
        async with self._git(source, asked, config, asked.max_bytes) as git:
            try:
                async with asyncio.timeout(REPOSITORY_FETCH_S):
                    found = await _fetch(git, source, asked)
            except TimeoutError:
                late = f"repository.url: was not fetched within {REPOSITORY_FETCH_S:g} s"
                raise RepositoryRefusedError(late) from None
            yield found

    async def push(self, asked: PushRequest, bundle: AsyncIterator[bytes]) -> Pushed:
        """Push HEAD of a bundle to a branch, without force. May run twice.

        Raises PushRejectedError, RepositoryRefusedError, OSError, and what reading the bundle raises.
        """
        config = self._config()
        source = source_of(asked, config)
        check_branch(asked.branch)
        if asked.registered and source.route is None:
            raise RepositoryRefusedError("repository.url: is not the session's own, and no git route leads to it")
        async with self._git(source, asked, config, _PUSH_COPIES * asked.max_bytes) as git:
            try:
                async with asyncio.timeout(REPOSITORY_FETCH_S):
                    return await _push(git, source, asked, bundle)
            except TimeoutError:
                late = f"repository.url: the branch was not pushed within {REPOSITORY_FETCH_S:g} s"
                raise RepositoryRefusedError(late) from None

    @asynccontextmanager
    async def _git(
        self, source: Source, asked: RepositoryAccess, config: GatewayConfig, max_bytes: int
    ) -> AsyncGenerator["_Git"]:
        """Yield git in a folder of its own that can reach the source alone, once there is room for it."""
        secret = await self._credential(source, asked, config)
        async with self._at_once:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                header = None if secret is None or source.route is None else header_of(source.route, secret)
                environment = git_environment(source, await self._addresses(source), header)
                yield _Git(work, environment, asked.credential, [secret] if secret else [], max_bytes)
            finally:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))

    async def _addresses(self, source: Source) -> list[str]:
        """Return the checked addresses of the server. Raises RepositoryRefusedError."""
        try:
            address = str(ip_address(source.host))
        except ValueError:
            resolver = GuardedResolver(private=source.private, own_addresses=self._own)
            try:
                return [each["host"] for each in await resolver.resolve(source.host, source.port)]
            except OSError as error:
                raise RepositoryRefusedError(f"repository.url: {source.host}: {error.strerror or error}") from None
            finally:
                await resolver.close()
        why = denial(address, private=source.private, own=() if source.private else self._own())
        if why is not None:
            raise RepositoryRefusedError(f"repository.url: {address} may not be reached ({why})")
        return [address]

    async def _credential(self, source: Source, asked: RepositoryAccess, config: GatewayConfig) -> str | None:
        if not asked.credential or source.route is None:
            return None
        whose = SandboxEntry(key="", session_id="", generation=1, user_id=asked.user_id)
        sealed = find_credential(asked.credential, whose, config.credentials)
        if sealed is None:
            raise RepositoryRefusedError(f"repository.credential: {asked.credential!r} is not set")
        try:
            return await self._credentials.open(sealed)
        except VaultError as error:
            _log.error("credential_not_opened", route=source.route.name, error=str(error))
            raise RepositoryRefusedError(f"repository.credential: {asked.credential!r} cannot be opened") from None
        except OAuthError as error:
            raise RepositoryRefusedError(f"repository.credential: {asked.credential!r}: {error}") from None


class _Git:
    """Git commands in one folder, which may not grow beyond `max_bytes`."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], credential: str | None, secrets: list[str], max_bytes: int
    ) -> None:
        self.folder = folder
        self._credential = credential  # its name
        self._secrets = secrets
        self.max_bytes = max_bytes
        kept = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
        self._environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            **environment,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }

    async def run(self, *arguments: str) -> str:
        """Return what a command prints. Raises RepositoryRefusedError with its last words."""
        code, out, errors = await self.outcome(*arguments)
        if code:
            raise self.failure(errors)
        return out

    def failure(self, errors: str) -> RepositoryRefusedError:
        """Return the error with the last words of a command."""
        return refusal_of(errors, self._credential, self._secrets)

    def remote_words(self, errors: str) -> str:
        """Return what the server printed, from what a command printed."""
        return remote_words(errors, self._secrets)

    async def outcome(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code of a command and what it prints. Raises RepositoryRefusedError beyond a bound."""
        if shutil.which("git", path=self._environment.get("PATH")) is None:
            raise RepositoryRefusedError("repository: git is not installed where the gateway runs")
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _BOUNDED_GIT,
            "git",
            str(_GIT_MEMORY_BYTES // 1024),
            *arguments,
            cwd=self.folder,
            env=self._environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        watch = asyncio.create_task(self._end_when_large(process), name="size of a fetch")
        try:
            out, errors = await asyncio.gather(_text_of(process, process.stdout), _text_of(process, process.stderr))
            await process.wait()
        finally:
            watch.cancel()
            _kill(process)
        if out is None or errors is None:
            raise RepositoryRefusedError(
                f"repository.url: its server makes git print more than {_MAX_PRINTED_BYTES} bytes"
            )
        if self._bytes() > self.max_bytes:
            raise RepositoryRefusedError(f"repository.url: has more than {self.max_bytes} bytes")
        return process.returncode or 0, out, errors

    async def _end_when_large(self, process: asyncio.subprocess.Process) -> None:
        while await asyncio.to_thread(self._bytes) <= self.max_bytes:
            await asyncio.sleep(_CHECK_INTERVAL_S)
        _kill(process)

    def _bytes(self) -> int:
        size = 0
        for _, _, names, descriptor in os.fwalk(self.folder):
            for name in names:
                with suppress(OSError):
                    size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
        return size


async def _text_of(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> str | None:
    """Return what a command prints. When it is too much, end the command and return None."""
    content = bytearray()
    while stream is not None and (piece := await stream.read(64 * 1024)):
        content += piece
        if len(content) > _MAX_PRINTED_BYTES:
            _kill(process)
            while await stream.read(64 * 1024):
                pass  # up to the end, which closes the pipe
            return None
    return content.decode("utf-8", "replace")


def _kill(process: asyncio.subprocess.Process) -> None:
    """End a git command with its helpers."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)


async def _fetch(git: _Git, source: Source, asked: RepositoryRequest) -> Fetched:
    await git.run("init", "-q", "--template=", "-b", "main")
    names = [] if not asked.ref else [f"refs/heads/{asked.ref}", f"refs/tags/{asked.ref}"]
    async with asyncio.timeout(_LIST_S):
        listed = await git.run("ls-remote", "--symref", "--", source.url, "HEAD", *names)
    wanted = wanted_of(asked.ref, listed)
    depth = [f"--depth={asked.depth}"] if asked.depth else []
    await git.run("fetch", "-q", "--no-tags", "--no-auto-gc", *depth, "--", source.url, wanted.refspec)
    commit = (await git.run("rev-parse", "--verify", "FETCH_HEAD^{commit}")).strip()
    if wanted.branch:
        await git.run("symbolic-ref", "HEAD", f"refs/heads/{wanted.branch}")
        await git.run("update-ref", f"refs/heads/{wanted.branch}", commit)
    else:
        await git.run("update-ref", "--no-deref", "HEAD", commit)
    await git.run("config", "remote.origin.url", source.url)
    await git.run("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    if wanted.branch:
        await git.run("config", f"branch.{wanted.branch}.remote", "origin")
        await git.run("config", f"branch.{wanted.branch}.merge", wanted.fetched)
    (git.folder / ".git" / "FETCH_HEAD").unlink(missing_ok=True)
    archive = git.folder / "repository.tar"
    await asyncio.to_thread(_pack, git.folder / ".git", archive)
    return Fetched(archive, commit, wanted.branch)


async def _push(git: _Git, source: Source, asked: PushRequest, bundle: AsyncIterator[bytes]) -> Pushed:
    """Unpack a bundle, which an agent may have made, and push its HEAD. No other ref of it is used."""
    received = git.folder / "received.bundle"
    size = 0
    with received.open("wb") as file:
        async for piece in bundle:
            size += len(piece)
            if size > asked.max_bytes:
                raise RepositoryRefusedError(f"repository: the history has more than {asked.max_bytes} bytes")
            await asyncio.to_thread(file.write, piece)
    await git.run("init", "-q", "--template=", "-b", "main")
    if asked.shallow:
        (git.folder / ".git" / "shallow").write_text(shallow_text(asked.shallow))
    code, listed, _ = await git.outcome("bundle", "unbundle", str(received))
    if code:
        raise RepositoryRefusedError("repository: the workspace's bundle cannot be read")
    received.unlink()
    commit = bundled_head(listed)
    code, _, _ = await git.outcome("rev-list", "--objects", "--quiet", f"{commit}^{{commit}}")
    if code:
        raise RepositoryRefusedError("repository: the workspace's history is not complete")
    code, listed, errors = await git.outcome(
        "push", "--porcelain", "--no-verify", "--", source.url, f"{commit}:refs/heads/{asked.branch}"
    )
    outcome = pushed_of(listed, commit, asked.branch, git.remote_words(errors))
    if code or outcome is None:
        raise git.failure(errors)
    return outcome


def _pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as packed:
        packed.add(folder, arcname=".git")
