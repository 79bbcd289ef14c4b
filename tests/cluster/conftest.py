"""A real control plane for the session, and a fresh namespace for each test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stateful_route.devcluster import ControlPlane, DevClusterError
from support.helm import Helm
from support.privileges import Privileges
from support.rights import ChartRights

TEST_SECONDS = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's time limit is its own: the first build of the control plane takes minutes, and has a limit itself."""
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


@pytest.fixture(scope="session")
def control_plane(
    pytestconfig: pytest.Config, audit: tuple[str, ...], privileges: Privileges
) -> Iterator[ControlPlane]:
    """A control plane with three nodes; the tests fail, and are not skipped, where none can be had."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def tell(line: str) -> None:
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(line)

    try:
        cluster = ControlPlane.start(nodes=3, extra_args=audit, progress=tell)
    except DevClusterError as error:
        pytest.fail(str(error), pytrace=False)
    with cluster:
        yield cluster
        privileges.read(cluster)


@pytest.fixture(scope="session")
def kubeconfig(control_plane: ControlPlane) -> Path:
    return control_plane.kubeconfig


@pytest.fixture(scope="session")
def chart_rights(
    control_plane: ControlPlane, helm: Helm, privileges: Privileges, tmp_path_factory: pytest.TempPathFactory
) -> ChartRights:
    """Makes accounts that may do what the chart lets an operator do."""
    return ChartRights(helm, control_plane.kubectl, privileges, tmp_path_factory.mktemp("accounts"))


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace in which pods can be made; deleted afterwards, in the background."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    # Admission refuses pods until the controller manager has made the account that they run as.
    control_plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
