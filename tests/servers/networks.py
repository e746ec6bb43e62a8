"""Networks of a node and its pods, each held by a process, as namespaces of the kernel."""

from __future__ import annotations

import ctypes
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of the kernel."""
DIES = ("setpriv", "--pdeathsig", "KILL")
"""Command that does another one as long as the thread lives that started it."""
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Network:
    """A process that holds a network of its own, as long as it lives."""

    holder: subprocess.Popen[bytes]
    address: str

    @classmethod
    def of_a_node(cls, address: str) -> Network:
        """Network in which pods meet, with an address for the API."""
        made = cls(_hold(), address)
        made.call("ip", "link", "set", "lo", "up")
        made.call("ip", "link", "add", "pods", "type", "bridge")
        made.call("ip", "addr", "add", f"{address}/16", "dev", "pods")
        made.call("ip", "link", "set", "pods", "up")
        return made

    def of_a_pod(self, number: int) -> Network:
        """Network of a pod, on this node's."""
        made = Network(_hold(), f"{self.address.rsplit('.', 2)[0]}.{number // 250 + 1}.{number % 250 + 1}")
        pair = ("type", "veth", "peer", "name", "eth0", "netns", str(made.holder.pid))
        self.call("ip", "link", "add", f"pod{number}", *pair)
        self.call("ip", "link", "set", f"pod{number}", "master", "pods", "up")
        made.call("ip", "link", "set", "lo", "up")
        made.call("ip", "addr", "add", f"{made.address}/16", "dev", "eth0")
        made.call("ip", "link", "set", "eth0", "up")
        made.call("ip", "route", "add", "default", "via", self.address)
        return made

    def inside(self, *command: str) -> list[str]:
        """Command that does another one in this network."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command]

    def call(self, *command: str) -> None:
        subprocess.run(self.inside(*command), check=True, capture_output=True)

    def enter(self) -> None:
        """Bring the thread that calls into this network, and what it starts."""
        with Path(f"/proc/{self.holder.pid}/ns/net").open("rb") as network:
            if LIBC.setns(network.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()


def _hold() -> subprocess.Popen[bytes]:
    """Process with a network of its own."""
    process = subprocess.Popen([*DIES, "unshare", "--net", "sleep", "infinity"])
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{process.pid}/ns/net").readlink() == here:
        time.sleep(0.005)
    return process
