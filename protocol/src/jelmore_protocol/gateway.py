"""Messages between the manager and the gateway on the gateway's control socket: JSON over HTTP.

| call | body -> response |
|---|---|
| `GET /health` | -> GatewayHealth |
| `PUT /config` | GatewayConfig -> GatewayHealth; replaces the whole configuration |
| `GET /sandboxes` | -> SandboxList |
| `PUT /sandboxes/{key}` | Registration -> 204; its sockets exist when the call returns; may run twice |
| `DELETE /sandboxes/{key}` | -> 204; closes its sockets and connections; absent is success |
| `POST /revocations` | Revocations -> 204; cuts the sandboxes' connections and refuses new ones |
| `GET /calls?after=SEQ` | -> CallPage; the recorded calls after `SEQ`, oldest first |
| `GET /held?revision=R&wait_s=N` | -> HeldPage; when R is the present revision, after a change or N seconds |
| `POST /held/{id}/decision` | EgressDecision -> HeldRequest; 404 when unknown, 409 when decided; the first one counts |
| `DELETE /held/{id}` | -> 204; forgets a decided request; absent is success |
| `GET /model` | -> ModelCheck; asks the model API for its models, with the deployment's credential |
| `POST /seal` | SealRequest -> Sealed; encrypts a credential, or re-encrypts one with the current key |
| `POST /repositories` | RepositoryRequest -> a tar of a `.git` folder; the headers name its commit and its branch |
| `POST /pushes` | PushRequest on a line of its own, then a git bundle with the ref HEAD -> Pushed |

Errors are `{"code": str, "message": str}` with a 4xx or 503 status.
"""

import hashlib
import ipaddress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS
from jelmore_protocol.network import MAX_RULES, Network, Rule
from jelmore_protocol.oauth import RouteOAuth

CredentialKind = Literal["value", "oauth"]

MODEL_SOCKET: Final = "model.sock"
"""The name of a sandbox's socket for the model API and named routes, in its folder."""

EGRESS_SOCKET: Final = "egress.sock"
"""The name of a sandbox's socket for other hosts, in its folder."""

CONTROL_SOCKET: Final = "control.sock"
"""The name of the gateway's own control socket."""

TOKEN_SOCKET: Final = "gateway.sock"  # noqa: S105 - a name
"""The name of the socket on which a session's token says who calls. Containers of earlier versions use it."""

SANDBOX_ORIGIN: Final = "http://gateway"
"""Stands for the gateway in the addresses of MCP servers; the runner puts its own loopback address there."""

EGRESS_REQUEST: Final = "egress-"
"""How the ids of held requests begin: who answers one sees that it is not the agent's."""

EGRESS_ROUTE: Final = "egress"
"""The route of a record of a connection to another host that was refused or cut."""

CREDENTIAL_ROUTE: Final = "credential"
"""The route of a record of a call that was refused because its OAuth credential gives no access token."""

LOCAL_SOCKET: Final = "host.sock"
"""The name of the socket of the process that runs stdio MCP servers, in the folder `mcp` of the run directory."""

LOCAL_CREDENTIALS_HEADER: Final = "Jelmore-Environment"
"""With a call to that socket: with how many bytes its body begins that are no part of the message, but a JSON object of
variables and credentials. They are in the body because a server names a header that it refuses in its response."""

COMMIT_HEADER: Final = "Jelmore-Commit"
BRANCH_HEADER: Final = "Jelmore-Branch"
"""Headers of a fetched repository; the branch is empty for a tag or a commit."""

REPOSITORY_FETCH_S: Final = 300.0
"""How long the gateway may take to fetch a repository, and to push a branch."""

DEFAULT_ASK_S: Final = 300.0
MAX_ASK_S: Final = 3600.0
MAX_HELD_WAIT_S: Final = 30.0

MAX_CALLS: Final = 1000
MAX_REVOCATIONS: Final = 1000
MAX_CREDENTIAL_BYTES: Final = 16 * 1024

ROUTE_NAME: Final = r"^(mcp|git|pkg)/[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
CREDENTIAL_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
MODEL_CREDENTIALS: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
"""The names of credentials for the model. Of those of one owner the first is used."""


def sandbox_key(session_id: object, generation: int) -> str:
    """Return the key under which the gateway knows one sandbox of a session: 16 hex digits, the same every time.

    It names the folder of the sandbox's sockets, whose path must be short.
    """
    return hashlib.sha256(f"{session_id}/{generation}".encode()).hexdigest()[:16]


