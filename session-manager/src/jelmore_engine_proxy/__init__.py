"""An allow list in front of the Docker engine's socket: the calls that Jelmore makes, for the objects that it owns.

Whoever may talk to an engine has its host. The manager therefore talks to this process, which alone has the engine's
socket. `routes`, `bodies` and `objects` decide without I/O; `proxy` carries what they allow. Nothing here imports the
manager: what a sandbox may be is written down a second time, and tests compare the two.
"""
