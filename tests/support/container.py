"""A container of a pod's manifest, run as a process of this machine, where no kubelet runs it."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from stateful_route.devcluster.kubectl import Kubectl

ENTRY_POINT = [sys.executable, "-m", "stateful_route"]
"""Of the image; a test of the packaging holds it against the Dockerfile."""


def command(container: dict[str, Any]) -> list[str]:
    """What the container runs; ``python`` is this interpreter."""
    words = [*(container.get("command") or ENTRY_POINT), *(container.get("args") or ())]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def environment(kubectl: Kubectl, namespace: str, pod: str, container: dict[str, Any]) -> dict[str, str]:
    """The variables that its manifest sets; Secrets are looked up as the kubelet would."""
    found = {}
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if "secretKeyRef" in source:
            ref = source["secretKeyRef"]
            data = json.loads(kubectl("get", "secret", ref["name"], "-n", namespace, "-o", "json"))["data"]
            found[variable["name"]] = base64.b64decode(data[ref["key"]]).decode()
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            found[variable["name"]] = pod
        else:
            found[variable["name"]] = variable.get("value", "")
    return found


def start(
    kubectl: Kubectl, namespace: str, pod: str, container: dict[str, Any], *, kubeconfig: Path, log: Path
) -> "subprocess.Popen[bytes]":
    """Start it with the token in ``kubeconfig`` instead of the one that the kubelet would mount."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STATEFUL_ROUTE_")}
    variables = environment(kubectl, namespace, pod, container) | {"KUBECONFIG": str(kubeconfig)}
    with log.open("ab") as out:
        return subprocess.Popen(
            command(container), env=inherited | variables, stdout=out, stderr=out, start_new_session=True
        )
