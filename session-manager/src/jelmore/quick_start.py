"""Where the quick start of a folder has its parts, for itself and for the commands beside it.

A command that looked elsewhere would save a backup without a workspace, or leave the containers behind.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from jelmore.settings import Settings
from jelmore.settings_addresses import sockets_fit

ADDRESS_FILE: Final = "database-url"


def places(settings: Settings) -> tuple[Path, str]:
    """Return the folder for sockets and the name of the installation that the quick start takes. Reads nothing."""
    chosen, data_dir = settings.model_fields_set, settings.data_dir
    run_dir = settings.run_dir if "run_dir" in chosen else _short_run_dir(data_dir)
    return run_dir, settings.instance if "instance" in chosen else f"quick-{_digest(data_dir)}"


def owns_database(settings: Settings) -> bool:
    """Return whether `DATABASE_URL` leads to a quick start's own database, which is a part of `data_dir`."""
    return settings.database_url.get_secret_value() == _own_url(settings.data_dir)


def beside(settings: Settings, *, expected: bool = False) -> Settings:
    """Return the settings of the quick start whose data are in `data_dir`; unchanged when there is none.

    `expected` is for a quick start that has yet to begin. A `DATABASE_URL` that is not the quick start's means another
    installation.
    """
    if not expected and not (settings.data_dir / "postgres").is_dir():
        return settings
    own_url = _own_url(settings.data_dir)
    changes: dict[str, Any] = {}
    if "database_url" not in settings.model_fields_set:
        changes |= {"database_url": SecretStr(own_url)} if own_url else {}
    elif own_url != settings.database_url.get_secret_value():
        return settings
    run_dir, instance = places(settings)
    return settings.model_copy(update={**changes, "run_dir": run_dir, "instance": instance})


def _own_url(data_dir: Path) -> str | None:
    kept = data_dir / ADDRESS_FILE
    return kept.read_text("utf-8").strip() if kept.is_file() else None


def _short_run_dir(data_dir: Path) -> Path:
    """Return the folder for sockets: beside the data, or in /tmp when the paths are too long for the kernel."""
    near = data_dir / "run"
    if sockets_fit(near):
        return near
    return Path("/tmp") / f"jelmore-{os.getuid()}-{_digest(data_dir)}"  # noqa: S108 - made 0700 and ours


def _digest(data_dir: Path) -> str:
    """Return a name for the quick start of a folder. Several can share an engine."""
    return hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
