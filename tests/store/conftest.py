"""Our client beside a foreign one, on the real servers of `support.servers`."""

from binascii import crc_hqx
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio.client import PubSub

from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.keys import BUCKETS, Service, tags
from support.servers import (  # noqa: F401  fixtures
    PATIENCE_SECONDS,
    Eventually,
    StartServer,
    cluster,
    eventually,
    kind,
    raw,
    server,
    start_module_server,
    start_sentinel,
    start_server,
    starting,
)


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
