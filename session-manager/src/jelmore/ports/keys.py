"""API keys and their roles."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What an API key may do."""

    ADMIN = "admin"
    CLIENT = "client"  # its own sessions only
    READONLY = "readonly"  # looks at every session


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller. The key itself is never stored, only its digest."""

    id: str
    name: str
    role: Role
    created_at: datetime
