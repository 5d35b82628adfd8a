"""The quick start: its servers run as child processes. A deployment does not use this package."""

from jelmore.embedded.caddy import Caddy
from jelmore.embedded.nats import Nats
from jelmore.embedded.postgres import Postgres
from jelmore.embedded.service import Service, ServiceError
from jelmore.embedded.valkey import Valkey

__all__ = ["Caddy", "Nats", "Postgres", "Service", "ServiceError", "Valkey"]
