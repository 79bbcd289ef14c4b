"""Finds promtool, which checks alerts: the one on PATH, else it is built from Prometheus' Go module."""

import shutil
from pathlib import Path

from stateful_route.devcluster.builds import build
from stateful_route.devcluster.toolchain import Progress, silent


def find_promtool(progress: Progress = silent) -> Path:
    """The ``promtool`` on PATH, else our own; where that is not in the cache it is built, in some minutes.

    Raises:
        ToolchainMissing: no Go, and none could be installed.
        BuildFailed: the compiler refused, or a Go module is out of reach.
    """
    on_path = shutil.which("promtool")
    return Path(on_path) if on_path is not None else build(["promtool"], progress=progress)["promtool"]
