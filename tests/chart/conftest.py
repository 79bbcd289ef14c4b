"""Helm, and a control plane that writes down what ServiceAccounts ask of it."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stateful_route.api.crd import load_crd
from stateful_route.devcluster import ControlPlane, DevClusterError
from stateful_route.devcluster.errors import KubectlFailed
from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.store.connection import Store, StoreOptions
from support.account import Account, granted
from support.helm import Helm, HelmFailed
from support.privileges import Enrolled, Privileges
from support.release import Release
from support.rights import ChartRights
from support.scene import Scene, TestKube

TEST_SECONDS = 180
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's time limit is its own: the first build of the programs takes minutes, and has a limit itself."""
    for item in items:
        builds = {"helm", "control_plane", "promtool"}.intersection(getattr(item, "fixturenames", ()))
        if builds and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


@pytest.fixture(scope="session")
def control_plane(audit: tuple[str, ...], privileges: Privileges) -> Iterator[ControlPlane]:
    try:
        cluster = ControlPlane.start(nodes=2, extra_args=audit)
    except DevClusterError as error:
        pytest.fail(str(error), pytrace=False)
    with cluster:
        yield cluster
        privileges.read(cluster)


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    return control_plane.kubectl


@pytest.fixture(scope="session")
def cluster_helm(helm: Helm, control_plane: ControlPlane) -> Helm:
    """Helm on the control plane, as its administrator."""
    return Helm(helm.path, control_plane.kubectl, helm.home)


@pytest.fixture(scope="session")
def chart_rights(
    kubectl: Kubectl, helm: Helm, privileges: Privileges, tmp_path_factory: pytest.TempPathFactory
) -> ChartRights:
    """Makes accounts that may do what the chart lets an operator do."""
    return ChartRights(helm, kubectl, privileges, tmp_path_factory.mktemp("accounts"))


@pytest.fixture
def make_namespace(kubectl: Kubectl) -> Iterator[Callable[..., str]]:
    """Makes namespaces; deleted afterwards, in the background."""
    made: list[str] = []

    def make(name: str | None = None) -> str:
        name = name or f"t-{uuid.uuid4().hex[:8]}"
        kubectl("create", "namespace", name)
        kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
        made.append(name)
        return name

    yield make
    for name in made:
        with contextlib.suppress(KubectlFailed):
            routes = kubectl("get", "sroute", "-n", name, "-o", "name").split()
            for route in routes:
                kubectl("patch", route, "-n", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def no_crd(kubectl: Kubectl) -> None:
    """The cluster has never heard of StatefulRoutes."""
    kubectl("delete", "crd", "statefulroutes.statefulroute.io", "--ignore-not-found", "--timeout=30s")


@pytest.fixture
def crd(no_crd: None, kubectl: Kubectl) -> None:
    """The CRD, applied by the administrator."""
    kubectl("apply", "-f", "-", text=json.dumps(load_crd()))
    kubectl("wait", "--for=condition=Established", "crd/statefulroutes.statefulroute.io", "--timeout=30s")


@pytest.fixture
async def kube(control_plane: ControlPlane) -> AsyncIterator[TestKube]:
    client = await TestKube.connect(str(control_plane.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = Store.from_url(redis_url, StoreOptions(timeout_seconds=10))
    yield store
    await store.command("FLUSHDB")
    await store.close()


@dataclass(frozen=True)
class Cluster:
    """The control plane with what tests do on it, and the store."""

    control_plane: ControlPlane
    kube: TestKube
    store: Store
    make_namespace: Callable[..., str]

    @property
    def folder(self) -> Path:
        return self.control_plane.folder

    def scene(self, name: str = "rooms", *, namespace: str | None = None) -> Scene:
        """A workload, its route and its links, in a new namespace unless one is given."""
        return Scene(self.kube, namespace or self.make_namespace(), self.store, name)


@pytest.fixture
def cluster(control_plane: ControlPlane, kube: TestKube, store: Store, make_namespace: Callable[..., str]) -> Cluster:
    return Cluster(control_plane, kube, store, make_namespace)


@pytest.fixture
def enroll(request: pytest.FixtureRequest, kubectl: Kubectl, privileges: Privileges) -> Callable[[Account], None]:
    """Tells that an account of the chart is about to be used, with the rights that it has in the cluster."""

    def tell(account: Account) -> None:
        rights = frozenset(granted(kubectl, account))
        privileges.enroll(Enrolled(account, rights, request.node.nodeid))

    return tell


@pytest.fixture
def install(
    cluster_helm: Helm,
    kubectl: Kubectl,
    make_namespace: Callable[..., str],
    redis_url: str,
    tmp_path: Path,
    enroll: Callable[[Account], None],
) -> Iterator[Callable[..., Release]]:
    """Installs the chart; at the end each release is gone, whatever a test has done with it."""
    releases: list[Release] = []

    def begin(*flags: str, **values: Any) -> Release:
        namespace = make_namespace()
        kubectl("label", "namespace", namespace, RESTRICTED)  # what does not conform gets no pod
        kubectl("create", "secret", "generic", "store", "-n", namespace, f"--from-literal=url={redis_url}")
        release = Release(cluster_helm, kubectl, namespace, tmp_path, enroll)
        releases.append(release)
        release.install(*flags, values={"redis.existingSecret.name": "store", **values})
        return release

    yield begin
    for release in releases:
        release.stop()
        with contextlib.suppress(HelmFailed):
            cluster_helm(
                "uninstall", release.name, "--namespace", release.namespace, "--no-hooks", "--ignore-not-found"
            )
