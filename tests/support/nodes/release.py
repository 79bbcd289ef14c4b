"""The chart as its users install it, on real nodes: the operator and Valkey are pods."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from stateful_route.devcluster.kubectl import Kubectl
from support.helm import CHART, Helm, Values
from support.nodes.names import Images

NAME: Final = "stateful-route"
NAMESPACE: Final = "stateful-route"
RESTRICTED: Final = "pod-security.kubernetes.io/enforce=restricted"
SECONDS: Final = 120


@dataclass(frozen=True)
class NodeRelease:
    """A release with the chart's defaults, but for the images and a Valkey without a volume."""

    helm: Helm
    kubectl: Kubectl
    images: Images
    namespace: str = NAMESPACE
    name: str = field(default=NAME, init=False)
    notes: list[str] = field(default_factory=list, init=False)
    """What Helm printed at the installation; empty: it is not installed."""

    def install(self) -> None:
        """Install it, and wait until everything is Ready."""
        if not self.kubectl("get", "namespace", self.namespace, "--ignore-not-found"):
            self.kubectl("create", "namespace", self.namespace)
        # What does not conform gets no pod.
        self.kubectl("label", "namespace", self.namespace, RESTRICTED, "--overwrite")
        valkey, _, tag = self.images.valkey.rpartition(":")
        values = {
            **self._operator(self.images.operator),
            "valkey.enabled": True,
            "valkey.storage.enabled": False,
            "valkey.image.repository": valkey,
            "valkey.image.tag": tag,
        }
        self.notes.append(self._helm("install", self.name, str(CHART), values=values))

    def upgrade(self, image: str) -> None:
        """To another image; done when its operator is Ready."""
        self._helm("upgrade", self.name, str(CHART), "--reset-then-reuse-values", values=self._operator(image))

    def uninstall(self) -> None:
        """With the hook that goes before; done when all of it is gone."""
        self.notes.clear()
        self._helm("uninstall", self.name)

    def test(self) -> str:
        """``helm test``."""
        return self.helm("test", self.name, "--namespace", self.namespace, seconds=SECONDS)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of ``operator`` or ``valkey``."""
        selector = f"app.kubernetes.io/component={component}"
        listed = self.kubectl("get", "pods", "-n", self.namespace, "-l", selector, "-o", "json")
        return list(json.loads(listed)["items"])

    @property
    def url(self) -> str:
        """The store's, as pods know it."""
        data = json.loads(self.kubectl("get", "secret", f"{self.name}-valkey", "-n", self.namespace, "-o", "json"))
        return base64.b64decode(data["data"]["url"]).decode()

    @property
    def outer_url(self) -> str:
        """The same for who is not in the cluster: pods can be reached, names of Services mean nothing."""
        (pod,) = self.pods("valkey")
        return self.url.replace(str(urlsplit(self.url).hostname), pod["status"]["podIP"])

    def log(self, lines: int = 40) -> str:
        """What the operators have logged at last."""
        selector = "app.kubernetes.io/component=operator"
        return self.kubectl("logs", "-n", self.namespace, "-l", selector, f"--tail={lines}")

    def _operator(self, image: str) -> Values:
        repository, _, tag = image.rpartition(":")
        return {"image.repository": repository, "image.tag": tag}

    def _helm(self, *words: str, values: Values | None = None) -> str:
        where = ("--namespace", self.namespace, "--wait", "--timeout", f"{SECONDS}s")
        return self.helm(*words, *where, values=values, seconds=SECONDS + 10)
