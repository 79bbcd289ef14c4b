"""The nodes' network: each has a network namespace of its own, all hang on one bridge, and this machine with them.

Nothing of the machine's own network is changed but for one interface and its routes: addresses, the packet filter and
`ip_forward` of the nodes belong to their namespaces. All names begin with the cluster's; what is left of one is found.
"""

import os
import random
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from stateful_route.devcluster.run_folder import locked, runs_root
from support.nodes import machine

PREFIX: Final = "sroute"
"""Of the names of all clusters."""

_SECONDS: Final = 30.0
_SECOND_OCTETS: Final = range(64, 250)


def ip(*words: str, namespace: str | None = None) -> str:
    """What ``ip`` prints."""
    where = [] if namespace is None else ["-netns", namespace]
    command = [str(machine.program("ip")), *where, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def alone() -> AbstractContextManager[None]:
    """While this is held no other cluster's network is made or removed."""
    return locked(runs_root() / ".network", timeout_seconds=_SECONDS)


def kernel_before() -> Path:
    """Where the kernel's settings are kept from the first cluster's start to the last one's end."""
    return runs_root() / ".kernel.json"


def others(name: str) -> list[str]:
    """The clusters that are there besides this one."""
    switches = Path("/run/netns").glob(f"{PREFIX}*-switch")
    return [switch.name for switch in switches if switch.name != f"{name}-switch"]


@dataclass(frozen=True)
class Network:
    """A /16 of this machine that was free; nodes are numbered from 1.

    Attributes:
        name: Of the cluster; at most fourteen letters, since names of interfaces are made of it.
        prefix: ``10.77``, say.
    """

    name: str
    prefix: str

    @classmethod
    def make(cls, name: str, nodes: int) -> Self:
        """Make it.

        Raises:
            OSError: this machine does not let it be made; the message says what failed.
        """
        with alone():
            machine.remember_kernel(kernel_before())
            routes = ip("-4", "route", "show", "table", "all")
            octets = [octet for octet in _SECOND_OCTETS if f"10.{octet}." not in routes]
            network = cls(name, f"10.{random.choice(octets)}")
            network._make_switch()
        for number in range(1, nodes + 1):
            network._make_node(number, nodes)
        return network

    @property
    def host(self) -> str:
        """This machine's address, at which nodes and pods reach it."""
        return f"{self.prefix}.0.1"

    @property
    def switch(self) -> str:
        """The namespace of the bridge; the name server lives there, too."""
        return f"{self.name}-switch"

    @property
    def resolver(self) -> str:
        return f"{self.prefix}.0.2"

    @property
    def services(self) -> str:
        """The addresses of Services."""
        return f"{self.prefix}.240.0/24"

    @property
    def api(self) -> str:
        """The address of the Service ``kubernetes``."""
        return f"{self.prefix}.240.1"

    @property
    def all_pods(self) -> str:
        return f"{self.prefix}.0.0/17"

    def node(self, number: int) -> str:
        """The address of a node."""
        return f"{self.prefix}.0.{10 + number}"

    def namespace(self, number: int) -> str:
        """The network namespace of a node."""
        return f"{self.name}-{number}"

    def pods(self, number: int) -> str:
        """The addresses of a node's pods."""
        return f"{self.prefix}.{number}.0/24"

    def inside(self, namespace: str, *command: str) -> list[str]:
        """The words that run a command in a network namespace; mounts are those of the machine."""
        return [str(machine.program("nsenter")), f"--net=/run/netns/{namespace}", "--", *command]

    def plug(self, number: int, state: str) -> None:
        """A node's place at the switch, ``up`` or ``down``."""
        ip("link", "set", f"n{number}", state, namespace=self.switch)

    def _make_switch(self) -> None:
        switch, here = self.switch, f"{self.name}h"
        ip("netns", "add", switch)
        ip("link", "set", "lo", "up", namespace=switch)
        ip("link", "add", "bridge", "type", "bridge", namespace=switch)
        ip("address", "add", f"{self.resolver}/24", "dev", "bridge", namespace=switch)
        ip("link", "set", "bridge", "up", namespace=switch)
        ip("link", "add", here, "type", "veth", "peer", "name", "host", "netns", switch)
        ip("link", "set", "host", "master", "bridge", "up", namespace=switch)
        ip("address", "add", f"{self.host}/24", "dev", here)
        # For the API server's certificate, which names all addresses of the machine; kube-proxy serves it on the nodes.
        ip("address", "add", f"{self.api}/32", "dev", here)
        ip("link", "set", here, "up")

    def _make_node(self, number: int, nodes: int) -> None:
        name = self.namespace(number)
        ip("netns", "add", name)
        ip("link", "set", "lo", "up", namespace=name)
        ip("link", "add", "eth0", "type", "veth", "peer", "name", f"n{number}", "netns", self.switch, namespace=name)
        ip("link", "set", f"n{number}", "master", "bridge", "up", namespace=self.switch)
        ip("address", "add", f"{self.node(number)}/24", "dev", "eth0", namespace=name)
        ip("link", "set", "eth0", "up", namespace=name)
        ip("route", "add", "default", "via", self.host, namespace=name)
        for other in range(1, nodes + 1):
            if other != number:
                ip("route", "add", self.pods(other), "via", self.node(other), namespace=name)
        ip("route", "add", self.pods(number), "via", self.node(number))
        ip("route", "add", self.pods(number), "via", self.node(number), namespace=self.switch)


def write_cni(network: Network, number: int, folder: Path) -> Path:
    """The folder with the configuration of a node's pod network, which is written to ``folder``."""
    place = folder / "cni"
    place.mkdir()
    subnet = network.pods(number)
    (place / "10-pods.conflist").write_text(
        f"""{{"cniVersion": "1.0.0", "name": "{network.name}-{number}", "plugins": [{{
  "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "dataDir": "{folder}/ipam", "routes": [{{"dst": "0.0.0.0/0"}}],
            "ranges": [[{{"subnet": "{subnet}"}}]]}}}}]}}
""",
        encoding="utf-8",
    )
    return place


def environment(base: dict[str, str]) -> dict[str, str]:
    """``base`` with the programs of root, which containerd calls by name."""
    return {**base, "PATH": os.pathsep.join((base.get("PATH", os.defpath), machine.PATH))}
