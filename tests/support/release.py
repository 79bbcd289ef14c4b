"""A release of the chart whose operator runs as a process of this machine, with the ServiceAccount's own token."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.devcluster.ports import free_ports
from support import container
from support.account import Account, write_kubeconfig
from support.helm import CHART, Helm, Values, of_kind, parsed

PORTS = range(17_000, 18_000)
STOP_SECONDS = 10


class Release:
    """The chart, installed in a namespace; the cluster runs no containers, so their processes are started here."""

    name = "stateful-route"

    def __init__(
        self, helm: Helm, kubectl: Kubectl, namespace: str, folder: Path, enroll: Callable[[Account], None]
    ) -> None:
        self.helm, self.kubectl, self.namespace, self._folder = helm, kubectl, namespace, folder
        self._enroll = enroll
        self.account = Account(namespace, self.name)
        self._processes: list[subprocess.Popen[bytes]] = []
        health, metrics = free_ports(PORTS, 2)
        self.notes = ""
        """What Helm printed at the installation."""
        self._ports: Values = {"healthPort": health, "metrics.port": metrics}

    @property
    def health_port(self) -> int:
        return int(self._ports["healthPort"])

    def install(self, *flags: str, values: Values) -> None:
        self.notes = self.helm("install", *self._where, *flags, values={**self._ports, **values})

    def upgrade(self, *flags: str, values: Values | None = None) -> None:
        """The values that were set before stay."""
        self.helm("upgrade", *self._where, "--reuse-values", *flags, values=values)

    @property
    def _where(self) -> tuple[str, ...]:
        return self.name, str(CHART), "--namespace", self.namespace

    def get(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """An object of the release's namespace."""
        return dict(json.loads(self.kubectl("get", kind, name or self.name, "-n", self.namespace, "-o", "json")))

    def pods(self, component: str) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/component={component}"
        listed = self.kubectl("get", "pods", "-n", self.namespace, "-l", selector, "-o", "json")
        return list(json.loads(listed)["items"])

    def hooks(self, kind: str) -> list[dict[str, Any]]:
        """The manifests that are installed for a hook only."""
        return of_kind(list(parsed(self.helm("get", "hooks", self.name, "--namespace", self.namespace))), kind)

    def start_operator(self) -> "subprocess.Popen[bytes]":
        """The container of the Deployment, as the Deployment's ServiceAccount."""
        spec = self.get("deployment")["spec"]["template"]["spec"]
        return self.start(spec, f"{self.name}-0", self.log)

    def start(self, pod: dict[str, Any], name: str, log: Path) -> "subprocess.Popen[bytes]":
        """The only container of a pod, as the pod's ServiceAccount."""
        account = Account(self.namespace, pod["serviceAccountName"])
        self._enroll(account)
        kubeconfig = write_kubeconfig(self.kubectl, account, self._folder / f"{account.name}.kubeconfig")
        (only,) = pod["containers"]
        process = container.start(self.kubectl, self.namespace, name, only, kubeconfig=kubeconfig, log=log)
        self._processes.append(process)
        return process

    @property
    def log(self) -> Path:
        """What the operator has printed."""
        return self._folder / "operator.log"

    def stop(self) -> None:
        """End what runs; fails when one does not end well."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                raise
