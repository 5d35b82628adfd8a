"""Which stdio servers there are: a file of the operator's, in the form that MCP clients use. No call adds one."""

import json
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from jelmore_protocol.gateway import CREDENTIAL_NAME, LocalServer

VARIABLE_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
MAX_FILE_BYTES: Final = 1024 * 1024

_Variable = Annotated[str, StringConstraints(pattern=VARIABLE_NAME)]
_Credential = Annotated[str, StringConstraints(pattern=f"^{CREDENTIAL_NAME}$")]
_Name = Annotated[str, StringConstraints(pattern=f"^{CREDENTIAL_NAME}$")]
_Text = Annotated[str, StringConstraints(max_length=32 * 1024, pattern=r"^[^\x00]*$")]


class ConfigError(ValueError):
    """The file cannot be used. The text names the field."""


class StdioServer(BaseModel):
    """A command that speaks MCP on its standard input and output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: _Text = Field(min_length=1)
    args: list[_Text] = Field([], max_length=1000)
    env: dict[_Variable, _Text] = Field({}, max_length=200)
    credentials: dict[_Variable, _Credential] = Field({}, max_length=50)  # variable -> name of a credential
    users: list[str] | None = Field(None, max_length=1000)  # None: sessions of every user
    profiles: list[str] | None = Field(None, max_length=1000)
    idle_s: float = Field(900.0, gt=0, le=86_400)  # without a message, until its process ends
    memory_bytes: int = Field(1024**3, ge=16 * 1024**2)  # of data of each of its processes
    cpu_s: int = Field(3600, ge=1)  # of each of its processes, over its life

    def shown(self, name: str) -> LocalServer:
        """Return what the gateway gets to know of it."""
        return LocalServer(name=f"mcp/{name}", credentials=self.credentials, users=self.users, profiles=self.profiles)


class StdioConfig(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mcpServers: dict[_Name, StdioServer] = Field(max_length=100)  # noqa: N815 - the name that clients use


def read_config(path: Path) -> StdioConfig:
    """Return the configuration in a file. Raises ConfigError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        return StdioConfig.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, ConfigError) else ConfigError(f"{path}: is not JSON: {error}") from None
