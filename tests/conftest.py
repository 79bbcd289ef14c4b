"""What all tests may use: a store of this session."""

import signal
from collections.abc import Iterator

import pytest

from stateful_route.devcluster import EmbeddedStore

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell's background job ignores Ctrl-C, and so would the processes that the tests start and interrupt."""


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
