"""Bounds that the API, the control messages and the runner share, so that what one accepts no other refuses."""

from typing import Annotated, Final

from pydantic import Field

MAX_NAME_CHARACTERS: Final = 256
"""A model, a title, a tool: everything that is shown on one line."""

MAX_ID_CHARACTERS: Final = 128
"""The id of an input, of a frame or of a pending request."""

MAX_ANSWER_CHARACTERS: Final = 4096
"""The message that goes with the answer to a permission."""

MAX_TOKEN_CHARACTERS: Final = 8192
MAX_REVOKED_SUBJECTS: Final = 10_000
MAX_STOP_GRACE_S: Final = 60.0
MAX_SEQ: Final = 2**53
"""Beyond this no store and no JavaScript client keeps a number exactly."""

MAX_JSON_DEPTH: Final = 100
MAX_JSON_VALUES: Final = 100_000
"""Objects, lists and separators of one frame or body: parsed JSON of many small values needs 30 times its text."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
