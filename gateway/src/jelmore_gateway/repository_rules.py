"""Which repositories may be fetched and pushed to, with which credential, and how git is configured for it. Pure.

A credential goes only to the server of a `git` route that an admin registered for it: a caller who may name any
credential and any URL could send it to a server of their own.
"""

import base64
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit

from jelmore_protocol.gateway import GatewayConfig, Pushed, RepositoryAccess, Route

_URL: Final = re.compile(r"https?://[A-Za-z0-9._~:/%+@\[\]-]+")
_REF: Final = re.compile(r"(?![-/.])(?!.*(\.\.|//|/\.|@\{|\.lock(/|$)))[A-Za-z0-9._/@+#=-]{1,256}(?<![/.])")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNAUTHORIZED: Final = ("could not read Username", "could not read Password", "Authentication failed")
_SAID: Final = 500
_LEAST: Final = 4
"""A shorter password cannot be distinguished from other words."""

_HEADS: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"


class RepositoryRefusedError(Exception):
    """A repository cannot be fetched. The text names the field or says what git said, without any secret."""


class PushRejectedError(RepositoryRefusedError):
    """The branch has commits that the pushed one does not have."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a repository is. `route` is the registered one that its URL is below."""

    url: str
    scheme: str
    host: str
    port: int
    route: Route | None

    @property
    def private(self) -> bool:
        """Whether the server may have a private address."""
        return self.route is not None and self.route.private


def source_of(asked: RepositoryAccess, config: GatewayConfig) -> Source:
    """Return where a repository is. Raises RepositoryRefusedError."""
    parts = urlsplit(asked.url) if _URL.fullmatch(asked.url) else None
    try:
        port = parts.port if parts else None
    except ValueError:
        parts, port = None, None
    if parts is None or not parts.hostname or parts.path.strip("/") == "":
        raise RepositoryRefusedError("repository.url: must be like https://host/path, without spaces, ? and #")
    if "@" in parts.netloc:
        raise RepositoryRefusedError("repository.url: may not hold a user or a password; name a credential")
    if any(part in {".", ".."} for part in parts.path.replace("%2e", ".").replace("%2E", ".").split("/")):
        raise RepositoryRefusedError("repository.url: has . or .. as a component")
    route = _route_of(asked, config)
    if parts.scheme == "http" and route is None and any(_leads(each, asked) for each in config.routes):
        raise RepositoryRefusedError("repository.credential: is missing: the git routes to this URL have one")
    if parts.scheme == "http" and route is None:
        raise RepositoryRefusedError("repository.url: must begin with https://, unless a git route leads to its server")
    port = port or (443 if parts.scheme == "https" else 80)
    return Source(asked.url, parts.scheme, parts.hostname, port, route)


def _route_of(asked: RepositoryAccess, config: GatewayConfig) -> Route | None:
    """Return the route with the credential; without a credential, a route that has none either, if there is one."""
    for route in config.routes:
        if _leads(route, asked) and route.credential == asked.credential:
            return route
    if asked.credential:
        raise RepositoryRefusedError(
            f"repository.credential: no git route with the credential {asked.credential!r} leads to this URL"
        )
    return None


def _leads(route: Route, asked: RepositoryAccess) -> bool:
    """Return whether a route serves the caller and leads to the URL, with whatever credential."""
    is_git = route.name.startswith("git/") and route.serves(asked.user_id, asked.profile)
    return is_git and asked.url.startswith(route.url.rstrip("/") + "/")


def git_environment(source: Source, addresses: Sequence[str], header: str | None) -> dict[str, str]:
    """Return the variables under which git may reach these addresses of the source, and nothing else.

    No hook, filter, helper, prompt, redirect or submodule, and no configuration of the machine. The credential is in
    no argument and in no file.
    """
    host = f"[{source.host}]" if ":" in source.host else source.host
    pinned = f"{host}:{source.port}:{','.join(f'[{each}]' if ':' in each else each for each in addresses)}"
    config = [
        ("core.hooksPath", "/dev/null"),
        ("core.askPass", ""),
        ("core.fsmonitor", "false"),
        ("credential.helper", ""),
        ("protocol.allow", "never"),
        (f"protocol.{source.scheme}.allow", "always"),
        ("http.followRedirects", "false"),
        ("http.proxy", ""),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "60"),
        ("http.curloptResolve", pinned),
        ("transfer.bundleURI", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("submodule.recurse", "false"),
        ("core.packedGitWindowSize", "32m"),
        ("core.packedGitLimit", "256m"),
        ("core.bigFileThreshold", "32m"),
        ("pack.threads", "2"),
        ("pack.windowMemory", "64m"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        *([("http.extraHeader", header)] if header else []),
    ]
    return {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(config)),
        **{f"GIT_CONFIG_KEY_{at}": key for at, (key, _) in enumerate(config)},
        **{f"GIT_CONFIG_VALUE_{at}": value for at, (_, value) in enumerate(config)},
    }


def check_ref(ref: str) -> None:
    """Raise RepositoryRefusedError unless this can be a branch, a tag, a commit id, or empty."""
    if ref and not _REF.fullmatch(ref):
        raise RepositoryRefusedError("repository.ref: is not the name of a branch or tag, or a whole commit id")


def check_branch(branch: str) -> None:
    """Raise RepositoryRefusedError unless a branch may have this name."""
    if not _REF.fullmatch(branch) or branch in {"@", "HEAD"} or branch.startswith("refs/"):
        raise RepositoryRefusedError("repository.branch: is not the name of a branch")


def bundled_head(listed: str) -> str:
    """Return the commit of HEAD from what `git bundle unbundle` prints. Raises RepositoryRefusedError."""
    found = [commit for commit, _, name in (line.partition(" ") for line in listed.splitlines()) if name == "HEAD"]
    if len(found) != 1 or not _COMMIT.fullmatch(found[0]):
        raise RepositoryRefusedError("repository: the workspace's bundle has no HEAD")
    return found[0]


