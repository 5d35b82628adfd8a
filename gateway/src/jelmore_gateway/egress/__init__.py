"""The egress proxy: connections from a sandbox to hosts that its session's policy allows, and to no others.

`policy`, `addresses`, `client_hello`, `requests` and `ledger` decide and do no I/O. `resolver`, `proxy`, `tunnel` and
`plain_http` act; `holds` keeps connections waiting until a person decides. The rest of the gateway needs `EgressProxy`,
`EgressSession` and `Holds` only.
"""

from jelmore_gateway.egress.addresses import AddressRules
from jelmore_gateway.egress.holds import DecidedError, Holds, UnknownHoldError
from jelmore_gateway.egress.limits import Deadlines, EgressLimits
from jelmore_gateway.egress.policy import Policy, Reason, Refusal
from jelmore_gateway.egress.proxy import EgressProxy
from jelmore_gateway.egress.session import EgressRecord, EgressSession

__all__ = [
    "AddressRules",
    "Deadlines",
    "DecidedError",
    "EgressLimits",
    "EgressProxy",
    "EgressRecord",
    "EgressSession",
    "Holds",
    "Policy",
    "Reason",
    "Refusal",
    "UnknownHoldError",
]
