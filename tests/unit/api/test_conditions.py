import pytest

from jelmore.api.conditions import byte_range, entity_tags, http_date
from jelmore.session.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bytes=0-4", (0, 4)),
        ("bytes=5-", (5, None)),
        ("bytes=-3", (None, 3)),
        (None, None),
        ("bytes=4-2", None),
        ("bytes=0-1,3-4", None),
        ("lines=1-2", None),
        ("bytes=-", None),
        ("bytes=٣-", None),
    ],
)
def test_a_range_is_parsed_or_ignored(text: str | None, wanted: object) -> None:
    assert byte_range(text) == wanted


def test_entity_tags_are_parsed_or_refused_by_name() -> None:
    assert entity_tags("If-Match", None) == []
    assert entity_tags("If-Match", '"a", W/"b,c" ,*') == ['"a"', 'W/"b,c"', "*"]
    for text in ("a", '"a', '"a" "b"', '"a",' * 51):
        with pytest.raises(InvalidRequestError, match="If-Match"):
            entity_tags("If-Match", text)


def test_dates_are_bounded() -> None:
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date(-5) == http_date(0)
    assert http_date(1e18).endswith("9999 23:59:59 GMT")
