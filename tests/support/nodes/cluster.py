"""A Kubernetes cluster with real nodes on this machine."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import yaml

from stateful_route.devcluster.builds import CONTROL_PLANE, NODE, build
from stateful_route.devcluster.errors import KubectlFailed
from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.devcluster.kwok_cluster import KwokCluster
from stateful_route.devcluster.run_folder import RunFolder
from stateful_route.devcluster.toolchain import Progress, cache_folder, silent
from support.nodes import resolver
from support.nodes.names import IMAGES
from support.nodes.network import PREFIX, Network
from support.nodes.node import Node

READY_SECONDS: Final = 90
_CLEANUP: Final = Path(__file__).with_name("cleanup.py")


class NodeCluster:
    """A real control plane with real nodes; `stop` ends everything and leaves nothing, whatever was made in it.

    Attributes:
        images: The names of the images that tests install.
        journals: A folder of this machine that is ``/journals`` on each node.
    """

    images = IMAGES

    def __init__(self, run: RunFolder, network: Network, plane: KwokCluster, nodes: Sequence[Node]) -> None:
        """Use `start`."""
        self._run, self._network, self._plane = run, network, plane
        self.kubectl: Kubectl = plane.kubectl
        self.nodes = {node.name: node for node in nodes}
        self.journals = run.path / "journals"

    @classmethod
    def start(cls, nodes: int = 2, progress: Progress = silent) -> Self:
        """Start it, and wait until its nodes are Ready: fifteen seconds, and some minutes for the first build.

        Raises:
            DevClusterError: a program could not be built, or the control plane did not come up.
            OSError: a node could not be made.
        """
        programs = build((*CONTROL_PLANE, *NODE), progress=progress)
        name = f"{PREFIX}{secrets.token_hex(3)}"
        run = RunFolder.create("nodes")
        try:
            run.at_removal([sys.executable, str(_CLEANUP), str(run.path), name])
            network = Network.make(name, nodes)
            plane = KwokCluster(run, programs["kwokctl"], programs["kubectl"])
            binaries = {one: programs[one] for one in CONTROL_PLANE if one.startswith(("kube-", "etcd"))}
            plane.create({**binaries, "kwok-controller": programs["kwok"]}, _arguments(network, plane), _cache())
            made = [Node(run, network, number, programs) for number in range(1, nodes + 1)]
            cluster = cls(run, network, plane, made)
            cluster._begin()
        except BaseException:
            run.remove()
            raise
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything. Repeatable."""
        self._run.remove()

    def load(self, archive: Path) -> None:
        """Make an archive's images known to all nodes."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.load(archive), self.nodes.values()))

    def mount_of_journals(self) -> dict[str, object]:
        """The volume by which a pod writes to `journals`."""
        return {"name": "journals", "hostPath": {"path": str(self.journals), "type": "Directory"}}

    def kill_container(self, namespace: str, pod: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the first process of a pod's only container, past Kubernetes."""
        body = json.loads(self.kubectl("get", "pod", pod, "-n", namespace, "-o", "json"))
        (status,) = body["status"]["containerStatuses"]
        self.nodes[body["spec"]["nodeName"]].kill_container(status["containerID"], number)

    def lose(self, node: str) -> None:
        """Its kubelet is dead and its network is gone; its containers run on."""
        self.nodes[node].lose()

    def find(self, node: str) -> None:
        """The node comes back."""
        self.nodes[node].find()

    def logs(self) -> str:
        """The end of what each node has logged, for a report."""
        return "\n".join(node.logs() for node in self.nodes.values())

    def _begin(self) -> None:
        self.journals.mkdir()
        self.journals.chmod(0o777)  # whatever user a container has
        url = f"https://{self._network.host}:{self._port()}"
        self._serve_names(url)
        kubeconfig = self._kubeconfig(url)
        for node in self.nodes.values():
            node.start(kubeconfig, self._plane.pki / "ca.crt")
            node.start_kubelet()
        deadline = time.monotonic() + READY_SECONDS
        for name in self.nodes:
            left = max(1, int(deadline - time.monotonic()))
            try:
                self.kubectl("wait", "--for=create", f"node/{name}", f"--timeout={left}s", timeout_seconds=left + 10)
                condition = "--for=condition=Ready"
                self.kubectl("wait", condition, f"node/{name}", f"--timeout={left}s", timeout_seconds=left + 10)
            except KubectlFailed as error:
                raise OSError(f"the node {name} does not get Ready: {error}\n{self.logs()}") from error

    def _serve_names(self, url: str) -> None:
        command = [sys.executable, "-I", str(resolver.__file__), self._network.resolver, url, str(self._plane.pki)]
        with (self._run.path / "resolver.log").open("wb") as output:
            subprocess.Popen(
                self._network.inside(self._network.switch, *command),
                env=self._run.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _port(self) -> int:
        body = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        return int(body["clusters"][0]["cluster"]["server"].rpartition(":")[2])

    def _kubeconfig(self, url: str) -> Path:
        """The administrator's, with the address that nodes know."""
        body = yaml.safe_load(self.kubectl("config", "view", "--raw", "--flatten", "-o", "yaml"))
        body["clusters"][0]["cluster"]["server"] = url
        path = self._run.path / "node.kubeconfig"
        path.write_text(yaml.safe_dump(body), encoding="utf-8")
        path.chmod(0o600)
        return path


def _cache() -> Path:
    return cache_folder() / "kwokctl"


def _arguments(network: Network, plane: KwokCluster) -> list[str]:
    """The API server listens for the nodes, too, and the kubelets let it in; a lost node is noticed in seconds."""
    settings = {
        "kube-apiserver": {
            "bind-address": "0.0.0.0",
            "advertise-address": network.host,
            "service-cluster-ip-range": network.services,
            "kubelet-client-certificate": str(plane.pki / "admin.crt"),
            "kubelet-client-key": str(plane.pki / "admin.key"),
            "kubelet-preferred-address-types": "InternalIP",
        },
        "kube-controller-manager": {
            "node-monitor-period": "1s",
            "node-monitor-grace-period": "16s",
        },
    }
    words = ["--disable", "kwok-controller", "--heartbeat-factor", "1"]
    for component, flags in settings.items():
        for flag, value in flags.items():
            words += ["--extra-args", f"{component}={flag}={value}"]
    return words
