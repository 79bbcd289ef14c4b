"""Real nodes, with the chart installed on them; skipped where no node can run, and told why."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from stateful_route.devcluster import DevClusterError
from stateful_route.devcluster.helm import find_helm
from support.helm import Helm
from support.nodes import images, kind, machine
from support.nodes.cluster import NodeCluster
from support.nodes.kind import KindCluster
from support.nodes.release import NodeRelease
from support.nodes.rooms import Rooms, at_work

TEST_SECONDS = 300
"""Some of it is waiting: for a grace period, for a node to count as lost. The machine may have more to do."""

KIND = os.environ.get("STATEFUL_ROUTE_TEST_NODES") == "kind"
"""``make test-kind`` says so; else the nodes are this machine's own processes."""

HERE = Path(__file__).parent

Cluster = NodeCluster | KindCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    why_not = "" if not mine else kind.unfit() if KIND else machine.unfit()
    for item in mine:
        item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))
        if why_not:
            item.add_marker(pytest.mark.skip(reason=why_not))


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that have all images; they end with these tests, so that others have the machine."""
    if KIND:
        with KindCluster.start(2) as theirs:
            yield theirs
        return
    with ThreadPoolExecutor() as pool:
        archive = pool.submit(images.make_images, tmp_path_factory.mktemp("images"))
        try:
            running = NodeCluster.start(2)
        except DevClusterError as error:
            pytest.fail(str(error), pytrace=False)
        with running:
            running.load(archive.result())
            yield running


@pytest.fixture(scope="package")
def chart(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> NodeRelease:
    """The chart, not installed yet."""
    try:
        helm = Helm(find_helm(), cluster.kubectl, tmp_path_factory.mktemp("helm"))
    except DevClusterError as error:
        pytest.fail(str(error), pytrace=False)
    return NodeRelease(helm, cluster.kubectl, cluster.images)


@pytest.fixture
def release(chart: NodeRelease, cluster: Cluster) -> NodeRelease:
    """The chart, installed as its README says, on the first node: the second one may be lost."""
    if not chart.notes:
        _, second = sorted(cluster.nodes)
        cluster.kubectl("cordon", second)
        chart.install()
        cluster.kubectl("uncordon", second)
    return chart


@pytest.fixture
def rooms(cluster: Cluster, release: NodeRelease) -> Callable[..., AbstractAsyncContextManager[Rooms]]:
    """Makes a routed service at work, see `support.nodes.rooms.at_work`."""
    return partial(at_work, cluster, release)
