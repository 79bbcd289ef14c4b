"""Real nodes for the session, with the chart installed on them; skipped where no node can run, and told why."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from stateful_route.devcluster import DevClusterError
from stateful_route.devcluster.helm import find_helm
from support.helm import Helm
from support.nodes import images, machine
from support.nodes.cluster import NodeCluster
from support.nodes.release import Images, NodeRelease
from support.nodes.rooms import Rooms, at_work

TEST_SECONDS = 300
"""Some of it is waiting: for a grace period, for a node to count as lost. The machine may have more to do."""

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    why_not = machine.unfit() if mine else ""
    for item in mine:
        item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))
        if why_not:
            item.add_marker(pytest.mark.skip(reason=why_not))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """Two nodes that have all images."""
    with ThreadPoolExecutor() as pool:
        archive = pool.submit(images.make_images, tmp_path_factory.mktemp("images"))
        try:
            running = NodeCluster.start(2)
        except DevClusterError as error:
            pytest.fail(str(error), pytrace=False)
        with running:
            running.load(archive.result())
            yield running


@pytest.fixture(scope="session")
def new_release(cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NodeRelease]:
    """Makes releases; a namespace is all that one needs to know."""
    try:
        helm = Helm(find_helm(), cluster.kubectl, tmp_path_factory.mktemp("helm"))
    except DevClusterError as error:
        pytest.fail(str(error), pytrace=False)
    names = Images(images.OPERATOR, images.NEXT, images.VALKEY, images.ROOM)
    return partial(NodeRelease, helm, cluster.kubectl, names)


@pytest.fixture(scope="session")
def release(new_release: Callable[..., NodeRelease], cluster: NodeCluster) -> NodeRelease:
    """The chart, installed as its README says, on the first node: the second one may be lost."""
    first, second = sorted(cluster.nodes)
    cluster.kubectl("cordon", second)
    installed = new_release()
    installed.notes.append(installed.install())
    cluster.kubectl("uncordon", second)
    return installed


@pytest.fixture
def rooms(cluster: NodeCluster, release: NodeRelease) -> Callable[..., AbstractAsyncContextManager[Rooms]]:
    """Makes a routed service at work, see `support.nodes.rooms.at_work`."""
    return partial(at_work, cluster, release)
