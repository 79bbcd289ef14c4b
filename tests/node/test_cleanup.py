"""What nodes leave behind when those who started them were killed: nothing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stateful_route.devcluster.builds import CONTROL_PLANE, NODE, build
from stateful_route.devcluster.run_folder import runs_root
from support.nodes import machine
from support.nodes.network import ip
from support.waiting import eventually

TESTS = Path(__file__).resolve().parents[1]

RUN = """
from support.nodes.cluster import NodeCluster
with NodeCluster.start(1) as cluster:
    print(*cluster.nodes, cluster.journals.parent, flush=True)
    input()
"""


@pytest.fixture(scope="module")
def programs() -> None:
    """They are built in a time of their own."""
    build((*CONTROL_PLANE, *NODE))


def left(name: str, folder: str) -> list[str]:
    """What there is of a cluster."""
    found = [str(path) for path in Path("/run/netns").glob(f"{name}-*")]
    found += [str(group) for group in machine.groups_of(f"{name}-")]
    found += [line for line in ip("-o", "link", "show").splitlines() if f"{name}h" in line]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if folder in line]
    return found + [str(path) for path in runs_root().iterdir() if str(path) == folder]


@pytest.mark.skipif(os.environ.get("STATEFUL_ROUTE_TEST_NODES") == "kind", reason="kind removes its own nodes")
@pytest.mark.usefixtures("programs")
def test_a_cluster_whose_owner_was_killed_is_removed_by_its_guard():
    process = subprocess.Popen(
        [sys.executable, "-c", RUN],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    node, folder = process.stdout.readline().split()
    name = node.rpartition("-")[0]
    assert len(left(name, folder)) > len(machine.hierarchies())
    process.kill()
    process.wait()

    async def look():
        return left(name, folder)

    asyncio.run(eventually(look, lambda found: not found, "nothing is left", seconds=60))
