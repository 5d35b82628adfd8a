"""Cursors and filters of the list."""

import base64
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from jelmore.api.paging import Position, decode_cursor, encode_cursor, metadata_filters, next_headers, page_headers
from jelmore.api.session_filters import kept_parameters
from jelmore.ports import ListQuery, Page, Sort
from jelmore.session.errors import InvalidRequestError
from jelmore.session.record import Session, Spec
from tests.support.records import lines

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def session() -> Session:
    return Session(id=uuid4(), owner="key", spec=Spec(), created_at=NOW, last_activity_at=NOW, since=NOW)


@given(st.uuids(), st.datetimes(timezones=st.just(UTC)))
def test_a_cursor_comes_back_in_its_own_order_only(last: UUID, at: datetime) -> None:
    for position, sort, other in (
        (Position(last, at), Sort.OLDEST, Sort.RECENTLY_ACTIVE),
        (Position(last, at), Sort.LONGEST_QUIET, Sort.NEWEST),
    ):
        assert decode_cursor(encode_cursor(position, sort), sort) == position
        with pytest.raises(InvalidRequestError, match=r"^cursor: is of a list with another `sort`$"):
            decode_cursor(encode_cursor(position, sort), other)


def test_a_cursor_of_an_earlier_version_goes_on_by_the_time_in_its_id() -> None:
    last = UUID("0190163d-8694-739b-aea5-966c26f8ad91")
    text = base64.urlsafe_b64encode(b"1" + last.bytes).decode().rstrip("=")
    made_at = datetime(2024, 6, 14, 10, 14, 9, 300000, tzinfo=UTC)
    assert decode_cursor(text, Sort.NEWEST) == Position(last, made_at)
    with pytest.raises(InvalidRequestError, match="another `sort`"):
        decode_cursor(text, Sort.RECENTLY_ACTIVE)


@given(st.text(max_size=64), st.sampled_from(Sort))
@example("Av________________________________w", Sort.RECENTLY_ACTIVE)
def test_any_other_text_is_refused_without_an_exception(text: str, sort: Sort) -> None:
    found = None
    with suppress(InvalidRequestError):
        found = decode_cursor(text, sort)
    assert found is None or encode_cursor(found, sort) == text.rstrip("=")


def test_filters_are_read_from_the_query_string() -> None:
    found = metadata_filters(QueryParams("metadata.team=blue&limit=3&metadata.a.b=c%20d"))
    assert (found.values, found.ranges) == ({"team": "blue", "a.b": "c d"}, ())


def test_ranges_are_read_and_repeated_in_the_link() -> None:
    text = (
        "metadata.n%5Bgte%5D=-2.50&metadata.n%5Blt%5D=9&metadata.due%5Bgt%5D=2026-01-31T01:00:00%2B02:00&metadata.n=3"
    )
    found = metadata_filters(QueryParams(text))
    assert found.values == {"n": "3"}
    assert [(each.name, each.comparison.value) for each in found.ranges] == [("n", "gte"), ("n", "lt"), ("due", "gt")]
    kept = kept_parameters(ListQuery(metadata=found.values, metadata_ranges=found.ranges))
    assert metadata_filters(QueryParams([each for each in kept if each[0].startswith("metadata.")])) == found


@pytest.mark.parametrize(
    ("query", "name", "message"),
    [
        ("metadata.n[ge]=1", "metadata.n[ge]", "gt, gte, lt, lte"),
        ("metadata.n[]=1", "metadata.n[]", "gt, gte, lt, lte"),
        ("metadata.n[gte]=abc", "metadata.n[gte]", "a number, or a date"),
        ("metadata.n[gte]=true", "metadata.n[gte]", "a number, or a date"),
        ("metadata.n[gte]=1e999", "metadata.n[gte]", "a number, or a date"),
        ("metadata.n[gte]=NaN", "metadata.n[gte]", "a number, or a date"),
        ("metadata.n[gte]=", "metadata.n[gte]", "a number, or a date"),
        ("metadata.n[gte]=2026-02-30", "metadata.n[gte]", "a number, or a date"),
        ("metadata.n[gte]=2026-01-31T12:00:00+02:00", "metadata.n[gte]", "encode + as %2B"),
        ("metadata.n[gte]=9999-12-31T23:59:59-14:00", "metadata.n[gte]", "a number, or a date"),  # the year 10000
        ("metadata.n[gte]=1&metadata.n[gte]=2", "metadata.n[gte]", "once"),
        ("&".join(f"metadata.k{n}[lt]=1" for n in range(11)), "metadata", "at most 10"),
    ],
)
def test_a_bad_range_is_refused_by_name(query: str, name: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        metadata_filters(QueryParams(query))
    assert str(refused.value).startswith(f"{name}: ")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        "metadata.=x",
        "metadata.a=1&metadata.a=2",
        "metadata.a=%00",
        "metadata.a=" + "x" * 300,
        "&".join(f"metadata.k{number}=1" for number in range(11)),
    ],
)
def test_bad_filters_are_refused(query: str) -> None:
    with pytest.raises(InvalidRequestError):
        metadata_filters(QueryParams(query))


def test_a_full_page_leads_to_the_next_with_the_same_filters() -> None:
    page = Page([session(), session()], more=True)
    headers = page_headers(page, 9, ListQuery(limit=2), "http://h/api/v1/sessions", [("metadata.a b", "c&d")])
    assert headers["X-Total-Count"] == "9"
    url, _, relation = headers["Link"].partition("; ")
    assert relation == 'rel="next"'
    query = parse_qs(urlsplit(url.strip("<>")).query)
    assert query["metadata.a b"] == ["c&d"]
    assert decode_cursor(query["cursor"][0], Sort.NEWEST) == Position(page[-1].id, NOW)


def test_the_last_page_leads_nowhere() -> None:
    assert "Link" not in page_headers(Page([session()]), 1, ListQuery(limit=2), "u", [])
    assert "Link" not in page_headers(Page(), 0, ListQuery(limit=2), "u", [])


def test_numbered_items_continue_after_the_last_one_that_was_read() -> None:
    assert next_headers("u", 3, Page(lines(4, 5))) == {}
    link = {"Link": '<u?kind=input&after=5&limit=9>; rel="next"'}
    assert next_headers("u", 9, Page(lines(4, 5), more=True), [("kind", "input")]) == link
