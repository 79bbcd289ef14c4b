"""One node: containerd, kubelet and kube-proxy in the node's network namespace, with a folder of their own."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from stateful_route.devcluster.run_folder import RunFolder, kill
from support.nodes import machine
from support.nodes.names import PAUSE
from support.nodes.network import Network, environment, write_cni

START_SECONDS: Final = 60.0
_CALL_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.05
_KILL_SECONDS: Final = 10.0


class Node:
    """A node of the cluster; `start` it, then load images."""

    def __init__(self, run: RunFolder, network: Network, number: int, programs: Mapping[str, Path]) -> None:
        self._run, self._network, self._number = run, network, number
        self._programs = programs
        self.name = network.namespace(number)
        self._folder = run.path / self.name
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def _socket(self) -> Path:
        return self._folder / "containerd.sock"

    def start(self, kubeconfig: Path, client_ca: Path) -> None:
        """Start everything; the node registers itself, and is Ready a little later."""
        self._folder.mkdir()
        machine.make_groups(self.name)
        cni = write_cni(self._network, self._number, self._folder)
        (self._folder / "containerd.toml").write_text(_containerd(self._folder, self._socket, cni), encoding="utf-8")
        kubelet = _kubelet(self._folder, self._socket, self._network, self.name, client_ca)
        (self._folder / "kubelet.yaml").write_text(yaml.safe_dump(kubelet), encoding="utf-8")
        (self._folder / "proxy.yaml").write_text(yaml.safe_dump(_proxy(kubeconfig, self._network, self.name)))
        self._kubeconfig = kubeconfig
        self._spawn("containerd", str(machine.program("containerd")), "-c", str(self._folder / "containerd.toml"))
        self._wait_containerd()
        self._spawn("kube-proxy", str(self._programs["kube-proxy"]), "--config", str(self._folder / "proxy.yaml"))

    def start_kubelet(self) -> None:
        """Start it, for the first time or again, unless it runs."""
        if "kubelet" in self._processes and self._processes["kubelet"].poll() is None:
            return
        words = ["--config", str(self._folder / "kubelet.yaml"), "--kubeconfig", str(self._kubeconfig)]
        words += ["--root-dir", str(self._folder / "kubelet"), "--cert-dir", str(self._folder / "pki")]
        words += ["--node-ip", self._network.node(self._number), "--hostname-override", self.name, "-v", "1"]
        self._spawn("kubelet", str(self._programs["kubelet"]), *words)

    def lose(self) -> None:
        """SIGKILL its kubelet and unplug it; its containers run on, and nobody can reach them."""
        kill([self._processes["kubelet"].pid], _KILL_SECONDS)
        self._processes["kubelet"].wait()
        self._network.plug(self._number, "down")

    def find(self) -> None:
        """It is back, unless it was never lost."""
        self._network.plug(self._number, "up")
        self.start_kubelet()

    def load(self, archive: Path) -> None:
        """Import the images of an archive."""
        self._ctr("images", "import", str(archive))

    def kill_container(self, container: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the first process of a container, by the id that Kubernetes tells."""
        for line in self._ctr("tasks", "list").splitlines()[1:]:
            task, pid, *_ = line.split()
            if task == container.removeprefix("containerd://"):
                os.kill(int(pid), number)
                return
        raise LookupError(f"{self.name} has no container {container}")

    def logs(self, lines: int = 15) -> str:
        """The last lines of each program, for a report."""
        tails = [f"{log.name}:\n{_tail(log, lines)}" for log in sorted(self._folder.glob("*.log"))]
        return f"--- {self.name}\n" + "\n".join(tails)

    def _ctr(self, *words: str) -> str:
        command = [str(machine.program("ctr")), "--address", str(self._socket), "--namespace", "k8s.io", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_CALL_SECONDS)
        if done.returncode:
            raise OSError(f"ctr {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _spawn(self, name: str, *command: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                self._network.inside(self.name, *command),
                env=environment(self._run.environment()),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait_containerd(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._ctr("images", "list", "-q")
            except OSError as error:
                ended = self._processes["containerd"].poll()
                if ended is not None or time.monotonic() > deadline:
                    raise OSError(f"containerd does not answer ({ended}): {error}\n{self.logs()}") from error
                time.sleep(_POLL_SECONDS)
            else:
                return


def _containerd(folder: Path, socket: Path, cni: Path) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[{cri}]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true  # a root without CAP_SYS_RESOURCE may not lower it
  netns_mounts_under_state_dir = true
  [{cri}.cni]
    bin_dir = "{machine.plugin_folder()}"
    conf_dir = "{cni}"
  [{cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def _kubelet(folder: Path, socket: Path, network: Network, name: str, client_ca: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{name}",
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(client_ca)},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [network.resolver],
        "clusterDomain": "cluster.local",
        "resolvConf": "",  # names of Services are all that pods need
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "10s",
        "nodeLeaseDurationSeconds": 8,
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }


def _proxy(kubeconfig: Path, network: Network, name: str) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "nftables",
        "hostnameOverride": name,
        "clusterCIDR": network.all_pods,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Limits of the kernel are the machine's.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
