"""Real servers for tests: Valkey always, Debian's Redis when it is there, one of each for a session.

Fixtures: a folder's conftest.py imports those that its tests use.
"""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from stateful_route.devcluster.embedded_store import EmbeddedStore, StoreServer, find_servers
from support.redis_cluster import Cluster, three_nodes
from support.waiting import PATIENCE_SECONDS

SERVERS = {server.name: server for server in find_servers()}


@pytest.fixture(scope="session", params=["valkey", "redis"])
def kind(request: pytest.FixtureRequest) -> StoreServer:
    """Which server: each test of this folder runs on both."""
    if request.param not in SERVERS:
        pytest.skip(f"no {request.param} server on this machine")
    return SERVERS[request.param]


@pytest.fixture(scope="session")
def server(kind: StoreServer) -> Iterator[EmbeddedStore]:
    """The session's server; tests empty it and must leave its settings as they are."""
    with EmbeddedStore(kind) as running:
        yield running


StartServer = Callable[..., EmbeddedStore]


@contextmanager
def starting(kind: StoreServer) -> Iterator[StartServer]:
    """Starts servers, with words for their command line, and ends them all."""
    with ExitStack() as servers:
        yield lambda *arguments, password="": servers.enter_context(
            EmbeddedStore(kind, arguments=arguments, password=password)
        )


@pytest.fixture
def start_server(kind: StoreServer) -> Iterator[StartServer]:
    """Start a server for one test, which may stop, pause or restart it; arguments are command-line words."""
    with starting(kind) as start:
        yield start


@pytest.fixture(scope="module")
def start_module_server(kind: StoreServer) -> Iterator[StartServer]:
    """Start a server for one module."""
    with starting(kind) as start:
        yield start


@pytest.fixture(scope="module")
def cluster(start_module_server: StartServer) -> Iterator[Cluster]:
    """A Redis Cluster of three for one module."""
    with three_nodes(start_module_server) as running:
        yield running


@pytest.fixture
def start_sentinel(kind: StoreServer, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a Sentinel for one test, which calls the given server "main"; gives its port, where it soon answers.

    After the server: further lines of its settings.
    """
    started = []

    def start(watched: EmbeddedStore, *lines: str) -> int:
        settings = tmp_path / "sentinel.conf"
        settings.write_text("\n".join((f"sentinel monitor main 127.0.0.1 {watched.port} 1", *lines, "")))
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        words = [settings, "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
        started.append(subprocess.Popen([kind.path, *words], stdout=subprocess.DEVNULL))
        return port

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_SECONDS)


@pytest.fixture
async def raw(server) -> AsyncIterator[Redis]:
    """A foreign client, on an empty server; replies are text."""
    async with Redis.from_url(server.url, decode_responses=True) as client:
        await client.flushall()
        yield client


Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


@pytest.fixture
def eventually() -> Eventually:
    """Await a condition until it holds, and give its value; fails when it does not in time."""

    async def wait(condition: Callable[[], Awaitable[object]]) -> object:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if value := await condition():
                    return value
                await asyncio.sleep(0.002)

    return wait
