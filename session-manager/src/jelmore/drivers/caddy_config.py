"""Caddy's whole configuration, built from settings alone. Pure, and independent of the sessions.

One static route serves every session's URL: it dials `routes/{session}`, a symbolic link that leads to the target. So
Caddy reloads nothing when sessions come and go. The configuration contains no credential.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from jelmore.drivers.paths import MANAGER_SLOTS, RunPaths
from jelmore.session.errors import URN

Json = dict[str, Any]

SESSION_HEADER: Final = "X-Jelmore-Session"
"""Header with the session's id, when the manager answers for a hibernated session. Clients cannot set it."""

BODY_BYTES: Final = 7 * 1024 * 1024
"""More than the manager itself accepts: an input of the maximum size, however it is escaped (6 MiB)."""

LARGE_BODY_BYTES: Final = 64 * 1024 * 1024
_CREATE_WITH_FILES: Final[Json] = {
    "method": ["POST"],
    "path_regexp": {"pattern": "^/api/(v1/)?sessions?/?$"},
    "header": {"Content-Type": ["multipart/form-data*"]},
}
HEADER_BYTES: Final = 64 * 1024
FIND_MANAGER_S: Final = 5
"""How long a request waits for a manager: long enough for a restart. After that the response is 503."""

READ_S: Final = 6
"""When a manager does not begin to answer a GET within this time, Caddy asks another one."""

_SLOW_READS: Final[Json] = {
    "path_regexp": {"pattern": "^/api/(v1/)?sessions?/[^/]+/(diff|patch|bundle|files|transcript)$"}
}
"""What may be read for longer than that before the first byte: a whole workspace, or a whole conversation."""

_AWAY: Final = {"Retry-After": ["2"]}
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SESSION_METHODS: Final = "GET, HEAD, OPTIONS"
_REQUEST: Final = "{http.request.uuid}"
_NO_SOCKET: Final = '{http.error.message}.contains("no such file or directory")'
# Caddy reads a body while it passes the request on. These are Go's words for one that is malformed (chunked.go and
# transfer.go of net/http); those for an error of the other side begin with `net/http`.
_MALFORMED: Final = (
    "^(chunked |empty hex number |header line too long|http chunk |http: .*trailer"
    "|invalid byte in chunk|malformed (MIME header|chunked)|unexpected EOF$)"
)
_REQUEST_PATH: Final = "{http.request.uri.path}"
"""The path, decoded once. `path_regexp` takes `//s/…` for `/s/…`, from which no prefix can be stripped then."""


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """The settings that the configuration depends on, under the same names."""

    paths: RunPaths
    public_url: str
    http_listen: str
    https_listen: str
    tls: Literal["acme", "internal"]
    ports_host: str = ""
    ports_certificate: str = ""


def caddy_config(options: EdgeOptions) -> Json:
    """Return everything but the `admin` block, which belongs to the process that started Caddy."""
    return {"logging": _logging(), "apps": {"http": _http(options), **_tls(options)}}


def _http(options: EdgeOptions) -> Json:
    http: Json = {
        "grace_period": "5s",
        "servers": {
            **_public_servers(options),
            "asleep": _manager_server(options.paths),
            "by_address": _address_server(options.paths),
            "addresses": _lookup_server(options.paths),
        },
    }
    if _secure(options):
        http |= {"http_port": _port(options.http_listen), "https_port": _port(options.https_listen)}
    return http


# --- the public side


def _public_servers(options: EdgeOptions) -> Json:
    routes, ports = _public_routes(options.paths), _port_routes(options)
    if not _secure(options):
        return {"public": _server(options.http_listen, [*ports, *routes], _public_errors())}
    host = urlsplit(options.public_url).hostname or ""
    only = [*ports, {"match": [{"host": [host]}], "handle": [_subroute(routes)], "terminal": True}]
    public = _server(options.https_listen, only, _public_errors(), automatic_https={"disable_redirects": True})
    public["tls_connection_policies"] = [{}]
    target = options.public_url + "{http.request.uri}"
    moved = {"handler": "static_response", "status_code": 308, "headers": {"Location": [target]}}
    # Caddy answers the challenges of a certificate authority on this server, before its routes.
    redirects: list[Json] = [{"handle": [moved]}]
    if options.ports_host:
        port = urlsplit(options.public_url).port
        same = f"https://{{http.request.host}}{f':{port}' if port else ''}{{http.request.uri}}"
        to_port = {**moved, "headers": {"Location": [same]}}
        redirects.insert(0, {"match": [{"host": [f"*.{options.ports_host}"]}], "handle": [to_port], "terminal": True})
    return {"public": public, "redirect": _server(options.http_listen, redirects, [])}


