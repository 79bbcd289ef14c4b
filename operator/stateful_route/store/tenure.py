"""Writes that carry a deadline: an operator that has lost its Lease writes nothing more, whenever it wakes up.

With each renewal of its Lease the leader first notes the TIME of every server, then asks for the renewal; once that
is granted, each server's deadline is its noted TIME plus the Lease's duration. A candidate waits that long after it
has seen the renewal, which was later. So whatever the deposed leader sends, or has sent long ago and a network has
kept, comes too late wherever its successor may already have written: each server judges by its own clock, in every
slot, and nothing is stored for it.

The deadline is put in at the last moment, when the connection is known (`_Timed`), because it must be that of the
server which executes: a slot may have moved to a node with another clock, Sentinel may have promoted a replica,
another server may stand behind the same name. A server is known by its run id, which no other has and which changes
when it starts anew. To take the least of all nodes' deadlines would need clocks that agree, or let the slowest one
decide for all; and one node that is down would stop the writes to all others. A server whose clock was not noted gets
no writes at all until it was; whoever finds one asks for a renewal at once. What answers TIME but is no clock gets none
either: a proxy (Envoy's answers it by itself, with a million microseconds and more) hides which of its servers will
execute a write, and what that one's clock says.

The operator alone has such a store; others, the library above all, write without limit. There is no synchronous twin.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

from stateful_route.domain.epoch import clock_ms
from stateful_route.domain.errors import Deposed, StatefulRouteError
from stateful_route.store.clients import NodePool
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.failures import FAILURES, Untimely
from stateful_route.store.patience import READING_COMMANDS
from stateful_route.store.scripts import Call, timed
from stateful_route.store.sockets import introduced

DEADLINE: Any = object()
"""Stands as the last argument of a script until the connection is known."""

NOT_LEADING = "this operator does not lead (any more): its Lease has run out, or was not renewed in time"


NO_CLOCK = (
    "what answers TIME is no clock: a proxy stands before the server, or the user may not ask; an operator that is "
    "elected needs the server's own"
)

RENEWAL_SECONDS = 1.0
"""So long a write waits for the renewal that notes the clock of its server; longer than one takes, as a rule."""


class Unnoted(Untimely):
    """A write was not sent, because its server's clock has not been noted: it may be sent after the next renewal."""


class Tenure:
    """How long this process may write, by its own clock and by that of each server; shared by all of its stores.

    Attributes:
        doubted: Is set when a write was refused, or could not be sent: the Lease should be renewed at once.
        refused: How many were; whoever tells of it begins anew.
        why: Why the last of them was.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.until = -math.inf
        """By our own clock; writes are not even sent later, which spares a process that was frozen the refusals."""
        self.doubted = asyncio.Event()
        self.refused = 0
        self.why = ""
        self._deadlines: dict[str, int] = {}
        self._stores: set[ElectedStore] = set()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def holds(self) -> bool:
        """True while this process may write."""
        return self._clock() < self.until

    def check(self) -> None:
        """See that this process may write.

        Raises:
            Deposed: it may not.
        """
        if not self.holds:
            raise Deposed(NOT_LEADING)

    def deadline(self, server: str) -> int:
        """Until when the server may take writes, ms since the epoch by its clock.

        Raises:
            Unnoted: this process may not write there yet: a renewal of the Lease notes the server's clock.
            Untimely: this process may not write.
        """
        if not self.holds:
            raise Untimely(NOT_LEADING)
        known = self._deadlines.get(server)
        if known is None:
            raise Unnoted("the server's clock has not been noted yet, which is done with the next renewal of the Lease")
        return known

    def doubt(self, why: str) -> None:
        """A write was refused: ask for a renewal, which shows whether this process still leads."""
        self.refused += 1
        self.why = why
        self.doubted.set()

    async def note(self, seconds: float) -> dict[str, int]:
        """Server → its TIME in ms, of all that answer within so many seconds."""
        noted: dict[str, int] = {}
        for clocks in await asyncio.gather(*(store.clocks(seconds) for store in tuple(self._stores))):
            noted.update(clocks)
        return noted

    def extend(self, until: float, noted: Mapping[str, int], lease_seconds: float) -> None:
        """The Lease was renewed.

        Args:
            until: When this process stops writing by itself, by its own clock.
            noted: What `note` has given before the renewal was asked for. A server that is missing keeps its deadline.
            lease_seconds: How long the Lease lasts.
        """
        self.until = until
        self._deadlines |= {server: ms + round(lease_seconds * 1000) for server, ms in noted.items()}

    def end(self) -> None:
        """This process writes nothing from now on."""
        self.until = -math.inf
        self._deadlines.clear()
        self._tell(self._waiting)
        self._waiting = []

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """A renewal begins, and has ended, well or not: those are told who have waited for one that begins later."""
        waiting, self._waiting = self._waiting, []
        self.doubted.clear()
        try:
            yield
        finally:
            self._tell(waiting)

    async def renewed(self) -> None:
        """Ask for a renewal, and wait until it has ended, well or not; at once when this process may not write."""
        if self.holds:
            done = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            self.doubted.set()
            await done

    def enrol(self, store: "ElectedStore") -> None:
        """Note its servers' clocks, too."""
        self._stores.add(store)

    def dismiss(self, store: "ElectedStore") -> None:
        """Its servers are of no interest any more."""
        self._stores.discard(store)

    @staticmethod
    def _tell(waiting: Sequence["asyncio.Future[None]"]) -> None:
        for done in waiting:
            if not done.done():
                done.set_result(None)


