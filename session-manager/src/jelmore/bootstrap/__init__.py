"""Wires the parts of a manager: the only place that chooses concrete drivers, once, from the settings.

drivers.py   every concrete driver, its health check, and the order in which connections are closed
parts.py     the control plane on these drivers: services for the API, and loops
loops.py     what a loop is, and its line in the health report
manager.py   the start and the end of a manager
app.py       the ASGI application

To add a driver, extend `Drivers`. To add a service or a loop, extend `Parts`, or write a group of parts in a module of
its own, as `event_services.py` does.
"""

from jelmore.bootstrap.app import make_app
from jelmore.bootstrap.drivers import make_sandboxes
from jelmore.bootstrap.manager import Manager

__all__ = ["Manager", "make_app", "make_sandboxes"]