def shallow_text(commits: Sequence[str]) -> str:
    """Return git's file `shallow`, which lets a history begin with these commits. Raises RepositoryRefusedError.

    A workspace names them, so this decides nothing: a push brings the server no history that begins with commits which
    it does not have, unless the server allows that.
    """
    if not all(_COMMIT.fullmatch(each) for each in commits):
        raise RepositoryRefusedError("repository: the workspace's history begins with what are no commits")
    return "".join(f"{each}\n" for each in commits)


def pushed_of(listed: str, commit: str, branch: str, remote_said: str = "") -> Pushed | None:
    """Return the outcome of a push from what `git push --porcelain` prints, None when it says nothing about the branch.

    `remote_said` is what the server's hooks print, for the refusal. Raises PushRejectedError when the branch is not an
    ancestor of the commit, RepositoryRefusedError when the server refuses for another reason.
    """
    status_line = next((line for line in listed.splitlines() if f"\t{commit}:{_HEADS}{branch}\t" in line), None)
    if status_line is None:
        return None
    flag, said = status_line[0], without(status_line.rpartition("\t")[2], [])
    if flag == "!" and said.startswith("[rejected]"):
        raise PushRejectedError(
            f"the branch {branch!r} has commits that the workspace does not have, and nothing is overwritten: "
            "bring them into the workspace, or push to another branch"
        )
    if flag == "!" and "shallow update" in said:
        raise RepositoryRefusedError(
            "repository.url: the history was shortened by `depth`, and the server does not have the commits that it "
            "begins with: push to the repository that it came from, or fetch the bundle and push it from a clone"
        )
    if flag == "!":
        why = f"{said}; it says: {remote_said}" if remote_said else said
        raise RepositoryRefusedError(f"repository.branch: the server refuses the push: {why}")
    return Pushed(commit=commit, pushed=flag != "=")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is fetched: a ref of the server or a commit id, and the branch that the workspace is on, if any."""

    fetched: str
    branch: str = ""

    @property
    def refspec(self) -> str:
        """The refspec of the fetch."""
        if self.branch:
            return f"+{self.fetched}:refs/remotes/origin/{self.branch}"
        return f"+{self.fetched}:{self.fetched}" if self.fetched.startswith(_TAGS) else self.fetched


def wanted_of(ref: str, listed: str) -> Wanted:
    """Return what to fetch for a ref, from the output of `git ls-remote --symref`. Raises RepositoryRefusedError."""
    heads: dict[str, str] = {}
    default = ""
    for line in listed.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            default = value.removeprefix("ref: ")
        else:
            heads[name] = value
    if not ref:
        if default in heads or (default and "HEAD" in heads):
            return Wanted(default, default.removeprefix(_HEADS))
        if "HEAD" in heads:
            return Wanted("HEAD")
        raise RepositoryRefusedError(
            "repository.url: the repository has no commit, or its HEAD is no branch of it: then give a ref"
        )
    for prefix in (_HEADS, _TAGS):
        if prefix + ref in heads:
            return Wanted(prefix + ref, ref if prefix == _HEADS else "")
    if _COMMIT.fullmatch(ref):
        return Wanted(ref)
    raise RepositoryRefusedError(f"repository.ref: the repository has no branch or tag {ref!r}")


def refusal_of(errors: str, credential: str | None, secrets: Sequence[str]) -> RepositoryRefusedError:
    """Return the error for what git printed before it failed, with its words, which may be the server's."""
    said = without(errors, secrets) or "nothing"
    unauthorized = any(each in errors for each in _UNAUTHORIZED)
    if unauthorized and credential:
        what = f"repository.credential: the server refuses {credential!r}, as with a wrong password"
    elif unauthorized:  # of a 401 without a word git says only that nobody can be asked
        what = "repository.credential: is missing: the server wants one"
    elif credential and "requested URL returned error: 403" in errors:
        what = f"repository.credential: the server knows {credential!r} and does not allow this (403)"
    elif "mismatched algorithms" in errors:
        return RepositoryRefusedError("repository.url: is a repository with SHA-256, and only SHA-1 is supported")
    else:
        return RepositoryRefusedError(f"repository.url: git says: {said}")
    return RepositoryRefusedError(f"{what}; git says: {said}")


def remote_words(errors: str, secrets: Sequence[str]) -> str:
    """Return what the server of a push printed, from what git printed."""
    lines = (line.removeprefix("remote:").strip() for line in errors.splitlines() if line.startswith("remote:"))
    return without(" ".join(line for line in lines if line), secrets)


def header_of(route: Route, credential: str) -> str:
    """Return the header that carries the credential."""
    return f"{route.header}: {route.prefix}{credential}"


def without(text: str, secrets: Sequence[str]) -> str:
    """Return a text of git without secrets and control characters, shortened. A server may print what it was sent."""
    for secret in sorted({form for each in secrets for form in _forms(each)}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[-_SAID:]


def _forms(secret: str) -> set[str]:
    """Return the ways in which a server may print a credential: as it is, encoded, and the password of a Basic one."""
    encoded = base64.b64encode(secret.encode()).decode()
    forms = {secret, secret.rstrip("="), quote(secret, safe=""), quote_plus(secret), encoded, encoded.rstrip("=")}
    with suppress(ValueError):  # UnicodeDecodeError and binascii.Error are of its kind
        decoded = base64.b64decode(secret, validate=True).decode()
        password = decoded.partition(":")[2]
        forms |= {decoded, *({password, quote(password, safe="")} if len(password) >= _LEAST else ())}
    return {form for form in forms if form}
