"""A Kubernetes control plane on this machine: found where there is one, else started, else built first."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, assert_never

from stateful_route.devcluster.builds import CONTROL_PLANE, build
from stateful_route.devcluster.errors import ControlPlaneUnavailable, DevClusterError, KubectlFailed, NotOurs
from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.devcluster.kwok_cluster import KwokCluster
from stateful_route.devcluster.run_folder import RunFolder
from stateful_route.devcluster.sources import Assets, Built, Kind, Kwokctl, Named, Source, find_sources
from stateful_route.devcluster.toolchain import Progress, cache_folder, silent

_KIND_SECONDS: Final = 600.0  # it may have to fetch its image
_ANSWER_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants of a control plane that is started for it.

    Attributes:
        nodes: how many nodes; a cluster of the user's own keeps those that it has.
        extra_args: further words for ``kwokctl create cluster``, such as ``("--kube-audit-policy", "policy.yaml")``,
            ``("--extra-args", "kube-apiserver=v=4")`` or ``("--heartbeat-factor", "1")``; kind ignores them.
    """

    nodes: int = 3
    extra_args: Sequence[str] = ()


class ControlPlane:
    """A running control plane. ``stop()`` ends it and leaves nothing, unless it is the user's own."""

    def __init__(self, source: Source, folder: RunFolder, kubectl: Kubectl, cluster: KwokCluster | None) -> None:
        """Use `start`."""
        self.source = source
        self.kubectl = kubectl
        self._folder = folder
        self._cluster = cluster

    @classmethod
    def start(
        cls,
        *,
        kubeconfig: Path | None = None,
        nodes: int = 3,
        extra_args: Sequence[str] = (),
        progress: Progress = silent,
    ) -> Self:
        """The first source that works, in the order of `find_sources`; ready for use, with its nodes Ready.

        Takes five seconds; ten minutes where everything has to be built. An interruption at any moment leaves
        nothing behind. For ``nodes`` and ``extra_args`` see `Wish`.

        Raises:
            ControlPlaneUnavailable: no source works; the message says why each did not.
        """
        failures: list[str] = []
        for source in find_sources(kubeconfig):
            progress(f"control plane: {source}")
            started = time.monotonic()
            folder = RunFolder.create("cluster")
            try:
                kubectl, cluster = _start(source, folder, Wish(nodes, extra_args), progress)
            except (DevClusterError, TimeoutError) as error:
                folder.remove()
                failures.append(f"{source}: {error}")
                progress(f"that failed: {str(error).splitlines()[0]}")
            except BaseException:
                folder.remove()
                raise
            else:
                progress(f"control plane ready in {time.monotonic() - started:.1f} s")
                return cls(source, folder, kubectl, cluster)
        raise ControlPlaneUnavailable("no control plane could be had:\n" + "\n".join(failures))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of this cluster; never the user's ``~/.kube/config`` unless the user named it."""
        return self.kubectl.kubeconfig

    @property
    def folder(self) -> Path:
        """The run folder, with the components' logs; gone after ``stop()``."""
        return self._folder.path

    def stop(self) -> None:
        """End all processes and delete the run folder; a cluster that the user named is left as it is. Repeatable.

        Raises:
            TimeoutError: a process did not die within ten seconds.
        """
        self._folder.remove()

    def processes(self) -> list[int]:
        """The ids of the processes of this control plane that live."""
        return self._folder.processes()

    def scale_nodes(self, replicas: int) -> None:
        """Have ``replicas`` nodes, all Ready.

        Raises:
            NotOurs: only nodes that kwok plays can be added.
        """
        self._ours.scale_nodes(replicas)

    def stop_api_server(self) -> None:
        """Kill the API server, as a crash would: connections break, new ones are refused, the data stays in etcd.

        Controllers, scheduler and kwok stop with it. Takes a quarter of a second.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.stop_api_server()

    def start_api_server(self) -> None:
        """Start what `stop_api_server` ended, on the same address, and wait until it is ready: two seconds.

        Raises:
            NotOurs: the control plane is not of our own processes.
            ControlPlaneUnavailable: it did not get ready within two minutes.
        """
        self._ours.start_api_server()

    def copy_data(self, to: Path) -> None:
        """Copy all data into the folder ``to``, which is not there yet; the API server is away meanwhile, for seconds.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.copy_data(to)

    def put_data_back(self, copy: Path) -> None:
        """Have the data that `copy_data` has copied, as who restores etcd from a backup; likewise.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.put_data_back(copy)

    def pause_api_server(self) -> None:
        """Freeze the API server: connections stay open and nothing is answered, as in a network partition.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.signal("kube-apiserver", signal.SIGSTOP)

    def resume_api_server(self) -> None:
        """Let a frozen API server go on.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.signal("kube-apiserver", signal.SIGCONT)

    def pause_nodes(self) -> None:
        """Freeze kwok: no pod starts or ends, no node renews its lease, as if all nodes were lost.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.signal("kwok-controller", signal.SIGSTOP)

    def resume_nodes(self) -> None:
        """Let a frozen kwok go on; it makes up for what it missed.

        Raises:
            NotOurs: the control plane is not of our own processes.
        """
        self._ours.signal("kwok-controller", signal.SIGCONT)

    @property
    def _ours(self) -> KwokCluster:
        if self._cluster is None:
            raise NotOurs(f"only a control plane of our own processes can do this, and this is {self.source}")
        return self._cluster


