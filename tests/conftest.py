"""What all tests may use: a store of this session, Helm; and the judgement on what operators asked for."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from stateful_route.devcluster import DevClusterError, EmbeddedStore
from stateful_route.devcluster.helm import find_helm
from stateful_route.devcluster.kubectl import Kubectl
from support.audit import AUDIT_POLICY
from support.helm import Helm
from support.privileges import NAME, Privileges

settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=5000)
settings.load_profile("gate")
"""Each run tries the same examples, and they take as long as they take. ``--hypothesis-profile=explore`` looks for new
ones; what it finds becomes an ``@example``, or a strategy that draws it soon."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell's background job ignores Ctrl-C, and so would the processes that the tests start and interrupt."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Privileges(config), NAME)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the synchronous twin on the second server, unless the command line says ``-k sync``.

    Twins are made from one source and send the same scripts: what differs between servers the asynchronous one meets on
    both, and what differs between twins shows on one server. It is a fifth of the time of the library's tests.
    """
    if "sync" in config.option.keyword:
        return
    left_out = [item for item in items if {"kind": "redis", "colour": "sync"}.items() <= choices(item).items()]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def choices(item: pytest.Item) -> dict[str, str]:
    """The values that a test was parametrized with, as text."""
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else {name: str(value) for name, value in callspec.params.items()}


@pytest.fixture(scope="session")
def privileges(pytestconfig: pytest.Config) -> Privileges:
    """Is told of each account of an operator, and of each control plane before it is stopped."""
    plugin = pytestconfig.pluginmanager.get_plugin(NAME)
    assert isinstance(plugin, Privileges)
    return plugin


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments of a control plane that writes down what operators ask of it."""
    policy = tmp_path_factory.mktemp("audit") / "policy.yaml"
    policy.write_text(AUDIT_POLICY)
    return "--kube-audit-policy", str(policy)


@pytest.fixture(scope="session")
def helm_path() -> Path:
    try:
        return find_helm()
    except DevClusterError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def helm(helm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster, to render and to check."""
    folder = tmp_path_factory.mktemp("helm")
    nowhere = Kubectl(Path("kubectl"), folder / "no-kubeconfig", folder)
    return Helm(helm_path, nowhere, folder)


@pytest.fixture(scope="session")
def store_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedStore]:
    """A running store that the session's tests share; Valkey unless the test names another server.

    All servers of this machine: ``@pytest.mark.parametrize("store_server", find_servers(), indirect=True, ids=str)``.
    """
    with EmbeddedStore(getattr(request, "param", None)) as store:
        yield store


@pytest.fixture(scope="session")
def redis_url(store_server: EmbeddedStore) -> str:
    return store_server.url
