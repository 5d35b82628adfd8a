"""Who is connected to a session's public URL, as the runner says on the relay."""

from typing import Final, Literal

from pydantic import BaseModel, Field

from jelmore_protocol.bounds import Id

MAX_CLIENTS: Final = 50


class PublicClient(BaseModel, defer_build=True):
    """One of them: the subject of a token."""

    subject: Id
    can_write: bool = False


class ClientsFrame(BaseModel, defer_build=True):
    """All of them, at each change. Managers that do not know this frame skip it."""

    type: Literal["clients"] = "clients"
    clients: list[PublicClient] = Field([], max_length=MAX_CLIENTS)