def _port_routes(options: EdgeOptions) -> list[Json]:
    """Return the route of the names of ports. All their paths go to a manager: they are the sandbox's own."""
    if not options.ports_host:
        return []
    handle = [_delete_headers([SESSION_HEADER]), _to_managers(options.paths)]
    return [{"match": [{"host": [f"*.{options.ports_host}"]}], "handle": handle, "terminal": True}]


def _public_routes(paths: RunPaths) -> list[Json]:
    # Only the runner's own paths and methods: code in the sandbox could serve others on the same socket.
    called = {"vars_regexp": {_REQUEST_PATH: {"name": "session", "pattern": f"^/s/({_UUID})/(ws|terminal|health)$"}}}
    session = {
        "match": [{**called, "method": ["GET", "HEAD"]}],
        "terminal": True,
        "handle": [
            _body(LARGE_BODY_BYTES),
            {"handler": "rewrite", "strip_path_prefix": "/s/{http.regexp.session.1}"},
            _set_headers({SESSION_HEADER: "{http.regexp.session.1}"}),
            _proxy([f"unix/{paths.routes}/{{http.regexp.session.1}}"]),
        ],
    }
    return [
        {"handle": [_delete_headers([SESSION_HEADER])]},
        {
            "match": [{"path": ["/internal", "/internal/*"]}],
            "handle": [_problem(404, "not_found", "there is nothing at this path")],
            "terminal": True,
        },
        session,
        {
            "match": [{**called, "method": ["OPTIONS"]}],
            "handle": [{"handler": "static_response", "status_code": 204, "headers": {"Allow": [_SESSION_METHODS]}}],
            "terminal": True,
        },
        {
            "match": [called],
            "handle": [_problem(405, "method_not_allowed", "only GET is possible here", {"Allow": [_SESSION_METHODS]})],
            "terminal": True,
        },
        {
            "match": [{"path_regexp": {"pattern": f"^/s/{_UUID}/."}}],
            "handle": [_problem(404, "not_found", "there is nothing at this path")],
            "terminal": True,
        },
        {
            "match": [{"path": ["/s", "/s/*"]}],
            "handle": [_problem(404, "unknown_session", "there is no such session")],
            "terminal": True,
        },
        *(_metrics_of(paths, slot) for slot in range(MANAGER_SLOTS)),
        {
            # Uploads are streams, which the manager bounds (JELMORE_UPLOAD_BYTES) and Caddy passes on in pieces.
            "match": [{"path_regexp": {"pattern": "^/api/.*/files/"}}, _CREATE_WITH_FILES],
            "handle": [_to_managers(paths)],
            "terminal": True,
        },
        {"handle": [_body(BODY_BYTES)]},
        {
            "match": [{"method": ["GET", "HEAD"], "not": [{"header": {"Upgrade": ["*"]}}, _SLOW_READS]}],
            "handle": [_to_managers(paths, answer_within_s=READ_S)],
            "terminal": True,
        },
        {"handle": [_to_managers(paths)]},
    ]


def _metrics_of(paths: RunPaths, slot: int) -> Json:
    """Return the route to the metrics of one manager: `/metrics` is answered by another one each time."""
    to_one = [{"handler": "rewrite", "strip_path_suffix": f"/{slot}"}, _proxy([f"unix/{paths.manager_socket(slot)}"])]
    return {"match": [{"path": [f"/metrics/{slot}"]}], "handle": to_one, "terminal": True}


def _public_errors() -> list[Json]:
    return [
        _on("{http.error.status_code} == 413", _problem(413, "too_large", "the body is too large")),
        _on(
            f'{{http.error.status_code}} == 502 && {{http.error.message}}.matches("{_MALFORMED}")',
            _problem(400, "bad_request", "the body is malformed or shorter than announced"),
        ),
        _on(
            f'{{http.request.orig_uri.path}}.startsWith("/s/") && {_NO_SOCKET}',
            _problem(404, "unknown_session", "there is no such session"),
        ),
        _on(
            '{http.request.orig_uri.path}.startsWith("/s/") && {http.error.status_code} >= 500',
            _problem(503, "dependency_away", "the session does not answer for now", _AWAY),
        ),
        _on(
            "{http.error.status_code} >= 500",
            _problem(503, "dependency_away", "the session manager does not answer for now", _AWAY),
        ),
        {"handle": [_problem("{http.error.status_code}", "bad_request", "{http.error.status_text}")]},
    ]


