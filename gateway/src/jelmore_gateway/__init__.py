"""The gateway: the only way out of a session's sandbox.

It is a process of its own, so that the manager holds no credential and a turn continues while the manager is down. Each
sandbox has its own folder of sockets here; which socket a request arrives on says whose request it is.

It imports `jelmore_protocol` and libraries, and neither the manager nor the runner.
"""

__version__ = "0.1.0"
