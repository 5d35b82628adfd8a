"""`jelmore doctor`: what may be wrong between this machine and a server, with what to do about each finding."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jelmore_client import errors
from jelmore_client.cli.app import FAILED, OK, AsJson, command, server
from jelmore_client.cli.contexts import Server
from jelmore_client.cli.machine import Finding, disk, server_machine
from jelmore_client.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from jelmore_client import Jelmore

MAX_CLOCK_SKEW_S: Final = 5.0
TRUST: Final = "let this machine trust its authority, as docs/guides/team-server.md says"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_STREAM_S: Final = 5.0


@command("doctor")
def doctor(*, as_json: AsJson = False) -> int:
    """Check the connection, the server and this machine; say what to do about each problem."""
    from ipaddress import ip_address

    chosen = server()
    url = urlsplit(chosen.url)
    addresses, dns = _dns(url.hostname or "")
    findings = [dns]
    if addresses:
        findings += _connection(chosen)
    answers = any(each.check == "server" and (each.good or each.fix == TRUST) for each in findings)
    findings += disk()
    if addresses and all(ip_address(each).is_loopback for each in addresses):
        port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
        findings += server_machine(port, answers=answers, runtimes=_runtimes(chosen) if answers else {})
    if as_json:
        for each in findings:
            print_json(asdict(each))
    else:
        rows = [("ok" if each.good else "!!", each.check, each.found) for each in findings]
        print_table(("", "CHECK", "FOUND"), rows)
        for each in findings:
            if not each.good:
                print(f"{each.check}: {each.fix}")  # noqa: T201
    return OK if all(each.good for each in findings) else FAILED


def _dns(host: str) -> tuple[set[str], Finding]:
    """Return the addresses of the server's name, and the finding about them."""
    import socket

    began = time.monotonic()
    try:
        found = {str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(host, None)}
    except OSError as error:
        fix = f"correct the URL, or let this machine's resolver know {host}: see /etc/resolv.conf and /etc/hosts"
        return set(), Finding("dns", good=False, found=f"{host}: {error}", fix=fix)
    took_s = time.monotonic() - began
    slow = "the resolver of this machine is slow: every call waits for it; check the servers in /etc/resolv.conf"
    words = f"{host} is {', '.join(sorted(found))} ({took_s * 1000:.0f} ms)"
    return found, Finding("dns", good=took_s < 2, found=words, fix=slow)  # noqa: PLR2004 - s


def _connection(chosen: Server) -> Iterator[Finding]:
    from jelmore_client import Jelmore
    from jelmore_client.core.requests import API, Request

    with Jelmore(chosen.url, api_key=chosen.api_key) as client:
        try:
            response = client.send(Request("GET", f"{API}/sessions", params={"limit": 1}))
        except errors.ConnectionFailedError as error:
            fix = "start it ('make run' or 'make up') or set JELMORE_URL"
            if isinstance(error, errors.CertificateError):
                fix = TRUST
            yield Finding("server", good=False, found=str(error), fix=fix)
            return
        except errors.UnauthenticatedError:
            yield Finding("server", good=True, found=f"{chosen.url} (from {chosen.source})")
            yield Finding("key", good=False, found=f"refused (from {chosen.source})", fix="jelmore login URL")
            return
        yield Finding("server", good=True, found=f"{chosen.url} (from {chosen.source})")
        yield Finding("key", good=True, found="accepted")
        if "date" in response.headers:
            yield _clock(response.headers["date"], time.time())
        yield from _health(client)
        yield _stream(client)
        yield _websocket(chosen)
        yield _credential(client)


def _runtimes(chosen: Server) -> dict[str, str]:
    """Return the runtimes that profiles of the server name, each with the name of one. Empty without an answer."""
    from jelmore_client import Jelmore

    try:
        with Jelmore(chosen.url, api_key=chosen.api_key) as client:
            profiles = client.profiles().profiles
    except errors.JelmoreError:
        return {}
    named = [((each.model_extra or {}).get("sandbox") or {}, each.name) for each in profiles]
    return {str(sandbox["runtime"]): name for sandbox, name in named if sandbox.get("runtime")}