# --- from Caddy to the managers


def _manager_server(paths: RunPaths) -> Json:
    """Return the server behind the link of a hibernated session. It leads to any running manager.

    It serves only what a runner serves: a session's URL must not give access to the manager's API, in particular not
    to paths that are not public.
    """
    routes: list[Json] = [
        {"match": [{"path": ["/ws", "/terminal"]}], "handle": [_to_managers(paths)], "terminal": True},
        {
            "match": [{"path": ["/health"]}],
            "handle": [_static(200, "application/json", '{"status":"ok"}', None)],
            "terminal": True,
        },
        {"handle": [_problem(404, "not_found", "there is nothing at this path")]},
    ]
    server = _server(f"unix/{paths.any_manager}|0600", routes, _public_errors())
    # Only this Caddy's own public server connects here, so its headers about the client can be trusted.
    return {**server, "trusted_proxies_unix": True}


# --- from Caddy to sandboxes that listen on TCP


def _address_server(paths: RunPaths) -> Json:
    """Return the server behind the link of a session whose sandbox listens on TCP. It forwards to its address.

    Caddy asks itself for the address at each connection, so such a session needs neither a reload nor a manager.
    """
    found = "{http.reverse_proxy.header.X-Jelmore-Address}"
    ask = _proxy([f"unix/{paths.address_lookup}"])
    ask["rewrite"] = {"method": "GET", "uri": "/"}
    unknown = _problem(404, "unknown_session", "there is no such session")
    # A kept connection could lead to a sandbox that has ended.
    forward = _proxy([found])
    forward["transport"]["keep_alive"] = {"enabled": False}
    ask["handle_response"] = [
        {"match": {"status_code": [2]}, "routes": [{"handle": [forward]}]},
        {"routes": [{"handle": [unknown]}]},
    ]
    routes: list[Json] = [
        {"match": [{"path": ["/ws", "/terminal", "/health"]}], "handle": [ask], "terminal": True},
        {"handle": [_problem(404, "not_found", "there is nothing at this path")]},
    ]
    errors = [{"handle": [_problem(503, "dependency_away", "the session does not answer for now", _AWAY)]}]
    # Only this Caddy's own public server connects here, so its headers about the client can be trusted.
    return {**_server(f"unix/{paths.by_address}|0600", routes, errors), "trusted_proxies_unix": True}


def _lookup_server(paths: RunPaths) -> Json:
    """Return the server that answers with the content of `addresses/{session}` in a header.

    A template is the one way in which Caddy reads a file whose name depends on the request. `readFile` cannot leave
    `file_root`, and what it returns is not executed.
    """
    address = f'{{{{.RespHeader.Set "X-Jelmore-Address" (readFile (.Req.Header.Get "{SESSION_HEADER}"))}}}}'
    read = {"handler": "templates", "file_root": str(paths.addresses), "mime_types": ["text/plain"]}
    return _server(
        f"unix/{paths.address_lookup}|0600", [{"handle": [read, _static(200, "text/plain", address, None)]}], []
    )


def _to_managers(paths: RunPaths, *, answer_within_s: int = 0) -> Json:
    """Return the proxy to any manager that answers.

    Health checks exclude a socket whose manager hangs within 4 s, and take it back within 1 s. Two must fail, so a
    manager that is back sooner is never excluded. With `answer_within_s`, another manager is asked when one does not
    begin to answer in time. Set it only for requests that may be repeated.
    """
    proxy = _proxy([f"unix/{paths.manager_socket(slot)}" for slot in range(MANAGER_SLOTS)])
    proxy["load_balancing"] = {
        "selection_policy": {"policy": "round_robin"},
        "try_duration": f"{max(FIND_MANAGER_S, answer_within_s + 1)}s",
        "try_interval": "20ms",
    }
    proxy["health_checks"] = {"active": {"uri": "/readyz", "interval": "1s", "timeout": "2s", "fails": 2}}
    if answer_within_s:
        proxy["transport"]["response_header_timeout"] = f"{answer_within_s}s"
    return proxy


