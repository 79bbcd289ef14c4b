"""Everything the demo needs: a control plane, a store and the operator, as processes that end with it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stateful_route.devcluster import ControlPlane, EmbeddedStore, apply_crd
from stateful_route.devcluster.run_folder import RunFolder
from stateful_route.domain.errors import StatefulRouteError

STOP_SECONDS = 5.0
LOG = "operator.log"
Progress = Callable[[str], None]


class OperatorEnded(StatefulRouteError):  # noqa: N818  names the fact
    """The operator's process has ended in the middle of the demo; the message has its last lines."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running, and how to reach it."""

    control_plane: ControlPlane
    store: EmbeddedStore
    operator: "subprocess.Popen[bytes]"
    operator_log: Path

    @property
    def kubeconfig(self) -> Path:
        """Path of the kubeconfig of the demo's own control plane."""
        return self.control_plane.kubeconfig

    def check(self) -> None:
        """Do nothing while the operator runs.

        Raises:
            OperatorEnded: it does not run any more.
        """
        if self.operator.poll() is not None:
            last = "\n".join(self.operator_log.read_text(errors="replace").splitlines()[-10:])
            raise OperatorEnded(f"the operator has ended with exit code {self.operator.returncode}:\n{last}")


@contextmanager
def stage(namespace: str, progress: Progress) -> Iterator[Stage]:
    """Set everything up; take everything down in the reverse order, whatever happens.

    Raises:
        DevClusterError: a part could not be had; the message says which and why.
    """
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedStore())
        progress(f"store: {store.server} at {store.url}")
        control_plane = stack.enter_context(ControlPlane.start(nodes=3, progress=progress))
        kubectl = control_plane.kubectl
        apply_crd(kubectl)
        kubectl("create", "namespace", namespace)
        kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s")
        folder = stack.enter_context(RunFolder.create("operator"))
        operator = _start_operator(control_plane.kubeconfig, store.url, namespace, folder)
        stack.callback(_stop, operator)
        progress(f"operator: process {operator.pid}, serving namespace {namespace!r}")
        yield Stage(control_plane, store, operator, folder.path / LOG)


def _start_operator(kubeconfig: Path, redis_url: str, namespace: str, folder: RunFolder) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "stateful_route", "operator", "--log-format", "text", "--health-port", "0"]
    words += ["--metrics-port", "0"]
    flags = ["--kubeconfig", str(kubeconfig), "--redis-url", redis_url, "--namespaces", namespace]
    with (folder.path / LOG).open("wb") as out:
        return subprocess.Popen(  # noqa: S603
            [*words, *flags],
            env=folder.environment(),  # by which it is found and ended, also when the demo is killed
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the operator properly
        )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
