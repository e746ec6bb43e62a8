"""Ports of the loopback interface for servers that cannot choose their own."""

from __future__ import annotations

import socket
from contextlib import ExitStack

GRPC = 10_000
"""What SeaweedFS adds to a port for its second one."""


def free_ports(n: int) -> list[int]:
    """Ports on which no one listens, nor on those that lie `GRPC` above them."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < n:
            upper = held.enter_context(socket.socket())
            upper.bind(("127.0.0.1", 0))
            lower = held.enter_context(socket.socket())
            try:
                lower.bind(("127.0.0.1", upper.getsockname()[1] - GRPC))
            except OSError:
                continue
            found.append(lower.getsockname()[1])
    return found
