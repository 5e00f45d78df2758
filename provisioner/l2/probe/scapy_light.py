"""The only module that imports Scapy: the layers that build frames and the MAC vendor list, each on first use.

Scapy's import takes most of the time before the first frame, and `--help` must not pay for it. Without Scapy's read of
the routing tables it takes 80 ms of CPU instead of 95, and does not warn about interfaces without an address.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from threading import Thread
from types import ModuleType


def preload() -> None:
    """Start importing the ARP layer in a thread, in parallel to whatever precedes the first frame."""
    # Not a daemon: a program that exits while a daemon imports may abort (seen once), and the wait is short.
    Thread(target=layer, args=("l2",)).start()


@cache
def layer(name: str) -> ModuleType:
    """Return the module scapy.layers.`name`: l2, inet or inet6."""
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.config import conf

    conf.route_autoload = False
    conf.route6_autoload = False
    return import_module(f"scapy.layers.{name}")


def manufacturer(mac: str) -> str:
    """Return the organization that a MAC's prefix is assigned to, the MAC itself if Scapy's list lacks it."""
    from scapy.data import MANUFDB

    return str(MANUFDB.lookup(mac)[1])
