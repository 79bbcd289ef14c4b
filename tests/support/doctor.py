"""What ``stateful-route doctor`` finds."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from stateful_route.cli.app import app


def doctor(namespace: str, kubeconfig: str | Path, *words: str) -> list[dict[str, Any]]:
    """Its findings on a namespace, as the user of the kubeconfig; ``words``: more of its command line."""
    command = ["doctor", "-n", namespace, "-o", "json", "--kubeconfig", str(kubeconfig), *words]
    return list(json.loads(CliRunner().invoke(app, command).stdout))
