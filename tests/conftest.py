"""What all tests may use: a store of this session."""

import signal
from collections.abc import Iterator

import pytest

from stateful_route.devcluster import EmbeddedStore

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell's background job ignores Ctrl-C, and so would the processes that the tests start and interrupt."""


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
def store_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedStore]:
    """A running store that the session's tests share; Valkey unless the test names another server.

    All servers of this machine: ``@pytest.mark.parametrize("store_server", find_servers(), indirect=True, ids=str)``.
    """
    with EmbeddedStore(getattr(request, "param", None)) as store:
        yield store


@pytest.fixture(scope="session")
def redis_url(store_server: EmbeddedStore) -> str:
    return store_server.url