class Message(BaseModel):
    """Base of the messages. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class Registration(Message):
    """One sandbox that may use the gateway, and what it may use."""

    session_id: str
    generation: int = Field(ge=1)
    user_id: str = ""  # as the creator of the session named it; routes and credentials may belong to it
    profile: str = ""  # of the session; routes may belong to it
    network: Network = Network()  # which other hosts it may reach
    # A member of the warm pool: its sockets exist, and refuse everything until a session has claimed it. What is let in
    # once is never held again.
    held: bool = False


class SandboxEntry(Registration):
    """A registration as the gateway holds it."""

    key: str
    revoked: bool = False


class SandboxList(Message):
    """Every registered sandbox."""

    sandboxes: list[SandboxEntry]


class Revocations(Message):
    """Keys of sandboxes that may not use the gateway any more. Unknown ones are ignored."""

    sandboxes: list[str] = Field(max_length=MAX_REVOCATIONS)


class Route(Message):
    """Another server that sandboxes reach under a name, with a credential that is added outside of the sandbox.

    Only an admin registers one. A request for `/{name}/REST` goes to `{url}/REST`.
    """

    name: str = Field(pattern=ROUTE_NAME)
    url: str = Field(max_length=2000, pattern=r"^https?://[^\s@?#]+$")
    credential: str = Field(default="", max_length=64, pattern=rf"^({CREDENTIAL_NAME})?$")
    header: str = Field(default="Authorization", max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9-]*$")
    prefix: str = Field(default="Bearer ", max_length=64, pattern=r"^[ -~]*$")  # before the credential, in the header
    private: bool = False  # the server may have a private address
    transport: Literal["http", "sse"] = "http"  # of an MCP server: streamable HTTP, or the older one
    users: list[str] | None = Field(default=None, max_length=1000)  # None: of every session
    profiles: list[str] | None = Field(default=None, max_length=1000)  # None: of every profile
    oauth: RouteOAuth | None = None  # how people authorize the gateway there

    def serves(self, user_id: str, profile: str) -> bool:
        """Return whether sessions of this user and profile may use the route."""
        return _serves(self, user_id, profile)


class LocalServer(Message):
    """A stdio MCP server of the operator's file, which sandboxes reach as a route. A route of the same name wins."""

    name: str = Field(pattern=ROUTE_NAME)
    credentials: dict[str, str] = Field(default={}, max_length=50)  # variable -> name of a credential
    users: list[str] | None = None
    profiles: list[str] | None = None
    problem: str = ""  # why it cannot be started

    def serves(self, user_id: str, profile: str) -> bool:
        """Return whether sessions of this user and profile may use the server."""
        return _serves(self, user_id, profile)


class LocalServers(Message):
    """Every stdio MCP server."""

    servers: list[LocalServer]


def _serves(served: Route | LocalServer, user_id: str, profile: str) -> bool:
    of_user = served.users is None or user_id in served.users
    return of_user and (served.profiles is None or profile in served.profiles)


class Scope(StrEnum):
    """Whose a credential is. The narrowest one of a name is used."""

    DEPLOYMENT = "deployment"
    USER = "user"
    SESSION = "session"


class CredentialKey(Message):
    """The name of a credential and whose it is. `owner` is a user id, a session id, or empty."""

    scope: Scope
    owner: str = Field(default="", max_length=256)
    name: str = Field(pattern=rf"^{CREDENTIAL_NAME}$")


class SealedCredential(CredentialKey):
    """An encrypted credential. Only a gateway with the key can read it, and only under this name, owner and kind.

    Of the kind `oauth`, it is an `OAuthClient` as JSON.
    """

    kind: CredentialKind = "value"
    sealed: str = Field(repr=False)
    key_id: str


class SealRequest(CredentialKey):
    """A credential to encrypt: `value`, or the one that `sealed` holds."""

    kind: CredentialKind = "value"
    value: str | None = Field(default=None, min_length=1, max_length=MAX_CREDENTIAL_BYTES, repr=False)
    sealed: str | None = Field(default=None, repr=False)


class Sealed(Message):
    """An encrypted credential."""

    sealed: str = Field(repr=False)
    key_id: str


def _checked_network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


NetworkText = Annotated[str, AfterValidator(_checked_network)]


class EgressConfig(Message):
    """The deployment's bounds of connections to other hosts, whatever a session's own network is."""

    denied_networks: list[NetworkText] = Field(default=[], max_length=MAX_RULES)  # beside private and reserved ones
    allowed_networks: list[NetworkText] = Field(default=[], max_length=MAX_RULES)  # though private: a mirror inside
    connections: int = Field(default=64, ge=1)  # of one session, at once
    bytes_per_s: int = Field(default=0, ge=0)  # of all sessions, shared evenly; 0: no bound
    total_bytes: int = Field(default=0, ge=0)  # of one sandbox, in both directions; 0: no bound
    ask_s: float = Field(default=DEFAULT_ASK_S, gt=0, le=MAX_ASK_S)  # how long a connection waits for a person


