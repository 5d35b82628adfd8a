"""What an act leaves behind, where its result says so: the next step then needs no new look at the world. Pure.

A step is still taken alone, and a crash between two steps is still harmless: the next manager looks, and decides the
same. Only acts on the way to a session that can be used are here; everything else is decided from a new look.
"""

from dataclasses import replace
from typing import Final

from jelmore.session.acts import Act
from jelmore.session.world import Route, Runner, World

MAX_STEPS: Final = 6
"""The most steps of one pass. The longest way (init, attach, deliver, publish, record) has five."""


def world_after(world: World, act: Act, runner: Runner | None = None) -> World | None:
    """Return the world as a successful act has left it; None when only a new look can show it.

    `runner` is what the runner answered to an init.
    """
    match act:
        case Act.INIT if runner is not None:
            return replace(world, runner=runner)
        case Act.ATTACH:
            return replace(world, attached=True)
        case Act.DELIVER:
            return replace(world, delivered=True)
        case Act.PUBLISH:
            return replace(world, route=Route.RUNNER)
        case _:
            return None