def _clock(date: str, now_s: float) -> Finding:
    from email.utils import parsedate_to_datetime

    skew_s = parsedate_to_datetime(date).timestamp() - now_s
    good, direction = abs(skew_s) < MAX_CLOCK_SKEW_S, "behind" if skew_s > 0 else "ahead of"
    fix = "set the clock of this machine or of the server (timedatectl set-ntp true); tokens expire by the clock"
    found = f"{abs(skew_s):.0f} s apart" if good else f"this machine is {abs(skew_s):.0f} s {direction} the server"
    return Finding("clock", good=good, found=found, fix=fix)


def _health(client: "Jelmore") -> Iterator[Finding]:
    try:
        report = client.health()
    except errors.JelmoreError as error:
        yield Finding("health", good=False, found=str(error), fix="see the server's log")
        return
    overall = str(report.get("status"))
    yield Finding("health", good=overall == "ok", found=overall, fix="see the checks below it")
    checks = report.get("checks")
    for name, check in checks.items() if isinstance(checks, dict) else ():
        status = check.get("status") if isinstance(check, dict) else check
        detail = check.get("error") or check.get("message") or "" if isinstance(check, dict) else ""
        found = f"{status} {detail}".strip()
        yield Finding(f"  {name}", good=status == "ok", found=found, fix=f"docs/operations.md says what {name} is for")


def _stream(client: "Jelmore") -> Finding:
    """Read the beginning of the event stream: a proxy that buffers responses lets nothing through."""
    from jelmore_client.core.requests import API, Request

    began = time.monotonic()
    try:
        next(
            client.pieces(
                Request("GET", f"{API}/events/stream", params={"type": "system.session_erased"}, timeout_s=_STREAM_S)
            )
        )
    except (errors.JelmoreError, StopIteration, TimeoutError) as error:
        fix = "let the proxy in front of the server pass responses on as they come (nginx: proxy_buffering off)"
        return Finding("stream", good=False, found=str(error) or "nothing came", fix=fix)
    return Finding("stream", good=True, found=f"first event after {(time.monotonic() - began) * 1000:.0f} ms")


def _websocket(chosen: Server) -> Finding:
    """Open a WebSocket by hand: a proxy that does not know of upgrades answers with a page."""
    import base64
    import os

    import httpx

    from jelmore_client.core.trust import trusted

    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "X-API-Key": chosen.api_key,
    }
    fix = "let the proxy in front of the server pass the headers Connection and Upgrade on (a WebSocket, RFC 6455)"
    try:
        with (
            httpx.Client(timeout=_STREAM_S, trust_env=True, verify=trusted(chosen.url)) as http,
            http.stream("GET", f"{chosen.url.rstrip('/')}/api/v1/events/stream", headers=headers) as response,
        ):
            status = response.status_code
    except httpx.HTTPError as error:
        return Finding("websocket", good=False, found=str(error) or type(error).__name__, fix=fix)
    good = status == httpx.codes.SWITCHING_PROTOCOLS
    return Finding("websocket", good=good, found="opens" if good else f"refused with {status}", fix=fix)


def _credential(client: "Jelmore") -> Finding:
    """Ask the server whether the model API accepts its credential."""
    try:
        found = client.admin.check_model()
    except errors.ForbiddenError:
        return Finding("credential", good=True, found="not checked: that needs an admin key")
    except errors.JelmoreError as error:
        return Finding("credential", good=True, found=f"not checked: {error}")
    return credential_finding(found.model_dump())


def credential_finding(found: Mapping[str, Any]) -> Finding:
    """Return what a check of the model's credential means."""
    server, status = str(found.get("server")), int(found.get("status") or 0)
    if found.get("accepted"):
        with_it = "accepts the credential" if found.get("credential") else "answers; no credential is set"
        return Finding("credential", good=True, found=f"{server} {with_it}")
    if found.get("accepted") is False:
        name = "ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or CLAUDE_CODE_OAUTH_TOKEN"
        fix = f"set {name} for the gateway to one that {server} accepts, and restart the gateway"
        what = "refuses the credential" if found.get("credential") else "wants a credential, and none is set"
        return Finding("credential", good=False, found=f"{server} {what} ({status})", fix=fix)
    fix = f"the gateway must reach {server}: check ANTHROPIC_BASE_URL, and the way from its machine out"
    return Finding("credential", good=bool(status) and status < 500, found=str(found.get("problem")), fix=fix)  # noqa: PLR2004 - it answers