class GatewayConfig(Message):
    """What is the same for all sandboxes. The manager sends it whole whenever the gateway's `config` differs."""

    digest: str  # names this configuration; the gateway reports it in its health
    token_public_key: str = ""  # PEM, Ed25519: verifies the tokens of sandboxes that come over a network
    package_hosts: list[Rule] = Field(default=[], max_length=MAX_RULES)  # what `network: packages` may reach
    egress: EgressConfig = EgressConfig()
    routes: list[Route] = []
    credentials: list[SealedCredential] = []


class ServerState(Message):
    """What a registered MCP server answered last. `problem` says what is wrong, empty when it is `ok`."""

    name: str  # of its route
    ok: bool
    problem: str = ""
    at: datetime


class CredentialState(CredentialKey):
    """How the last request for an access token of an OAuth credential went. `problem` holds no secret."""

    ok: bool
    problem: str = ""
    at: datetime | None = None  # of the request
    expires_at: datetime | None = None  # of the present token, None when its server did not say


class GatewayHealth(Message):
    """The state of the gateway."""

    gateway: str  # the id of its state; a new id means that its registrations are lost
    started_at: datetime
    config: str = ""  # the digest of its configuration
    sandboxes: int = 0
    streams: int = 0
    calls_seq: int = 0
    key_id: str = ""  # the key that encrypts credentials
    servers: list[ServerState] = []  # the MCP servers that were probed
    credentials: list[CredentialState] = []  # the OAuth credentials that were used
    local_servers: list[LocalServer] = []  # stdio MCP servers that the operator has set up
    oauth: bool = False  # it knows credentials of the kind `oauth`; an earlier gateway would send one as it is
    holds: bool = False  # it knows `Registration.held`; an earlier gateway would let such a sandbox in


class RepositoryAccess(Message):
    """A repository. The credential must be that of a `git` route whose URL the repository is below."""

    url: str = Field(max_length=2000)
    credential: str = Field(default="", max_length=64)
    user_id: str = ""  # whose routes and credentials may be used, beside those of everybody
    profile: str = ""  # whose routes may be used, beside those of every profile
    max_bytes: int = Field(ge=1)


class RepositoryRequest(RepositoryAccess):
    """A repository to fetch."""

    ref: str = Field(default="", max_length=256)  # a branch, a tag or a whole commit id; empty: the default branch
    depth: int = Field(default=0, ge=0)  # commits of history; 0: all


class PushRequest(RepositoryAccess):
    """A branch to push, without force. `max_bytes` bounds the bundle."""

    branch: str = Field(max_length=256)
    registered: bool = False  # refuse a URL that no `git` route leads to
    shallow: list[str] = Field(default=[], max_length=1000)  # the commits at which a shortened history begins


class Pushed(Message):
    """A branch that the server has. `pushed` is false when it had the commit already."""

    commit: str
    pushed: bool


class CallRecord(Message):
    """One call that the gateway carried. `complete` is false when the response broke off.

    `route` is `model`, the name of a route, `credential` or `egress`. With `credential`, a call was refused because its
    OAuth credential gives no token: `method` is the name of its route and `tool` the reason. With `egress`, a
    connection to another host was refused or cut: `method` is its target and `tool` the reason, `host` and `port` are
    the target as far as it could be read. `unreported` counts similar refusals before it that have no record of their
    own. Of a call to an MCP server, the method and the tool are recorded, and no arguments.
    """

    seq: int
    session_id: str
    generation: int
    at: datetime
    route: str = "model"
    status: int
    method: str = ""
    tool: str = ""
    host: str = ""
    port: int = 0
    unreported: int = Field(default=0, ge=0)
    model: str = ""
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    complete: bool = True


class EgressDecision(Message):
    """What a person decided about a connection that waits. `session_id` must be that of the request."""

    session_id: str
    decision: Literal["allow", "deny"]
    remember: bool = False  # with allow: for the session
    by: str = ""
    message: str = Field(default="", max_length=MAX_ANSWER_CHARACTERS)  # with deny: the reason, for the agent


class HeldCause(StrEnum):
    """Why a connection waits no longer."""

    ANSWERED = "answered"  # by a person
    EXPIRED = "expired"  # nobody decided in time
    WITHDRAWN = "withdrawn"  # the client left, or the session's network changed or was closed


class HeldRequest(Message):
    """Connections of a sandbox to one target, that wait until a person decides, or that one has decided about.

    A decided request stays until a manager has journaled it and deletes it, for ten minutes at most.
    """

    id: str
    session_id: str
    generation: int
    host: str
    port: int
    method: str  # CONNECT, or that of a plain HTTP request
    at: datetime
    expires_at: datetime
    cause: HeldCause | None = None  # None while it waits
    decided: EgressDecision | None = None  # with ANSWERED


class HeldPage(Message):
    """Every held request. `run` names this process of the gateway: what an earlier one held is refused."""

    run: str
    revision: str
    requests: list[HeldRequest]


class CallPage(Message):
    """Recorded calls after a seq. There are more when it holds MAX_CALLS."""

    gateway: str
    calls: list[CallRecord]
