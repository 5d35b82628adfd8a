"""The table of calls, and the check of method, path and query against it. Pure.

A path has no escapes, no empty segment and no dots at the beginning of one; a query has no name twice. So the engine
cannot read another target from what this file has read, and it gets one that is written again.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final
from urllib.parse import parse_qsl, urlencode

from jelmore_engine_proxy.objects import Use
from jelmore_engine_proxy.policy import CONTAINER_NAME, INSTANCE, NOT_AN_IMAGE, SESSION, UUID_TEXT, Policy, RefusedError

DEFAULT_S: Final = 120.0
MAX_TARGET_CHARS: Final = 4096

_TARGET: Final = re.compile(r"(?:/(v1\.(?:4[1-9]|[5-9][0-9])))?((?:/[A-Za-z0-9_][A-Za-z0-9_.:@-]*)+)")
"""API versions below 1.41 read bodies in other ways: before 1.24, `start` took a whole configuration."""

_CONTAINER: Final = r"(?P<container>[A-Za-z0-9][A-Za-z0-9_.-]{0,127})"
_VOLUME: Final = rf"(?P<volume>jelmore-{UUID_TEXT})"


class Body(Enum):
    """What a call carries."""

    NONE = auto()
    CONTAINER = auto()  # checked by `bodies.create_container`
    VOLUME = auto()  # checked by `bodies.create_volume`
    ARCHIVE = auto()  # passed on as it comes


type _Query = Callable[[str, Policy], bool]


@dataclass(frozen=True, slots=True)
class Route:
    """A call that Jelmore makes. `silence_s` bounds how long the engine may say nothing, None: it may be silent."""

    method: str
    path: re.Pattern[str]
    query: Mapping[str, _Query] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    body: Body = Body.NONE
    use: Use | None = None
    removes_volume: bool = False
    is_info: bool = False
    silence_s: float | None = DEFAULT_S


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose target is allowed. Its body, its container and its volume are still to be checked."""

    route: Route
    version: str  # as `/v1.41`, or empty
    path: str
    query: tuple[tuple[str, str], ...]
    container: str | None
    volume: str | None
    container_at: int  # where the container's name begins in `path`

    def target(self, container_id: str | None = None) -> str:
        """Return the target for the engine. A container is named by its full id: a name may change its owner."""
        path = self.path
        if self.container is not None and container_id is not None:
            path = path[: self.container_at] + container_id + path[self.container_at + len(self.container) :]
        return f"{self.version}{path}" + (f"?{urlencode(self.query)}" if self.query else "")

    @property
    def name(self) -> str:
        """The name of the container that is created, empty for other calls."""
        return dict(self.query).get("name", "")


def read(method: str, target: str, policy: Policy) -> Call:
    """Return the call that a request line makes. Raises RefusedError."""
    path, _, query = target.partition("?")
    found = _TARGET.fullmatch(path) if len(target) <= MAX_TARGET_CHARS else None
    if found is None:
        raise RefusedError("the path is not in its plain form, or of an API version before 1.41")
    version, plain = found[1], found[2]
    known = [(route, match) for route in ROUTES if (match := route.path.fullmatch(plain)) is not None]
    for route, match in known:
        if route.method == method:
            pairs = _read_query(query, route, policy)
            groups = match.groupdict()
            if "image" in groups and groups["image"] not in policy.images:
                raise RefusedError(f"the image {groups['image'][:100]} is {NOT_AN_IMAGE}")
            prefix = f"/{version}" if version else ""
            at = match.start("container") if "container" in groups else 0
            return Call(route, prefix, plain, pairs, groups.get("container"), groups.get("volume"), at)
    raise RefusedError(f"{method[:10]!a} {plain[:200]} is not a call that Jelmore makes")


def _read_query(text: str, route: Route, policy: Policy) -> tuple[tuple[str, str], ...]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict") if text else []
    except ValueError:
        raise RefusedError("the query is not well-formed") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise RefusedError("the query has a name twice")
    for name, value in pairs:
        if name not in route.query or not route.query[name](value, policy):
            raise RefusedError(f"the query {name[:40]!a}={value[:100]!a} is not one that Jelmore sends")
    for name in route.required:
        if name not in given:
            raise RefusedError(f"the query lacks {name}")
    return tuple(pairs)


