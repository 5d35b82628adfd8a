"""The limit on wrong keys per client address, in virtual time."""

import secrets
from contextlib import ExitStack, suppress

import pytest

from jelmore.api.failures import MAX_ADDRESSES, FailedCredentials, TooManyFailuresError
from jelmore.api.peers import client_address, is_local
from jelmore.control.access import new_key
from jelmore.control.people import INVITE_PREFIX, PARTICIPANT_PREFIX
from jelmore.session.errors import DependencyError, UnauthenticatedError

ADDRESS = "192.0.2.7"


class Time:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fail(failures: FailedCredentials, given: str = "wrong", address: str = ADDRESS) -> type[Exception]:
    """Try a wrong credential; return what comes of it."""
    with pytest.raises((UnauthenticatedError, TooManyFailuresError)) as raised, failures.attempt(address, given):
        raise UnauthenticatedError("this API key is not known")
    return raised.type


def is_looked_up(failures: FailedCredentials, given: str, address: str = ADDRESS) -> bool:
    """Try a valid credential; return whether it was looked up."""
    try:
        with failures.attempt(address, given):
            return True
    except TooManyFailuresError:
        return False


def used_up(time: Time, per_minute: int = 3) -> FailedCredentials:
    failures = FailedCredentials(per_minute, now=time)
    for _ in range(per_minute):
        assert fail(failures) is UnauthenticatedError
    return failures


def test_failures_beyond_the_limit_wait_for_as_long_as_retry_after_says() -> None:
    time = Time()
    failures = used_up(time)
    with pytest.raises(TooManyFailuresError) as refused, failures.attempt(ADDRESS, "wrong"):
        pytest.fail("a guess was looked up")
    assert 20 <= refused.value.retry_after_s <= 21
    time.now_s += refused.value.retry_after_s
    assert fail(failures) is UnauthenticatedError
    assert fail(failures) is TooManyFailuresError


@pytest.mark.parametrize("prefix", ["jlm_", PARTICIPANT_PREFIX, INVITE_PREFIX])
def test_a_credential_that_was_made_here_is_looked_up_whatever_others_did(prefix: str) -> None:
    failures = used_up(Time())
    made = prefix + secrets.token_urlsafe(32)
    assert is_looked_up(failures, made)
    assert fail(failures, made) is TooManyFailuresError
    assert is_looked_up(failures, new_key())


def test_a_chosen_key_that_was_accepted_before_is_looked_up_whatever_others_did() -> None:
    failures = FailedCredentials(3, now=Time())
    assert is_looked_up(failures, "chosen by a person")
    for _ in range(10):
        fail(failures)
    assert is_looked_up(failures, "chosen by a person")
    assert not is_looked_up(failures, "another")


def test_valid_keys_use_nothing_up() -> None:
    failures = FailedCredentials(2, now=Time())
    for number in range(10):
        assert is_looked_up(failures, f"chosen {number}")
    assert [fail(failures) for _ in range(3)] == [UnauthenticatedError, UnauthenticatedError, TooManyFailuresError]


def test_a_chosen_key_may_be_used_many_times_at_once_from_the_first_moment() -> None:
    failures = FailedCredentials(2, now=Time())
    with ExitStack() as requests:
        for _ in range(10):
            requests.enter_context(failures.attempt(ADDRESS, "chosen by a person"))


def test_guesses_at_once_are_paid_off_before_the_next_one() -> None:
    time = Time()
    failures = FailedCredentials(60, now=time)
    pending = [failures.attempt(ADDRESS, f"guess {number}") for number in range(100)]
    for each in pending:
        each.__enter__()
    wrong = UnauthenticatedError("this API key is not known")
    for each in pending:
        with suppress(UnauthenticatedError, TooManyFailuresError):
            each.__exit__(type(wrong), wrong, None)
    time.now_s += 40
    assert not is_looked_up(failures, "another")
    time.now_s += 2
    assert is_looked_up(failures, "another")


def test_what_says_nothing_about_the_key_is_no_failure() -> None:
    failures = FailedCredentials(1, now=Time())
    for _ in range(3):
        with pytest.raises(DependencyError), failures.attempt(ADDRESS, "chosen by a person"):
            raise DependencyError("postgres", "away")
    assert fail(failures) is UnauthenticatedError


def test_addresses_do_not_share_and_the_network_of_a_subscriber_does() -> None:
    failures = used_up(Time())
    assert fail(failures, address="192.0.2.8") is UnauthenticatedError
    assert fail(failures, address=f"::ffff:{ADDRESS}") is TooManyFailuresError
    for host in range(3):
        assert fail(failures, address=f"2001:db8:1:2::{host + 1}") is UnauthenticatedError
    assert fail(failures, address="2001:db8:1:2:ffff::1") is TooManyFailuresError
    assert fail(failures, address="2001:db8:1:3::1") is UnauthenticatedError


def test_programs_of_this_machine_and_a_limit_of_0_have_none() -> None:
    failures = FailedCredentials(1, now=Time())
    assert [fail(failures, address="") for _ in range(3)] == [UnauthenticatedError] * 3
    unlimited = FailedCredentials(0, now=Time())
    assert [fail(unlimited) for _ in range(3)] == [UnauthenticatedError] * 3


def test_memory_is_bounded() -> None:
    failures = FailedCredentials(3, now=Time())
    for number in range(MAX_ADDRESSES + 10):
        fail(failures, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert failures.addresses == MAX_ADDRESSES


def test_only_who_connects_to_the_managers_own_socket_may_say_for_whom() -> None:
    forged = [(b"x-forwarded-for", b"6.6.6.6, 192.0.2.7")]
    assert client_address({"type": "http", "client": None, "headers": forged}) == "192.0.2.7"
    assert client_address({"type": "http", "client": ("198.51.100.1", 1), "headers": forged}) == "198.51.100.1"
    assert client_address({"type": "http", "client": None, "headers": [*forged, (b"x-forwarded-for", b"::1")]}) == "::1"
    assert is_local({"type": "http", "client": None, "headers": []})
    assert not is_local({"type": "http", "client": None, "headers": forged})
    assert not is_local({"type": "http", "client": ("127.0.0.1", 1), "headers": []})
