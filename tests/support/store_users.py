"""All who use a store, at work at the same time: executors, callers and pods in both colours, and what push tells.

Each tries again and again, and fails or not, as an application does that is never restarted.
"""

import asyncio
import itertools
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers import cache, client, server
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerOptions
from stateful_route.router import route, route_sync
from stateful_route.store import executor
from stateful_route.store.connection import StoreOptions
from stateful_route.store.keys import Service
from support.recovery import Read, Tries, Try, Write, clock, wrong_reads
from support.twins import Threaded
from support.writers import Count, Numbered

NS, ROOMS, COUNTS, NEWS = "games", "room", "count", ("headlines", "tidings")
"""The states of all of them lie in the first third of a Cluster's slots."""
OPTIONS = StoreOptions(timeout_seconds=0.5, deadline_seconds=1.5)
BY_PUSH = cache.CacheOptions(refresh_seconds=600.0)
"""What is heard within a test was told by push."""
POD = ServerOptions(update_seconds=1.0, cpu_factor=0, settle_seconds=0, stop_seconds=2)
HEARD_WITHIN_SECONDS = 5.0
NEWS_POD = 9
PAUSE_SECONDS = 0.02
OWN_UIDS = 5
STOP_SECONDS = 10
THREADS = 48
TRIES = 5
"""So many in a row must work."""


class Wrong(Exception):  # noqa: N818  names the fact
    """It was answered, but not as it should be."""


class StoreUser(ABC):
    """Tries one thing again and again until it is stopped."""

    def __init__(self, name: str) -> None:
        self.tries = Tries(name)
        self.stopped = False

    @abstractmethod
    async def once(self) -> None:
        """One try.

        Raises:
            StatefulRouteError, Wrong: it did not work.
        """

    async def work(self) -> None:
        """Go on until `stopped`; anything but our errors ends it."""
        while not self.stopped:
            began, trouble = clock(), None
            try:
                await self.once()
            except (StatefulRouteError, Wrong) as error:
                trouble = f"{type(error).__name__}: {error}"
            self.tries.made.append(Try(began, clock(), trouble))
            await asyncio.sleep(PAUSE_SECONDS)


