"""Reads the head of a proxy request: CONNECT, or a plain HTTP request in absolute form. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jelmore_gateway.egress.limits import MAX_HEAD_BYTES
from jelmore_gateway.egress.policy import Reason, Refusal, Target
from jelmore_protocol.network import split_authority

type Headers = list[tuple[bytes, bytes]]

_HTTP_PORT: Final = 80
_NOT_FORWARDED: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer upgrade expect"
    b" http2-settings host".split()
)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A CONNECT request."""

    target: Target


@dataclass(frozen=True, slots=True)
class Forward:
    """A plain HTTP request. `path` and `headers` are those to send to the target."""

    target: Target
    path: bytes
    headers: Headers


def read_request(
    method: bytes, request_target: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Tunnel | Forward | Refusal:
    """Return what a request's head asks for, or why it cannot be served."""
    fields = [(name.lower(), value) for name, value in headers]
    if sum(len(name) + len(value) + 4 for name, value in fields) > MAX_HEAD_BYTES:
        return Refusal(Reason.BAD_REQUEST, f"a request's head is at most {MAX_HEAD_BYTES} bytes", 431)
    if version not in {b"1.0", b"1.1"}:
        return _bad("this proxy speaks HTTP/1.1")
    try:
        text = request_target.decode("ascii")
        if method == b"CONNECT":
            if any(name in {b"content-length", b"transfer-encoding"} for name, _ in fields):
                return _bad("a CONNECT request has no body")
            return Tunnel(Target(*split_authority(text, None)))
        return _forward(text, fields)
    except UnicodeDecodeError:
        return _bad("the request's target is not ASCII")
    except ValueError as error:
        return _bad(str(error))


def _forward(text: str, fields: Headers) -> Forward | Refusal:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _bad("this is a proxy: it serves CONNECT host:port and requests for http://host/path")
    if scheme.lower() != "http":
        return _bad(f"{scheme[:20]}:// is not served in this form; a client uses CONNECT for https")
    cut = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, path = rest[:cut], rest[cut:].partition("#")[0]
    if "@" in authority:
        return _bad("a user name in the address is not sent; use the Authorization header")
    target = Target(*split_authority(authority, _HTTP_PORT))
    path = path if path.startswith("/") else f"/{path}"
    return _faults(fields) or Forward(target, path.encode("ascii"), _headers(target, fields))


def read_inner_request(
    target: Target, path: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Forward | Refusal:
    """Return a plain HTTP request that was sent inside a tunnel to `target`, as Node does for http:// addresses."""
    fields = [(name.lower(), value) for name, value in headers]
    if version not in {b"1.0", b"1.1"}:
        return _bad("this proxy speaks HTTP/1.1")
    if not path.startswith(b"/"):
        return _bad("a request inside a tunnel names a path only")
    hosts = [value.decode("ascii", "replace") for name, value in fields if name == b"host"]
    try:
        if not all(Target(*split_authority(host, target.port)) == target for host in hosts):
            return Refusal(
                Reason.SERVER_NAME_DIFFERS, f"the request is for {hosts[0][:80]}, the tunnel leads to {target}"
            )
    except ValueError as error:
        return _bad(str(error))
    return _faults(fields) or Forward(target, path, _headers(target, fields))


def _faults(fields: Headers) -> Refusal | None:
    """Return why a plain request cannot be passed on, whatever its target."""
    # An offer of HTTP/2, as cargo makes, may be left unanswered (RFC 9110, section 7.8): it is not passed on.
    if any(name == b"upgrade" and value.strip().lower() != b"h2c" for name, value in fields):
        return Refusal(Reason.UPGRADE, "a plain HTTP connection cannot change its protocol here; use https or wss")
    counts = [sum(name == wanted for name, _ in fields) for wanted in (b"content-length", b"transfer-encoding")]
    if min(counts) > 0 or max(counts) > 1:
        return _bad("the request states the length of its body in more than one way")
    return None


def _headers(target: Target, fields: Headers) -> Headers:
    """Return the headers to send. The host is the target, whatever the client's Host header says."""
    named = {word.strip().lower() for name, value in fields if name == b"connection" for word in value.split(b",")} - {
        b"content-length",
        b"transfer-encoding",
        b"authorization",
    }
    host = str(target) if target.port != _HTTP_PORT else str(target).removesuffix(f":{_HTTP_PORT}")
    kept = [(name, value) for name, value in fields if name not in _NOT_FORWARDED and name not in named]
    return [(b"host", host.encode("ascii")), *kept, (b"connection", b"close")]


def response_headers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of a response as they are passed to the client, which closes the connection after it."""
    kept = [(name, value) for name, value in fields if name.lower() not in _NOT_FORWARDED]
    return [*kept, (b"connection", b"close")]


def _bad(text: str) -> Refusal:
    return Refusal(Reason.BAD_REQUEST, text, 400)
