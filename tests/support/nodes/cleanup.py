"""Ends what nodes leave behind: ``python cleanup.py RUN_FOLDER NAME``. Containers are no children of whom they serve.

Run when the run folder is removed, by whomever: by the tests, or by its guard when they were killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stateful_route.devcluster.run_folder import _kill
from support.nodes import machine, network

SECONDS = 20.0


def main(folder: Path, name: str) -> None:
    _kill(folder)  # first: a kubelet would start its containers again
    deadline = time.monotonic() + SECONDS
    while (pids := _contained(name)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    _unmount(folder)
    with network.alone():
        for namespace in Path("/run/netns").glob(f"{name}-*"):
            _run("ip", "netns", "delete", namespace.name)
        _run("ip", "link", "delete", f"{name}h")  # gone with its other end, unless that was never made
        if not network.others(name):
            machine.restore_kernel(network.kernel_before())
    for group in machine.groups_of(f"{name}-"):
        with contextlib.suppress(OSError):
            group.rmdir()
    _forget(folder, name)


def _contained(name: str) -> set[int]:
    """The processes in the nodes' control groups."""
    found: set[int] = set()
    for group in machine.groups_of(f"{name}-"):
        with contextlib.suppress(OSError):
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
    return found


def _unmount(folder: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted((one for one in mounts if one.startswith(f"{folder}/")), reverse=True):
        if _run("umount", place):
            _run("umount", "--lazy", place)


def _forget(folder: Path, name: str) -> None:
    """What CNI and the kubelet have written elsewhere."""
    results = Path("/var/lib/cni/results")
    for result in list(results.glob(f"{name}-*")):
        container = result.name.split("-")[-2]
        for one in results.glob(f"*-{container}-*"):
            one.unlink(missing_ok=True)
    for log in Path("/var/log/containers").glob("*.log"):
        with contextlib.suppress(OSError):
            if folder in log.readlink().parents:
                log.unlink()


def _run(*words: str) -> int:
    environment = {**os.environ, "PATH": machine.PATH}
    return subprocess.run(words, env=environment, capture_output=True, check=False, timeout=SECONDS).returncode


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
