"""Limit on failed credentials per client address, so that keys cannot be tried out.

Many clients may share an address, behind a proxy or a network's router. A valid key is therefore never refused for the
failures of others: keys that Jelmore has made (256 random bits) are always looked up, because trying those out is
hopeless at any rate, and so is a chosen key that was accepted before. Only what may be a guess at a chosen key
(`JELMORE_API_KEY`) is refused without being looked up.
"""

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

import structlog

from jelmore.control.access import digest
from jelmore.session.errors import CapacityError, UnauthenticatedError

_log = structlog.get_logger(__name__)

MAX_ADDRESSES: Final = 10_000
_MAX_ACCEPTED: Final = 1000
_GENERATED: Final = re.compile(r"jl[mpi]_[A-Za-z0-9_-]{43}")
_IPV6_NETWORK_BITS: Final = 64
"""What one subscriber is given: who has one address of it has them all."""


class TooManyFailuresError(CapacityError):
    """Too many credentials from this address were wrong."""

    code: ClassVar[str] = "too_many_failures"


@dataclass(slots=True)
class _Failures:
    """How many failures an address has left, as of `at_s`."""

    left: float
    at_s: float
    reported: bool = False


class FailedCredentials:
    """One token bucket per address: bursts of `per_minute` failures, refilled evenly. 0 means no limit.

    Each manager counts by itself. At most `MAX_ADDRESSES` are remembered; the least recently used is forgotten.
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._now = now
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()
        self._accepted: OrderedDict[str, None] = OrderedDict()  # digests of chosen keys

    @contextmanager
    def attempt(self, address: str, given: str) -> Iterator[None]:
        """Look up the credential `given` within this context, which counts an UnauthenticatedError as a failure.

        Raises TooManyFailuresError, for a guess before it is looked up. The empty address, of programs of this
        machine, has no limit.
        """
        if not self._per_minute or not address:
            yield
            return
        key = _bucket_of(address)
        guess = not _GENERATED.fullmatch(given) and digest(given) not in self._accepted
        if guess and self._bucket(key).left < 1:
            raise self._refused(key)
        try:
            yield
        except UnauthenticatedError:
            bucket = self._bucket(key)
            exceeded = bucket.left < 1
            if guess or not exceeded:
                # Guesses that were looked up at once may exceed the limit together. They are paid off before the next.
                bucket.left -= 1
            if exceeded:
                raise self._refused(key) from None
            raise
        if guess:
            self._remember(given)

    def _refused(self, key: str) -> TooManyFailuresError:
        bucket = self._bucket(key)
        if not bucket.reported:
            bucket.reported = True
            _log.warning("credentials_refused", address=key, failures_per_minute=self._per_minute)
        wait_s = max(1, round((1 - bucket.left) * 60 / self._per_minute + 0.5))
        detail = "too many wrong keys came from this address; wait before the next attempt"
        return TooManyFailuresError(detail, retry_after_s=wait_s)

    def _bucket(self, key: str) -> _Failures:
        now = self._now()
        bucket = self._addresses.pop(key, None) or _Failures(self._per_minute, now)
        bucket.left = min(self._per_minute, bucket.left + (now - bucket.at_s) * self._per_minute / 60)
        bucket.reported &= bucket.left < self._per_minute
        bucket.at_s = now
        self._addresses[key] = bucket
        if len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        return bucket

    def _remember(self, given: str) -> None:
        self._accepted[digest(given)] = None
        if len(self._accepted) > _MAX_ACCEPTED:
            self._accepted.popitem(last=False)

    @property
    def addresses(self) -> int:
        """How many addresses are remembered."""
        return len(self._addresses)


def _bucket_of(address: str) -> str:
    """Return what shares one limit: an IPv4 address, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found), _IPV6_NETWORK_BITS), strict=False))
