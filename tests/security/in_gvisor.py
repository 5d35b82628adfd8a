"""What comes of attempts to get out in gVisor, whose kernel answers otherwise than Linux, and why none is a way out.

Everything here happens within gVisor's own kernel, a process of the host with a filter and namespaces of its own. The
tables are complete: what is not named in them must come to the same as on Linux.
"""

from typing import Final

_NONE: Final = {"ENOSYS", "EAFNOSUPPORT", "ENOTSUP", "ENODEV", "ENOENT"}
"""It does not have the call, the family of sockets, the device, or the file."""

GVISOR: Final[dict[tuple[str, str], set[str]]] = {
    ("processes", ""): _NONE,
    ("privileges", ""): _NONE,
    ("network", ""): set(),
    ("files", ""): set(),
    # It keeps both numbers and uses neither: its threads are the host's, whose order and weight the host decides.
    ("processes", "priority"): {"done"},
    ("processes", "own priority"): {"done"},
    ("processes", "own oom score"): {"done"},
    # It shows these to every user: paths and addresses, no secret (a test looks). Memory and open files stay closed.
    **{
        ("processes", f"proc {name}"): {"done"}
        for name in ("environ", "maps", "auxv", "fd", "ns user", "ns net", "ns mnt")
    },
    # What is open there and has no name: sockets, pipes.
    ("processes", "proc fd open"): {"ENXIO", "ENODEV"},
    # Every user may have user namespaces, with every right over what is made in them: mounts, hosts' names, packets on
    # a loopback of its own. `test_every_way_out_is_closed` tries again inside of one. Alone, the others do nothing.
    ("privileges", "unshare user"): {"done"},
    ("privileges", "unshare cgroup"): {"done"},
    ("privileges", "unshare time"): {"done"},
    ("privileges", "clone user"): {"done"},
    ("privileges", "command unshare"): {"done"},
    # Nothing but the arguments is wrong.
    ("privileges", "clone3"): {"EINVAL"},
    ("privileges", "setns"): {"EINVAL"},
    # A file of a device can be made in /tmp and nowhere else; there is no such device (`surface.py` opens it).
    ("privileges", "make a device"): {"done"},
    # It has no 32-bit calls: the number is taken for that of a 64-bit one, which any program may use.
    ("privileges", "32-bit call"): {"done"},
    # /dev/fuse and /dev/net/tun are its own, and do nothing without a right over a namespace.
    ("files", "devices"): {"fuse", "net"},
}

SURFACE_IN_GVISOR: Final[dict[str, set[str]]] = {
    # Its filter is not the engine's, so it carries out what it has. These read addresses that are not there, are no
    # longer any call's numbers, or say where memory is, of a machine that has one place for it.
    "call 206": {"EFAULT"},  # io_setup
    "call 207": {"EINVAL"},  # io_destroy
    "call 208": {"EINVAL"},  # io_getevents
    "call 209": {"done"},  # io_submit of nothing
    "call 237": {"done"},  # mbind
    "call 238": {"done"},  # set_mempolicy
    "call 239": {"done"},  # get_mempolicy
    "call 272": {"done"},  # unshare of nothing
    "call 298": {"ENODEV"},  # perf_event_open
    "call 303": {"ENOTSUP"},  # name_to_handle_at
    "call 304": {"ENOTSUP"},  # open_by_handle_at
    "call 308": {"EINVAL"},  # setns
    "call 435": {"EINVAL"},  # clone3
    "netlink": {"15"},
    "real-time scheduling": {"EINVAL"},
    "capabilities of a file": {"ENOTSUP"},
    "trusted attribute": {"ENOTSUP"},
    "device in /tmp": {"made,", "ENXIO"},
}
