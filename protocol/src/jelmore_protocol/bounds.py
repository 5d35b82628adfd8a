"""Bounds shared by the API, the control messages and the runner, so that none refuses what another has accepted."""

from typing import Annotated, Final

from pydantic import Field

MAX_NAME_CHARACTERS: Final = 256
"""The bound of one-line texts: a model, a title, the name of a tool."""

MAX_ID_CHARACTERS: Final = 128
"""The bound of the id of an input, a frame or a pending request."""

MAX_ANSWER_CHARACTERS: Final = 4096
"""The bound of the message in the answer to a permission."""

MAX_TOKEN_CHARACTERS: Final = 8192
MAX_REVOKED_SUBJECTS: Final = 10_000
MAX_STOP_GRACE_S: Final = 60.0
MAX_SEQ: Final = 2**53
"""JavaScript clients cannot represent larger integers exactly."""

MAX_JSON_VALUES: Final = 100_000
"""The bound of objects, lists and commas in a frame or body: small values need 30 times the memory of their text."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]

MAX_QUEUED_INPUTS: Final = 100
"""How many inputs may wait for the agent."""