class Counts:
    """The numbered uids of all counters, and who has read what of them."""

    def __init__(self) -> None:
        self.numbered: dict[str, Numbered] = {}
        self.reads: list[Read] = []
        self._choose = random.Random(0)

    def moment(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return time.monotonic_ns()

    async def read(self, reader: str, look: Callable[[str], Any]) -> None:
        """Look at any of the uids; ``look`` gives its number, or None."""
        uid = self._choose.choice(list(self.numbered))
        asked = self.moment()
        self.reads.append(Read(reader, uid, asked, await look(uid) or 0))

    def writes(self, uid: str) -> list[Write]:
        """All acknowledged writes of a uid, those that were lost later, too."""
        mine = self.numbered[uid]
        return [Write(*pair) for pair in (mine.acknowledged | mine.lost).items()]

    def wrong_reads(self, since: int) -> list[str]:
        """Reads since a moment that gave an older owner than a write acknowledged since then."""
        return wrong_reads(self.reads, self.writes, since)

    async def settle(self, looker: executor.StatefulExecutor, excused: Callable[[int], bool]) -> Count:
        """Look at every uid once more, and count; ``excused``: whether what was lost may be, by its moment."""
        everybody = list(self.numbered.values())
        written = sum(len(mine.acknowledged) + len(mine.lost) for mine in everybody)
        for mine in everybody:
            link = await looker.get_link(NS, mine.uid, COUNTS)
            mine.found(0 if link is None else link.ordinal)
        lost = [moment for mine in everybody for moment in mine.lost.values()]
        forged, fallen = sum(mine.forged for mine in everybody), sum(mine.fallen for mine in everybody)
        return Count(written, len(lost), sum(map(excused, lost)), forged, fallen)


class Counter(StoreUser):
    """Writes numbers to uids of its own by an executor, and reads any uid."""

    def __init__(self, name: str, executor: Any, counts: Counts) -> None:
        super().__init__(name)
        self._executor = executor
        self._counts = counts
        self._own = [Numbered(f"{name} {n}") for n in range(OWN_UIDS)]
        counts.numbered |= {mine.uid: mine for mine in self._own}
        self._turn = itertools.cycle(self._own)

    async def once(self) -> None:
        mine = next(self._turn)
        mine.number += 1
        number = mine.number
        try:
            done = await self._executor.set_link(NS, mine.uid, COUNTS, number)
        except StatefulRouteError as error:
            if not error.maybe_written:
                mine.denied.add(number)
            raise
        mine.found(done.previous or 0)
        mine.told(number, done.epoch, self._counts.moment())
        await self._counts.read(self.tries.name, self._look)

    async def _look(self, uid: str) -> int | None:
        link = await self._executor.get_link(NS, uid, COUNTS)
        return None if link is None else link.ordinal


class Caller(StoreUser):
    """Places users, each a new one, and reads any numbered uid."""

    def __init__(self, name: str, driver: Any, counts: Counts) -> None:
        super().__init__(name)
        self._client = driver
        self._counts = counts
        self._new = itertools.count()
        self.placed: dict[str, int] = {}

    async def once(self) -> None:
        uid = f"{self.tries.name} {next(self._new)}"
        self.placed[uid] = await self._client.compute_linked_pod(NS, uid, ROOMS)
        await self._counts.read(self.tries.name, self._look)

    async def _look(self, uid: str) -> int | None:
        found: int | None = await self._client.get_linked_pod_not_cache(NS, uid, COUNTS)
        return found


class Pod(StoreUser):
    """Accepts requests of new users, and of those that a caller has sent to it."""

    def __init__(self, name: str, driver: Any, ordinal: int, callers: Sequence[Caller]) -> None:
        super().__init__(name)
        self.server = driver
        self._ordinal = ordinal
        self._callers = callers
        self._new = itertools.count()

    async def once(self) -> None:
        await self._accept(f"{self.tries.name} {next(self._new)}")
        for caller in self._callers:
            sent = next((uid for uid, pod in reversed(caller.placed.items()) if pod == self._ordinal), None)
            if sent is not None:
                await self._accept(sent)

    async def _accept(self, uid: str) -> None:
        if not await self.server.accept(uid):
            raise Wrong(f"{uid} is refused")


class Hearer(StoreUser):
    """Publishes a pod's state as that pod would, past everything in trouble, and waits until a cache was told of it."""

    def __init__(self, name: str, states: Any, service: str, straight_url: Callable[[], str]) -> None:
        super().__init__(name)
        self._states = states
        self._straight_url = straight_url
        self._service = Service(NS, service)
        self._turns = itertools.cycle((RoutingState.DENY_NEW_CALL, RoutingState.READY))
        self._teller: executor.StatefulExecutor | None = None
        self._teller_url = ""

    async def once(self) -> None:
        if self._states.known(self._service) is None:
            await self._states.snapshot(self._service)
        news = next(self._turns)
        await self._tell(news)
        told = clock()
        while (known := self._states.known(self._service)) is None or known.states().get(NEWS_POD) is not news:
            if clock() > told + HEARD_WITHIN_SECONDS:
                raise Wrong(f"nothing was heard of it within {HEARD_WITHIN_SECONDS:g} s")
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Close the teller's connections."""
        if self._teller is not None:
            await self._teller.close()
            self._teller = None

    async def _tell(self, news: RoutingState) -> None:
        url = await asyncio.to_thread(self._straight_url)
        if url != self._teller_url:
            await self.close()
        if self._teller is None:
            self._teller, self._teller_url = executor.StatefulExecutor.from_url(url, OPTIONS), url
        try:
            await self._teller.set_service_state(NS, self._service.name, NEWS_POD, news)
        except StatefulRouteError:
            await self.close()
            raise


class StoreUsers:
    """Two counters, two callers, two pods and two who hear: of each one that is asynchronous and one that is not."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.users: list[StoreUser] = []
        self.pods: list[Pod] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let all of them begin."""
        self._tasks = [asyncio.create_task(user.work()) for user in self.users]

    async def stop(self) -> None:
        """Let all of them end; what is under way is awaited, unless it hangs."""
        for user in self.users:
            user.stopped = True
        _, hanging = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in hanging:
            task.cancel()
        self._raise_strange()

    async def all_work(self, since: float, seconds: float) -> None:
        """Until all of them have worked several times in a row, in tries that began after a moment.

        Raises:
            AssertionError: some did not within ``seconds``; it says who, and what they met.
        """
        deadline = clock() + seconds
        while away := [user.tries for user in self.users if not user.tries.works_since(since, TRIES)]:
            self._raise_strange()
            if clock() > deadline:
                told = "\n  ".join(tries.trouble(since) for tries in away)
                raise AssertionError(f"not all work again within {seconds:g} s:\n  {told}")
            await asyncio.sleep(0.01)

    def back_at(self, struck: float) -> tuple[float, str]:
        """When the last of them began to work again, and who that was."""
        return max((user.tries.back_at(struck), user.tries.name) for user in self.users)

    def failed(self, struck: float) -> int:
        """How many tries of all of them have failed since the fault."""
        return sum(user.tries.failed(struck) for user in self.users)

    def slowest(self) -> tuple[float, str]:
        """The longest try in seconds, and whose it was."""
        return max((user.tries.slowest(), user.tries.name) for user in self.users)

    def owned_twice(self) -> set[str]:
        """Users that both pods hold to be their own."""
        first, second = (set(pod.server.owned()) for pod in self.pods)
        return first & second

    def _raise_strange(self) -> None:
        """Raise what no user should have met: anything but our errors."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()


@asynccontextmanager
async def store_users(url: str, straight_url: Callable[[], str]) -> AsyncIterator[StoreUsers]:
    """All of them at work on a store; ``straight_url``: see `Topology`. They end with the block."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    async with AsyncExitStack() as stack:
        them = StoreUsers()

        async def connected() -> route.StatefulRoute:
            options = route.RouteOptions(store=OPTIONS, cache=BY_PUSH)
            return await stack.enter_async_context(route.StatefulRoute.connect(url, options))

        def connected_sync() -> route_sync.StatefulRoute:
            made = route_sync.StatefulRoute.connect(url, route_sync.RouteOptions(store=OPTIONS, cache=BY_PUSH))
            stack.push_async_callback(Threaded(made, route.StatefulRoute).close)
            return made

        a_executor, s_executor = (await connected()).executor, connected_sync().executor
        a_caller, s_caller = await connected(), connected_sync()
        a_pod, s_pod = await connected(), connected_sync()

        counters = [
            Counter("asynchronous executor", a_executor, them.counts),
            Counter("synchronous executor", Threaded(s_executor, executor.StatefulExecutor), them.counts),
        ]
        callers = [
            Caller("asynchronous caller", a_caller.client, them.counts),
            Caller("synchronous caller", Threaded(s_caller.client, client.ClientDriver), them.counts),
        ]
        drivers = [
            a_pod.server(Identity(NS, ROOMS, 0), POD),
            Threaded(s_pod.server(Identity(NS, ROOMS, 1), POD), server.ServerDriver),
        ]
        them.pods = [
            Pod("asynchronous pod", drivers[0], 0, callers),
            Pod("synchronous pod", drivers[1], 1, callers),
        ]
        hearers = [
            Hearer("asynchronous push", a_caller.states, NEWS[0], straight_url),
            Hearer("synchronous push", Threaded(s_caller.states, cache.ServiceStateCache), NEWS[1], straight_url),
        ]
        for hearer in hearers:
            stack.push_async_callback(hearer.close)
        for driver in drivers:
            await driver.start()
        them.users = [*counters, *callers, *them.pods, *hearers]
        stack.push_async_callback(them.stop)
        them.start()
        yield them