class ElectedStore(Store):
    """As `Store`, but whatever writes carries the tenure's deadline; it fails with `Deposed` where that has passed."""

    @classmethod
    def under(cls, tenure: Tenure, url: str, options: StoreOptions | None = None) -> Self:
        """A store for the URL (as `Store.from_url`) that heeds the tenure."""
        store = cls.from_url(url, options)
        store.heed(tenure)
        return store

    def heed(self, tenure: Tenure) -> None:
        """Have all connections that will be made put in the deadline, and the servers' clocks noted."""
        self._tenure = tenure
        self._introducing = asyncio.Lock()
        self._introduced = False
        tenure.enrol(self)
        if not self.cluster:
            pool = self._client.connection_pool
            pool.connection_class = _timing(pool.connection_class, tenure)
            return
        settings = self._client.connection_kwargs  # of the nodes that it will find
        settings["connection_class"] = _timing(introduced(settings["connection_class"], primary=False), tenure)

    async def introduced(self) -> None:
        """Wait until the clocks of its servers have been noted once, or were found to be out of reach."""
        async with self._introducing:
            if not self._introduced:
                await self._tenure.renewed()
                self._introduced = True

    async def clocks(self, seconds: float) -> dict[str, int]:
        """Server → its TIME in ms since the epoch, of all (primaries) that answer within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._slots_known()
        except (*FAILURES, TimeoutError):
            return {}
        if self.cluster:
            pools: list[Any] = [NodePool(self._client, node) for node in self._client.get_primaries()]
        else:
            pools = [self._client.connection_pool]
        found = await asyncio.gather(*(_clock(pool, seconds) for pool in pools))
        return dict(clock for clock in found if clock is not None)

    async def command(self, *words: Any) -> Any:
        """As `Store.command`, for commands that read: a script alone can heed a deadline."""
        _must_read(words)
        return await super().command(*words)

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """As `Store.pipeline`, for commands that read."""
        for words in commands:
            _must_read(words)
        return await super().pipeline(commands)

    async def close(self) -> None:
        """Close all connections."""
        self._tenure.dismiss(self)
        await super().close()

    async def _run_many(self, calls: Sequence[Call]) -> list[Any]:
        """As `Store._run_many`; what was to go to a server whose clock is not known is sent again when it is."""
        calls = [_with_deadline(call) if call.script.writes else call for call in calls]
        replies = await super()._run_many(calls)
        held_back = [place for place, reply in enumerate(replies) if isinstance(reply, Unnoted)]
        if held_back:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEWAL_SECONDS):
                    await self._tenure.renewed()
            repeated = await super()._run_many([calls[place] for place in held_back])
            for place, reply in zip(held_back, repeated, strict=True):
                replies[place] = reply
        return replies

    def _ours(self, calls: Sequence[Call], replies: Sequence[Any]) -> list[Any]:
        ours = super()._ours(calls, replies)
        for reply in ours:
            if isinstance(reply, Deposed) and self._tenure.holds:
                self._tenure.doubt(str(reply))
        return ours


def _with_deadline(call: Call) -> Call:
    return call._replace(script=timed(call.script), args=(*call.args, DEADLINE))


def _must_read(words: Sequence[Any]) -> None:
    if words[0] not in READING_COMMANDS:
        raise StatefulRouteError(f"{words[0]} may write, and knows no deadline: it belongs into a script")


def _timing(base: Any, tenure: Tenure) -> Any:
    """The class of redis-py's connections that also puts in the deadline."""
    return type(f"Timed{base.__name__}", (_Timed, base), {"tenure": tenure})


class _Timed:
    """Knows the deadline of the server that it is connected to: all commands are packed here, on any way."""

    tenure: Tenure
    server: str
    has_clock = False
    """Whether it answers TIME as a server does; else nobody knows a deadline for it."""

    async def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        await super().on_connect_check_health(*args, **options)  # type: ignore[misc]
        self.has_clock = clock_ms(await self.asked("TIME")) is not None  # type: ignore[attr-defined]

    def pack_command(self, *args: Any) -> list[bytes]:
        if args[-1] is DEADLINE:
            if not self.has_clock:
                raise Untimely(NO_CLOCK)
            args = (*args[:-1], self.tenure.deadline(self.server))
        packed: list[bytes] = super().pack_command(*args)  # type: ignore[misc]
        return packed


@asynccontextmanager
async def _borrowed(pool: Any) -> AsyncIterator[Any]:
    connection = await pool.get_connection()
    try:
        yield connection
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def _clock(pool: Any, seconds: float) -> tuple[str, int] | None:
    """A server and its TIME in ms; None: it does not answer in time, or with no clock.

    Asked on the connection that was used last, if that is free: the one that may just have found a new server.
    """
    try:
        async with asyncio.timeout(seconds), _borrowed(pool) as connection:
            await connection.send_command("TIME")
            now = clock_ms(await connection.read_response())
            return None if now is None else (connection.server, now)
    except (*FAILURES, TimeoutError):
        return None