# --- pieces


def _proxy(dials: list[str]) -> Json:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial} for dial in dials],
        "flush_interval": -1,
        # A change of the configuration must not end open streams.
        "stream_close_delay": "24h",
        "transport": {
            "protocol": "http",
            "dial_timeout": "5s",
            "response_header_timeout": "15m",
            # A kept-alive connection to a manager or runner that has just ended would fail the next POST, which may not
            # be repeated. A new connection to a unix socket costs about 30 microseconds.
            "keep_alive": {"enabled": not dials[0].startswith("unix/"), "idle_timeout": "60s"},
            "compression": False,
        },
    }


def _server(listen: str, routes: list[Json], errors: list[Json], *, automatic_https: Json | None = None) -> Json:
    """Return a server with time limits on everything before the response, and none on the length of a stream."""
    server: Json = {
        "listen": [listen],
        "read_header_timeout": "15s",
        "idle_timeout": "5m",
        "max_header_bytes": HEADER_BYTES,
        "protocols": ["h1", "h2"],
        "automatic_https": automatic_https or {"disable": True},
        "routes": routes,
    }
    return {**server, "errors": {"routes": errors}} if errors else server


def _tls(options: EdgeOptions) -> Json:
    if not _secure(options):
        return {}
    host = urlsplit(options.public_url).hostname
    policies: list[Json] = [{"subjects": [host], "issuers": [{"module": options.tls}]}]
    certificates: Json = {}
    if options.ports_host and options.ports_certificate:
        folder = options.ports_certificate
        files = {"certificate": f"{folder}/cert.pem", "key": f"{folder}/key.pem"}
        certificates = {"certificates": {"load_files": [files]}}
    elif options.ports_host:
        policies.append({"subjects": [f"*.{options.ports_host}"], "issuers": [{"module": "internal"}]})
    # Otherwise Caddy tries to change this machine's trust store.
    authority = {"certificate_authorities": {"local": {"install_trust": False}}}
    return {"tls": {"automation": {"policies": policies}, **certificates}, "pki": authority}


def _logging() -> Json:
    """Return the logging block: no access log, and errors without headers, which contain keys and tokens."""
    fields = {name: {"filter": "delete"} for name in ("request>headers", "resp_headers", "headers")}
    encoder = {"format": "filter", "wrap": {"format": "json"}, "fields": fields}
    return {"logs": {"default": {"level": "WARN", "encoder": encoder}}}


def _problem(status: int | str, code: str, detail: str, headers: dict[str, list[str]] | None = None) -> Json:
    """Return a response in the form of the manager's problems, without the path: Caddy cannot encode it as JSON."""
    fields = f'"code":"{code}","title":"{detail}","detail":"{detail}","request_id":"{_REQUEST}"'
    retryable = "true" if status == HTTPStatus.SERVICE_UNAVAILABLE else "false"
    body = f'{{"type":"{URN}{code}","status":{status},{fields},"retryable":{retryable}}}'
    return _static(status, "application/problem+json", body, {"X-Request-ID": [_REQUEST], **(headers or {})})


def _static(status: int | str, kind: str, body: str, headers: dict[str, list[str]] | None) -> Json:
    all_headers = {"Content-Type": [kind], **(headers or {})}
    return {"handler": "static_response", "status_code": status, "headers": all_headers, "body": body}


def _on(expression: str, handler: Json) -> Json:
    return {"match": [{"expression": expression}], "handle": [handler], "terminal": True}


def _subroute(routes: list[Json]) -> Json:
    return {"handler": "subroute", "routes": routes}


def _body(most_bytes: int) -> Json:
    return {"handler": "request_body", "max_size": most_bytes}


def _set_headers(headers: dict[str, str]) -> Json:
    return {"handler": "headers", "request": {"set": {name: [value] for name, value in headers.items()}}}


def _delete_headers(names: list[str]) -> Json:
    return {"handler": "headers", "request": {"delete": names}}


def _secure(options: EdgeOptions) -> bool:
    return options.public_url.startswith("https://")


def _port(listen: str) -> int:
    return int(listen.rpartition(":")[2])
