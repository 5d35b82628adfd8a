"""Whether this runner can serve a session as its init asks for, or prepare for it."""

from uuid import UUID

from jelmore_protocol import ProtocolError, negotiated
from jelmore_protocol.control import FEATURES, Init, Prepare
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.errors import RefusedError


def check_init(init: Init) -> None:
    """Return when the protocol, the required features and the session's id are understood. Raises RefusedError."""
    _check_protocol(init.protocol)
    if unknown := sorted(set(init.requires) - set(FEATURES)):
        raise RefusedError(ErrorCode.CONFLICT, f"this runner does not know what is required: {unknown}")
    _check_id(init.session_id)


def check_prepare(prepare: Prepare) -> None:
    """Return when the protocol and the session's id are understood. Raises RefusedError."""
    _check_protocol(prepare.protocol)
    _check_id(prepare.session_id)
    if prepare.options.mcp_servers:
        raise RefusedError(ErrorCode.BAD_FRAME, "options.mcp_servers: an agent without a session may not use any")


def _check_protocol(protocol: int) -> None:
    try:
        negotiated(protocol)
    except ProtocolError as error:
        raise RefusedError(ErrorCode.CONFLICT, str(error)) from None


def _check_id(session_id: str) -> None:
    try:
        UUID(session_id)
    except ValueError:
        raise RefusedError(ErrorCode.BAD_FRAME, "session_id: it must be a UUID") from None
