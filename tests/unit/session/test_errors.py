"""The drawing of the errors names each of them."""

import inspect
import re

from jelmore.session import errors


def test_every_error_is_in_the_drawing() -> None:
    defined = {name for name, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)}
    assert set(re.findall(r"\w+Error", errors.__doc__ or "")) == defined
