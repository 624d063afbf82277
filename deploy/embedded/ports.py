"""Free TCP ports of the loopback address, for servers that keep their port when they restart."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000
_DEFAULT_EPHEMERAL = 32_768
_TRIES = 1_000


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` of `address` now. `address` "" stands for all addresses."""
    with socket.socket() as probe:
        return _bind(probe, port, address)


def free_ports(count: int) -> tuple[int, ...]:
    """Distinct free ports below the kernel's ephemeral range.

    Inside that range, a client that keeps trying to reach a dead server's port would sooner or later get this port as
    its own. It would connect to itself and block the server's return.

    Raises:
        OSError: no port is free.
    """
    end = max(_ephemeral_start(), _LOWEST + count * 10)
    with contextlib.ExitStack() as probes:
        found: list[int] = []
        # All probes stay open until the last port is chosen, so that no port is chosen twice.
        for port in random.SystemRandom().sample(range(_LOWEST, end), min(_TRIES, end - _LOWEST)):
            if len(found) == count:
                break
            if _bind(probes.enter_context(socket.socket()), port):
                found.append(port)
    if len(found) < count:
        raise OSError(f"no {count} ports of {LOOPBACK} between {_LOWEST} and {end} are free")
    return tuple(found)


def _bind(probe: socket.socket, port: int, address: str = LOOPBACK) -> bool:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((address, port))
    except OSError:
        return False
    return True


def _ephemeral_start() -> int:
    file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return int(file.read_text(encoding="ascii").split()[0]) if file.exists() else _DEFAULT_EPHEMERAL
