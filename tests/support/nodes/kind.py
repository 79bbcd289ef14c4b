"""The same cluster by kind, where Docker is: ``make test-kind``. It offers what `support.nodes.cluster` does.

Images are built by the Dockerfile, and Valkey is the one that the chart names.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final, Self

import yaml

from stateful_route import __version__
from stateful_route.devcluster.builds import build
from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.devcluster.run_folder import RunFolder
from support.nodes.names import Images
from support.nodes.network import ip

REPO: Final = Path(__file__).resolve().parents[3]
JOURNALS: Final = "/journals"
SECONDS: Final = 900.0

ROOM: Final = """\
FROM {operator}
COPY support /tests/support
ENTRYPOINT []
CMD ["python", "-m", "support.room"]
"""


def unfit() -> str:
    """Why kind cannot be used here; empty: it can."""
    if os.geteuid() != 0:
        return "with kind the tests need root, to set routes to the pods"
    missing = [name for name in ("kind", "docker", "ip") if shutil.which(name) is None]
    if missing:
        return f"missing: {', '.join(missing)}"
    answer = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, check=False)
    return "" if answer.returncode == 0 and answer.stdout.strip() else "no Docker engine answers"


class KindCluster:
    """As `support.nodes.cluster.NodeCluster`; its nodes are kind's workers."""

    def __init__(self, run: RunFolder, name: str, kubectl: Kubectl, images: Images) -> None:
        """Use `start`."""
        self._run, self._name = run, name
        self.kubectl, self.images = kubectl, images
        self.journals = run.path / "journals"
        self.nodes: list[str] = []
        self._routes: list[str] = []

    @classmethod
    def start(cls, nodes: int = 2) -> Self:
        """Start it with all images, and the way to its pods.

        Raises:
            subprocess.CalledProcessError: kind, Docker or ``ip`` has failed.
        """
        run, name = RunFolder.create("kind"), f"sroute-{secrets.token_hex(3)}"
        try:
            run.at_removal(["kind", "delete", "cluster", "--name", name])
            kubectl = Kubectl(build(["kubectl"])["kubectl"], run.path / "kubeconfig", run.path / "kubectl-cache")
            operator = f"stateful-route-test:{__version__}"
            images = Images(operator, f"{operator}-next", _valkey(), "stateful-route-test-room:1")
            cluster = cls(run, name, kubectl, images)
            cluster._begin(nodes)
        except BaseException:
            run.remove()
            raise
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Delete it."""
        for subnet in self._routes:
            ip("route", "delete", subnet)
        self._routes.clear()
        self._run.remove()

    def mount_of_journals(self) -> dict[str, object]:
        return {"name": "journals", "hostPath": {"path": JOURNALS, "type": "Directory"}}

    def kill_container(self, namespace: str, pod: str, number: signal.Signals = signal.SIGKILL) -> None:
        body = json.loads(self.kubectl("get", "pod", pod, "-n", namespace, "-o", "json"))
        (status,) = body["status"]["containerStatuses"]
        container = status["containerID"].removeprefix("containerd://")
        look = ("crictl", "inspect", "--output", "go-template", "--template", "{{.info.pid}}", container)
        pid = _run("docker", "exec", body["spec"]["nodeName"], *look).strip()
        _run("docker", "exec", body["spec"]["nodeName"], "kill", f"-{number.value}", pid)

    def lose(self, node: str) -> None:
        """All of its processes stand still."""
        _run("docker", "pause", node)

    def find(self, node: str) -> None:
        _run("docker", "unpause", node)

    def _begin(self, nodes: int) -> None:
        self.journals.mkdir()
        self.journals.chmod(0o777)
        mount = {"hostPath": str(self.journals), "containerPath": JOURNALS}
        roles = [{"role": "control-plane"}, *[{"role": "worker", "extraMounts": [mount]}] * nodes]
        body = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": roles}
        configuration = self._run.path / "kind.yaml"
        configuration.write_text(json.dumps(body), encoding="utf-8")
        where = ("--name", self._name, "--kubeconfig", str(self.kubectl.kubeconfig))
        _run("kind", "create", "cluster", *where, "--config", str(configuration), "--wait", "180s")
        self._load()
        for item in json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]:
            name = item["metadata"]["name"]
            if name.endswith("control-plane"):
                continue
            self.nodes.append(name)
            (address,) = [one["address"] for one in item["status"]["addresses"] if one["type"] == "InternalIP"]
            ip("route", "replace", item["spec"]["podCIDR"], "via", address)
            self._routes.append(item["spec"]["podCIDR"])

    def _load(self) -> None:
        _run("make", "image", f"IMAGE={self.images.operator}")
        _run("docker", "tag", self.images.operator, self.images.next)
        recipe = self._run.path / "Dockerfile"
        recipe.write_text(ROOM.format(operator=self.images.operator), encoding="utf-8")
        _run("docker", "build", "--tag", self.images.room, "--file", str(recipe), str(REPO / "tests"))
        _run("docker", "pull", self.images.valkey)
        wanted = (self.images.operator, self.images.next, self.images.room, self.images.valkey)
        _run("kind", "load", "docker-image", "--name", self._name, *wanted)


def _valkey() -> str:
    """The image that the chart names."""
    image = yaml.safe_load((REPO / "charts" / "stateful-route" / "values.yaml").read_text())["valkey"]["image"]
    return f"{image['repository']}:{image['tag']}"


def _run(*words: str) -> str:
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=True, timeout=SECONDS)
    return done.stdout