def _start(source: Source, folder: RunFolder, wish: Wish, progress: Progress) -> tuple[Kubectl, KwokCluster | None]:
    match source:
        case Named():
            return _use(source, folder, progress), None
        case Kind():
            return _start_kind(source, folder, wish, progress), None
        case Kwokctl():
            cluster = KwokCluster(folder, source.kwokctl, _kubectl(progress))
            binaries = {}
        case Assets() | Built():
            there = {} if isinstance(source, Built) else _assets(source)
            built = build([name for name in CONTROL_PLANE if name not in there], progress=progress)
            cluster = KwokCluster(folder, built["kwokctl"], built["kubectl"])
            binaries = {
                "etcd": there.get("etcd") or built["etcd"],
                "kube-apiserver": there.get("kube-apiserver") or built["kube-apiserver"],
                "kube-controller-manager": built["kube-controller-manager"],
                "kube-scheduler": built["kube-scheduler"],
                "kwok-controller": built["kwok"],
            }
        case _:
            assert_never(source)
    cluster.create(binaries, wish.extra_args, cache_folder() / "kwokctl")
    cluster.scale_nodes(wish.nodes)
    return cluster.kubectl, cluster


def _assets(source: Assets) -> dict[str, Path]:
    return {name: source.folder / name for name in ("etcd", "kube-apiserver")}


def _kubectl(progress: Progress) -> Path:
    """The ``kubectl`` on PATH, else our own."""
    on_path = shutil.which("kubectl")
    return Path(on_path) if on_path is not None else build(["kubectl"], progress=progress)["kubectl"]


def _use(source: Named, folder: RunFolder, progress: Progress) -> Kubectl:
    if not source.kubeconfig.is_file():
        raise ControlPlaneUnavailable(f"there is no file {source.kubeconfig}")
    kubectl = Kubectl(_kubectl(progress), source.kubeconfig.resolve(), folder.path / "kubectl-cache")
    try:
        kubectl("get", "--raw", "/readyz", timeout_seconds=_ANSWER_SECONDS)
    except KubectlFailed as error:
        raise ControlPlaneUnavailable(f"the cluster does not answer: {error}") from error
    return kubectl


def _start_kind(source: Kind, folder: RunFolder, wish: Wish, progress: Progress) -> Kubectl:
    name = f"sroute-{os.getpid()}-{secrets.token_hex(2)}"
    kubectl = Kubectl(_kubectl(progress), folder.path / "kubeconfig", folder.path / "kubectl-cache")
    roles = ["control-plane", *["worker"] * wish.nodes]
    nodes = "".join(f"- role: {role}\n" for role in roles)
    configuration = folder.path / "kind.yaml"
    configuration.write_text(f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n{nodes}", encoding="utf-8")
    # Containers are no children of ours: they are deleted by kind, also after an interruption.
    folder.at_removal([str(source.kind), "delete", "cluster", "--name", name])
    command = [str(source.kind), "create", "cluster", "--name", name, "--wait", "120s", "--config", str(configuration)]
    try:
        subprocess.run(  # noqa: S603
            [*command, "--kubeconfig", str(kubectl.kubeconfig)],
            env=folder.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=_KIND_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise ControlPlaneUnavailable(f"kind create cluster failed: {error.stdout.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise ControlPlaneUnavailable(f"kind create cluster took longer than {_KIND_SECONDS:.0f} s") from error
    return kubectl
