"""Finds Helm: the one on PATH, else it is built from its Go module."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from stateful_route.devcluster.builds import build
from stateful_route.devcluster.toolchain import Progress, silent
from stateful_route.devcluster.versions import HELM

_ASK_SECONDS: Final = 30.0
_RELEASE: Final = HELM.partition(".")[0]


def find_helm(progress: Progress = silent) -> Path:
    """The ``helm`` on PATH if it is of the release that we build, else our own.

    Where that is not in the cache it is built, in some minutes.

    Raises:
        ToolchainMissing: no Go, and none could be installed.
        BuildFailed: the compiler refused, or a Go module is out of reach.
    """
    on_path = shutil.which("helm")
    if on_path is not None and _release(on_path) == _RELEASE:
        return Path(on_path)
    return build(["helm"], progress=progress)["helm"]


def _release(helm: str) -> str | None:
    """``v4``, say; None when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603
            [helm, "version", "--template", "{{.Version}}"],
            capture_output=True,
            check=True,
            text=True,
            timeout=_ASK_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.strip().partition(".")[0]