def _is_flag(value: str, _: Policy) -> bool:
    return value in {"0", "1", "true", "false"}


def _is_count(value: str, _: Policy) -> bool:
    return re.fullmatch("[0-9]{1,6}", value) is not None


def _is_moment(value: str, _: Policy) -> bool:
    return re.fullmatch(r"[0-9]{1,12}(\.[0-9]{9})?", value) is not None


def _is_name(value: str, _: Policy) -> bool:
    return CONTAINER_NAME.fullmatch(value) is not None


def _is_read_path(value: str, _: Policy) -> bool:
    return value in {"/session", "/session/state/journal.jsonl"}


def _is_root(value: str, _: Policy) -> bool:
    return value == "/"


def _filters(value: str) -> dict[str, list[str]] | None:
    """Return the filters, None when they are not lists of texts in the one spelling that Jelmore uses."""
    try:
        given = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or not all(isinstance(each, list) for each in given.values()):
        return None
    texts = all(isinstance(each, str) for words in given.values() for each in words)
    return given if texts and value == json.dumps(given) else None  # so no name occurs twice


def _selects_ours(value: str, policy: Policy) -> bool:
    """Return whether filters select nothing but this installation's containers or their events."""
    given = _filters(value) or {}
    ours, labels = f"{INSTANCE}={policy.instance}", given.get("label", [])
    others = [each for each in labels if each != ours]
    return (
        set(given) <= {"label", "type", "event"}
        and ours in labels
        and all(each.startswith(f"{SESSION}=") for each in others)
        and given.get("type", ["container"]) == ["container"]
    )


def _selects_volumes(value: str, policy: Policy) -> bool:
    return _filters(value) in ({"label": [f"{INSTANCE}={policy.instance}"]}, {"name": ["^jelmore-"]})


def _route(method: str, path: str, **more: object) -> Route:
    return Route(method, re.compile(path), **more)  # type: ignore[arg-type]  # the table below is checked by its use


ROUTES: Final = (
    _route("GET", "/_ping"),
    _route("GET", "/version"),
    _route("GET", "/info", is_info=True),
    _route("GET", r"/images/(?P<image>[A-Za-z0-9_./:@-]+)/json"),
    _route(
        "GET",
        "/events",
        query={"since": _is_moment, "filters": _selects_ours},
        required=("filters",),
        silence_s=None,
    ),
    _route("GET", "/containers/json", query={"all": _is_flag, "filters": _selects_ours}, required=("filters",)),
    _route("POST", "/containers/create", query={"name": _is_name}, required=("name",), body=Body.CONTAINER),
    _route("GET", f"/containers/{_CONTAINER}/json", use=Use.LOOK),
    _route(
        "GET",
        f"/containers/{_CONTAINER}/logs",
        query={"stdout": _is_flag, "stderr": _is_flag, "tail": _is_count},
        use=Use.READ_FILES,
    ),
    _route("POST", f"/containers/{_CONTAINER}/start", use=Use.START),
    _route("POST", f"/containers/{_CONTAINER}/pause", use=Use.CHANGE),
    _route("POST", f"/containers/{_CONTAINER}/unpause", use=Use.CHANGE),
    _route("DELETE", f"/containers/{_CONTAINER}", query={"force": _is_flag}, use=Use.CHANGE),
    _route(
        "GET",
        f"/containers/{_CONTAINER}/archive",
        query={"path": _is_read_path},
        required=("path",),
        use=Use.READ_FILES,
    ),
    _route(
        "PUT",
        f"/containers/{_CONTAINER}/archive",
        query={"path": _is_root},
        required=("path",),
        body=Body.ARCHIVE,
        use=Use.WRITE_FILES,
        silence_s=3600.0,
    ),
    _route("GET", "/volumes", query={"filters": _selects_volumes}, required=("filters",)),
    _route("POST", "/volumes/create", body=Body.VOLUME),
    _route("GET", f"/volumes/{_VOLUME}"),
    _route("DELETE", f"/volumes/{_VOLUME}", query={"force": _is_flag}, removes_volume=True),
)
"""Every call that the manager makes. `exec`, `attach`, `commit`, `build`, networks and plugins are not among them."""
