"""A cluster of plain processes on loopback, made by ``kwokctl``: the real control plane, and nodes that kwok plays."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from stateful_route.devcluster.errors import ControlPlaneUnavailable, KubectlFailed
from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.devcluster.ports import COMPONENT_PORTS, HOST, free_ports
from stateful_route.devcluster.run_folder import KILL_SECONDS, RunFolder, kill

_READY_SECONDS: Final = 120
_CREATE_SECONDS: Final = 180.0
_COMMAND_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05

_CLIENTS: Final = ("kube-controller-manager", "kube-scheduler", "kwok-controller")

# Left to itself kwokctl takes the first free ports: a cluster started meanwhile would get those of a stopped component.
_PORTS: Final = (
    "etcdPort",
    "etcdPeerPort",
    "kubeApiserverPort",
    "kubeControllerManagerPort",
    "kubeSchedulerPort",
    "kwokControllerPort",
)

# One of each, so there is nobody to elect; a restarted one would wait for its former self's lease. The data is thrown
# away, so it need not reach the disk.
_ARGUMENTS: Final = (
    "etcd=unsafe-no-fsync=true",
    "kube-controller-manager=leader-elect=false",
    "kube-scheduler=leader-elect=false",
)


class KwokCluster:
    """The processes of one cluster in one run folder; the folder's removal ends them."""

    def __init__(self, folder: RunFolder, kwokctl: Path, kubectl: Path) -> None:
        self._folder = folder
        self._kwokctl = kwokctl
        self._name = f"sroute-{os.getpid()}"
        self._configuration = folder.path / "kwokctl.yaml"
        self.kubeconfig = folder.path / "kubeconfig"
        self.kubectl = Kubectl(kubectl, self.kubeconfig, folder.path / "kubectl-cache")

    def create(self, binaries: Mapping[str, Path], extra_args: Sequence[str], cache: Path) -> None:
        """Start everything and wait until it is ready; programs that are not in ``binaries`` are fetched by kwokctl.

        Raises:
            ControlPlaneUnavailable: it did not get ready; the message holds the end of what was logged.
        """
        self._configuration.write_text(_configuration(cache), encoding="utf-8")
        flags = ["--runtime", "binary", "--disable-qps-limits", "--wait", f"{_READY_SECONDS}s"]
        flags += ["--kubeconfig", str(self.kubeconfig)]
        for name, path in binaries.items():
            flags += [f"--{name}-binary", str(path)]
        for argument in _ARGUMENTS:
            flags += ["--extra-args", argument]
        self._call("create", "cluster", *flags, *extra_args, timeout_seconds=_CREATE_SECONDS)
        # kwokctl warns, and ends well, when the wait was in vain.
        self._wait_ready()

    def scale_nodes(self, replicas: int) -> None:
        """Have ``replicas`` nodes; kwok keeps them Ready."""
        self._call("scale", "node", "--replicas", str(replicas))
        if replicas:
            self.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={_COMMAND_SECONDS:.0f}s")

    def stop_api_server(self) -> None:
        """Kill the API server; etcd keeps the data.

        Its clients among the components are killed as well: they could do nothing meanwhile, and their connections
        back off for up to a minute, where a fresh start takes two seconds.
        """
        for component in _CLIENTS:
            self._end(component)
        # kwok takes a node over only when the lease of its former self has run out, after minutes.
        self.kubectl("delete", "lease", "--namespace=kube-node-lease", "--all")
        self._end("kube-apiserver")

    def start_api_server(self) -> None:
        """Start what `stop_api_server` ended, on the same port, and wait until it is ready."""
        self._call("start", "cluster")
        self._wait_ready()

    def copy_data(self, to: Path) -> None:
        """Copy etcd's data, while nothing runs that could change them."""
        self.stop_api_server()
        self._end("etcd")
        shutil.copytree(self._data, to)
        self.start_api_server()

    def put_data_back(self, copy: Path) -> None:
        """Replace etcd's data by what `copy_data` has copied."""
        self.stop_api_server()
        self._end("etcd")
        shutil.rmtree(self._data)
        shutil.copytree(copy, self._data)
        self.start_api_server()

    def signal(self, component: str, number: signal.Signals) -> None:
        """Send a signal to a component, for example SIGSTOP to ``kwok-controller``."""
        pid = self._pid(component)
        if pid is None:
            raise ControlPlaneUnavailable(f"{component} does not run")
        os.kill(pid, number)

    def _end(self, component: str) -> None:
        pid = self._pid(component)
        if pid is not None:
            kill([pid], KILL_SECONDS)
        # kwokctl takes an id for alive that belongs to a zombie, or to another process by now.
        self._pid_file(component).unlink(missing_ok=True)

    def _pid(self, component: str) -> int | None:
        """The component's process; None when it does not live."""
        try:
            pid = int(self._pid_file(component).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in self._folder.processes() else None

    def _pid_file(self, component: str) -> Path:
        return self._home / "pids" / f"{component}.pid"

    @property
    def _data(self) -> Path:
        return self._home / "etcd"

    @property
    def pki(self) -> Path:
        """The folder with ``ca.crt``, ``admin.crt`` and ``admin.key``, once the cluster was created."""
        return self._home / "pki"

    @property
    def _home(self) -> Path:
        return self._workdir / "clusters" / self._name

    @property
    def _workdir(self) -> Path:
        return self._folder.path / "kwok"

    def _wait_ready(self) -> None:
        """The API server's own word, for all of its parts."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self.kubectl("get", "--raw", "/readyz", timeout_seconds=5)
            except KubectlFailed as error:
                if time.monotonic() > deadline:
                    raise ControlPlaneUnavailable(f"the API server is not ready: {error}{self._logs()}") from error
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _call(self, *arguments: str, timeout_seconds: float = _COMMAND_SECONDS) -> None:
        command = [str(self._kwokctl), "--name", self._name, "--config", str(self._configuration), *arguments]
        environment = self._folder.environment(self.kubectl.environment) | {"KWOK_WORKDIR": str(self._workdir)}
        what = f"kwokctl {arguments[0]} {arguments[1]}"
        try:
            done = subprocess.run(  # noqa: S603
                command,
                env=environment,
                cwd=self._folder.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=timeout_seconds,
            )
        except OSError as error:
            raise ControlPlaneUnavailable(f"{what}: {error}") from error
        except subprocess.TimeoutExpired as error:
            raise ControlPlaneUnavailable(f"{what} took longer than {timeout_seconds:.0f} s{self._logs()}") from error
        if done.returncode != 0:
            last = [_plain(line) for line in done.stdout.strip().splitlines()[-2:]]
            raise ControlPlaneUnavailable(f"{what} ended with {done.returncode}: {'; '.join(last)}{self._logs()}")

    def _logs(self) -> str:
        """The last lines of each component's log, for an error's message."""
        tails = []
        for log in sorted(self._workdir.glob("clusters/*/logs/*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            tails += [f"\n{log.stem}: {line}" for line in lines]
        return "".join(tails)


def _plain(line: str) -> str:
    """The message and the error of a line of kwokctl's log, which is JSON when nobody watches."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    return ": ".join(str(entry[key]) for key in ("msg", "err") if key in entry) if isinstance(entry, dict) else line


def _configuration(cache: Path) -> str:
    options: dict[str, object] = {
        "bindAddress": HOST,  # kwokctl's own default is all addresses, with an etcd that lets everybody in
        "cacheDir": str(cache),
        **dict(zip(_PORTS, free_ports(COMPONENT_PORTS, len(_PORTS)), strict=True)),
    }
    return json.dumps(
        {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokctlConfiguration", "options": options}
    )
