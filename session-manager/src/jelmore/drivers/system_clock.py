"""The host's clock."""

from datetime import UTC, datetime


class SystemClock:
    """The `Clock` port."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)
