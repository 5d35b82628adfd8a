"""The accounts of people who signed in at an identity provider, in PostgreSQL."""

from typing import Final

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database
from jelmore.drivers.postgres_rows import key_of
from jelmore.ports import ApiKey
from jelmore.ports.sign_in import Account
from jelmore.session.plain_text import clean_text

_SQL: Final = sql.queries("accounts")


class PostgresAccounts:
    """The `AccountStore` port."""

    def __init__(self, url: str, *, connections: int = 2, timeout_s: float = 10) -> None:
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def sign_in(self, account: Account, for_s: float) -> ApiKey | None:
        """Store or change an account; see the port."""
        row = await self._database.row(
            _SQL["sign_in"],
            id=account.id,
            name=clean_text(account.name),
            role=account.role.value,
            user_id=clean_text(account.user_id),
            for_s=for_s,
        )
        return key_of(row) if row else None

    async def end_sign_in(self, account_id: str) -> None:
        """End the sign-ins of an account."""
        await self._database.rows(_SQL["end_sign_in"], id=account_id)

    async def use_once(self, digest: str, for_s: float) -> bool:
        """Note that a sign-in is done; see the port."""
        return bool(await self._database.rows(_SQL["use_once"], digest=digest, for_s=for_s))

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()
