"""Load only the parts of Scapy that build frames, and without what Scapy reads from this machine at import.

Its import is most of the time before the first frame: without the routing tables it takes 80 ms of CPU instead of
95, and it says nothing about interfaces that have no address.
"""

from __future__ import annotations

import logging
from functools import cache
from threading import Thread
from types import ModuleType


def preload() -> None:
    """Begin to load what ARP frames are built with, beside what else has to be waited for before the first one."""
    # No daemon: a program that ends while a daemon imports may abort (seen once), and there is little to wait for.
    Thread(target=layer, args=("l2",)).start()


@cache
def layer(name: str) -> ModuleType:
    """Return the module scapy.layers.`name`: l2, inet or inet6."""
    from importlib import import_module

    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.config import conf

    conf.route_autoload = False
    conf.route6_autoload = False
    return import_module(f"scapy.layers.{name}")
