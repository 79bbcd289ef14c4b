"""Where a control plane can come from on this machine, best first; looks only, starts nothing.

What a user named comes first, then what is there, and a build last, since it takes minutes.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stateful_route.devcluster.versions import KUBERNETES

KUBECONFIG_VARIABLE: Final = "STATEFUL_ROUTE_TEST_KUBECONFIG"
ASSETS_VARIABLE: Final = "KUBEBUILDER_ASSETS"

_DOCKER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Named:
    """A cluster that the user runs: used as it is, never stopped."""

    kubeconfig: Path
    reason: str

    def __str__(self) -> str:
        return f"the cluster of {self.kubeconfig} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Kwokctl:
    """``kwokctl`` on PATH, which fetches the other programs by itself."""

    kwokctl: Path

    def __str__(self) -> str:
        return f"{self.kwokctl}, which brings its own programs (kwokctl is on PATH)"


@dataclass(frozen=True, slots=True)
class Assets:
    """A folder with etcd and kube-apiserver, as test environments of controllers have it; we build the rest."""

    folder: Path

    def __str__(self) -> str:
        return f"etcd and kube-apiserver of {self.folder} (${ASSETS_VARIABLE}), the rest built"


@dataclass(frozen=True, slots=True)
class Kind:
    """``kind`` on PATH and a Docker engine that answers."""

    kind: Path

    def __str__(self) -> str:
        return f"{self.kind} (kind is on PATH and Docker answers)"


@dataclass(frozen=True, slots=True)
class Built:
    """Everything built from Go modules."""

    def __str__(self) -> str:
        return f"Kubernetes {KUBERNETES} built from source (no working kwokctl, ${ASSETS_VARIABLE} or kind with Docker)"


Source = Named | Kwokctl | Assets | Kind | Built


def find_sources(kubeconfig: Path | None = None) -> Iterator[Source]:
    """The sources that are there, best first; a named kubeconfig is the only one, since the user meant it.

    Lazy: Docker is asked only when nothing before it would do.
    """
    if kubeconfig is not None:
        yield Named(kubeconfig, "asked for")
        return
    if named := os.environ.get(KUBECONFIG_VARIABLE):
        yield Named(Path(named).expanduser(), f"${KUBECONFIG_VARIABLE}")
        return
    if kwokctl := shutil.which("kwokctl"):
        yield Kwokctl(Path(kwokctl))
    if (assets := os.environ.get(ASSETS_VARIABLE)) and _has_control_plane(Path(assets)):
        yield Assets(Path(assets).resolve())
    if (kind := shutil.which("kind")) and _docker_answers():
        yield Kind(Path(kind))
    yield Built()


def _has_control_plane(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("etcd", "kube-apiserver"))


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    # `docker info` ends with 0 although no engine answers; asked for the engine's version it has to find it.
    command = [docker, "info", "--format", "{{.ServerVersion}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DOCKER_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())
