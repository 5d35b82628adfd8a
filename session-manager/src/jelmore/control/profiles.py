"""The profiles of a deployment, read again when their file changes. A file with an error changes nothing."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import structlog

from jelmore.ports.clock import Clock
from jelmore.ports.profiles import ProfileSource
from jelmore.session.errors import InvalidRequestError, RefusedError
from jelmore.session.network import MODES
from jelmore.session.profiles import BUILT_IN, DEFAULT_NAME, Ceiling, Profile
from jelmore.session.sandbox_choice import read_choice

_log = structlog.get_logger(__name__)

POLL_S: Final = 2.0
_PARTS: Final = frozenset({"description", "defaults", "fixed", "ceiling", "pool", "image", "skills_dir", "runtime"})
MAX_POOL: Final = 100
_NUMBERS: Final = frozenset(
    {"max_turns", "max_budget_usd", "timeout_minutes", "lifetime_s", "memory_bytes", "cpus", "pids", "workspace_bytes"}
    | {"output_bytes", "output_bytes_per_s"}
)
_FLAGS: Final = frozenset({"repository_hooks", "repository_rules", "setup"})

type Check = Callable[[Mapping[str, Any]], None]
"""Raises InvalidRequestError naming a field that a create does not have, or one with a bad value."""


@dataclass(frozen=True, slots=True)
class LoadError:
    """Why the present file is not in force."""

    message: str
    at: datetime


class Profiles:
    """The profiles that are in force. Call `load` first."""

    def __init__(self, source: ProfileSource, check: Check, clock: Clock) -> None:
        self._source = source
        self._check = check
        self._clock = clock
        self._known: Mapping[str, Profile] = {DEFAULT_NAME: BUILT_IN}
        self.error: LoadError | None = None
        self.loaded_at: datetime | None = None

    @property
    def all(self) -> list[Profile]:
        """All profiles, by name."""
        return [self._known[name] for name in sorted(self._known)]

    @property
    def file(self) -> str | None:
        """The name of the file, if there is one."""
        return self._source.name

    def named(self, name: str | None) -> Profile:
        """Return the profile, or the one named `default` for None. Raises InvalidRequestError for an unknown one."""
        found = self._known.get(DEFAULT_NAME if name is None else name)
        if found is None:
            raise InvalidRequestError(f"profile: there is no {name!r}; there are: {', '.join(sorted(self._known))}")
        return found

    async def load(self) -> None:
        """Read the file at the start of a manager. Raises RefusedError when it cannot be used."""
        await self._reload()
        if self.error is not None:
            raise RefusedError("profiles", f"JELMORE_PROFILES: {self._source.name}: {self.error.message}")

    async def run(self) -> None:
        """Read the file again whenever it has changed, until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.reload_if_changed()

    async def reload_if_changed(self) -> None:
        """Read the file again if it has changed. An error is kept, and the profiles in force stay."""
        if await self._source.changed():
            await self._reload()

    def report(self) -> Mapping[str, Any]:
        """Return what the health report says."""
        return {"profiles": len(self._known), "error": self.error and self.error.message}

    async def _reload(self) -> None:
        try:
            self._known = parse(await self._source.read(), self._check)
        except InvalidRequestError as error:
            self.error = LoadError(str(error), self._clock.now())
            _log.error("profiles_not_loaded", file=self._source.name, error=str(error), in_force=sorted(self._known))
            return
        self.error, self.loaded_at = None, self._clock.now()
        _log.info("profiles_loaded", file=self._source.name, profiles=sorted(self._known))


def parse(content: Mapping[str, Any], check: Check) -> dict[str, Profile]:
    """Return the profiles of a file, with the built-in `default` if it names none. Raises InvalidRequestError."""
    tables = content.get("profiles", {})
    if not isinstance(tables, dict) or content.keys() - {"profiles"}:
        raise InvalidRequestError("the file must have tables [profiles.NAME] and nothing else")
    profiles = {DEFAULT_NAME: BUILT_IN}
    for name, table in tables.items():
        try:
            profiles[name] = _profile(name, table, check)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"profiles.{name}.{error}") from None
    return profiles


def _profile(name: str, table: object, check: Check) -> Profile:
    if not isinstance(table, dict):
        raise InvalidRequestError("must be a table")
    for part in table:
        if part not in _PARTS:
            raise InvalidRequestError(f"{part}: is unknown; there are {', '.join(sorted(_PARTS))}")
    description = table.get("description", "")
    if not isinstance(description, str):
        raise InvalidRequestError("description: must be a text")
    for part in ("defaults", "fixed"):
        _check_fields(part, table.get(part, {}), check)
    profile = Profile(
        name,
        description,
        table.get("defaults", {}),
        table.get("fixed", {}),
        _ceiling(table.get("ceiling", {})),
        _pool(table.get("pool")),
        read_choice(table),
    )
    try:
        profile.check({**profile.defaults, **profile.fixed})
    except InvalidRequestError as error:
        raise InvalidRequestError(f"ceiling: the profile's own {error}") from None
    return profile


def _pool(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_POOL):
        return value
    raise InvalidRequestError(f"pool: must be a whole number from 0 to {MAX_POOL}")


def _check_fields(part: str, values: object, check: Check) -> None:
    if not isinstance(values, dict):
        raise InvalidRequestError(f"{part}: must be a table")
    for name in ("profile", "query"):
        if name in values:
            raise InvalidRequestError(f"{part}.{name}: cannot be set by a profile")
    try:
        check(values)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{part}.{error}") from None


def _ceiling(values: object) -> Ceiling:
    if not isinstance(values, dict):
        raise InvalidRequestError("ceiling: must be a table")
    known = [each.name for each in fields(Ceiling)]
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InvalidRequestError(f"ceiling.{name}: is unknown; there are {', '.join(known)}")
        given[name] = _bound(name, value)
    return Ceiling(**given)


def _bound(name: str, value: object) -> object:
    if name in _FLAGS:
        if isinstance(value, bool):
            return value
        raise InvalidRequestError(f"ceiling.{name}: must be true or false")
    if name in _NUMBERS:
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return value
        raise InvalidRequestError(f"ceiling.{name}: must be a number above 0")
    if name == "network":
        if value in MODES:
            return value
        raise InvalidRequestError(f"ceiling.network: must be one of {', '.join(MODES)}")
    if isinstance(value, list) and all(isinstance(each, str) and each for each in value):
        return tuple(value)
    raise InvalidRequestError(f"ceiling.{name}: must be a list of texts")
