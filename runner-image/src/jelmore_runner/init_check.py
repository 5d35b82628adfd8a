"""Whether this runner can serve a session as its init asks for."""

from uuid import UUID

from jelmore_protocol import ProtocolError, negotiated
from jelmore_protocol.control import FEATURES, Init
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.errors import RefusedError


def check_init(init: Init) -> None:
    """Return when the protocol, the required features and the session's id are understood. Raises RefusedError."""
    try:
        negotiated(init.protocol)
    except ProtocolError as error:
        raise RefusedError(ErrorCode.CONFLICT, str(error)) from None
    if unknown := sorted(set(init.requires) - set(FEATURES)):
        raise RefusedError(ErrorCode.CONFLICT, f"this runner does not know what is required: {unknown}")
    try:
        UUID(init.session_id)
    except ValueError:
        raise RefusedError(ErrorCode.BAD_FRAME, "session_id: it must be a UUID") from None
