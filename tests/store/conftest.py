"""Real servers for the store's tests: Valkey always, Debian's Redis when it is there, one of each for a session."""

import asyncio
import socket
import subprocess
from binascii import crc_hqx
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from stateful_route.devcluster.embedded_store import EmbeddedStore, StoreServer, find_servers
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.keys import BUCKETS, Service, tags
from support.redis_cluster import Cluster, three_nodes

PATIENCE_SECONDS = 10.0
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
def start_sentinel(kind: StoreServer, tmp_path: Path) -> Iterator[Callable[[EmbeddedStore], int]]:
    """Start a Sentinel for one test, which calls the given server "main"; gives its port, where it soon answers."""
    started = []

    def start(watched: EmbeddedStore) -> int:
        settings = tmp_path / "sentinel.conf"
        settings.write_text(f"sentinel monitor main 127.0.0.1 {watched.port} 1\n")
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


@pytest.fixture
async def store(server, raw) -> AsyncIterator[Store]:
    """Our client, on an empty server."""
    assert await raw.dbsize() == 0
    ours = Store.from_url(server.url)
    yield ours
    await ours.close()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Store]]:
    """Further clients of ours, closed after the test: ``connect(url, timeout_seconds=…, max_connections=…)``."""
    opened = []

    def open_store(url: str, **options: float) -> Store:
        opened.append(Store.from_url(url, StoreOptions(**options)))
        return opened[-1]

    yield open_store
    for one in opened:
        await one.close()


@pytest.fixture
def service() -> Service:
    return Service("games", "room")


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


@pytest.fixture
def next_millisecond(raw, eventually) -> Callable[[], Awaitable[object]]:
    """Wait until the server's clock has gone on, so that an epoch or update time taken next is a later one."""

    async def passed() -> object:
        start = await raw.time()
        later = start[0] * 1000 + start[1] // 1000 + 2

        async def is_later() -> bool:
            now = await raw.time()
            return now[0] * 1000 + now[1] // 1000 >= later

        return await eventually(is_later)

    return passed


@pytest.fixture
async def wakeups(raw, service) -> AsyncIterator[Callable[[], Awaitable[list[str]]]]:
    """What has been published on the service's channel since the last call."""
    pubsub: PubSub = raw.pubsub()
    await pubsub.subscribe(service.channel, "fence")
    for _ in range(2):
        await pubsub.get_message(timeout=PATIENCE_SECONDS)

    async def received() -> list[str]:
        """All that was published before the fence, which comes last on this connection."""
        await raw.publish("fence", "")
        found = []
        while True:
            message = await pubsub.get_message(timeout=PATIENCE_SECONDS)
            assert message is not None, "not even the fence was received"
            if message["channel"] == "fence":
                return found
            found.append(message["data"].split()[0])

    yield received
    await pubsub.aclose()


@pytest.fixture
def contents(raw) -> Callable[[], Awaitable[dict[str, str]]]:
    """All keys with their values and times to live, to see that nothing was written (or what was)."""
    read = {
        "string": raw.get,
        "hash": raw.hgetall,
        "list": lambda key: raw.lrange(key, 0, -1),
        "zset": lambda key: raw.zrange(key, 0, -1, withscores=True),
        "stream": raw.xrange,
    }

    async def everything() -> dict[str, str]:
        found = {}
        for key in sorted(await raw.keys()):
            found[key] = await read[await raw.type(key)](key), await raw.ttl(key) >= 0
        return found

    return everything


def same_bucket(service: Service, count: int) -> list[str]:
    """Uids that all lie in one bucket: the last three letters of each turn its slot to that of the first."""
    uids = []
    for number in range(count):
        head = f"crowd-{number:05d}-"
        so_far = crc_hqx(f"{service.namespace}:lk:{head}".encode(), 0)
        uids.append(head + tags()[crc_hqx(b"\0\0\0", so_far) % BUCKETS])
    return uids


@pytest.fixture
def crowd(service) -> Callable[[int], list[str]]:
    """So many uids of one bucket."""

    def uids(count: int) -> list[str]:
        found = same_bucket(service, count)
        assert len({service.bucket(uid) for uid in found}) == 1
        return found

    return uids
