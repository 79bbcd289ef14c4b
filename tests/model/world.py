"""The world of the model: who is there, and what each step lets them do."""

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from model import adapter
from model.app import Process
from model.database import Database
from model.judge import Judge
from model.links import Change, Links
from model.operator_actor import Operator
from model.wire import Cable, Fate, Network
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers.identity import Identity
from stateful_route.store.keys import Service

NS, SVC = "games", "rooms"
ORDINALS = (0, 1, 2)
UIDS = ("alice", "bob", "carol")
CALLERS = (0, 1)

PASSES_AT_ONCE = 0.05
"""What a step does takes so much time at most, while nothing is held up."""

BURST_SECONDS = 40.0
"""A user who asks more often than once in a second gets tired after so long."""

HELD_SECONDS = 30.0
"""A user whose link is held counts so often as one who has asked."""

COMPARED_SECONDS = 60.0
"""Within so long after the store was emptied each pod has compared what it holds, and put it back."""

SETTLE_SECONDS = 75.0

STOP_SECONDS = 20.0
"""A stop with less time may leave users behind."""

ATTEMPTS = 3
RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Setup:
    """What is so from the beginning.

    Attributes:
        operator: There is one.
        plain: The last pod has no library.
        push: Of pods and callers, by turns; False: none of them listens.
        temporary_seconds: How long a link lives that a caller has made.
        save_seconds: How long a save takes.
        work_seconds: How long a request takes.
    """

    operator: bool = True
    plain: bool = False
    push: bool = True
    temporary_seconds: int = 300
    save_seconds: float = 0.2
    work_seconds: float = 0.0


class Caller:
    """One caller with the library."""

    def __init__(self, world: "World", number: int, *, push: bool) -> None:
        self.name = f"caller {number}"
        self.cable = Cable(self.name, 0.0002 + 0.00001 * number)
        self.cache = adapter.cache_over(world.network, self.cable, push=push)
        self.client = adapter.client_over(self.cache)

    @property
    def connected(self) -> bool:
        """What it asks reaches the store."""
        return self.cable.up and not self.cable.fates and self.cable.gate.is_set()


class World:
    """All actors, the store behind them, and what has happened, in plain words."""

    def __init__(self, network: Network, loop: Any, setup: Setup, promises: tuple[str, ...]) -> None:
        self.network, self.loop, self.setup = network, loop, setup
        self.service = Service(NS, SVC)
        self.uids = UIDS
        self.story: list[str] = []
        self.errors: list[str] = []
        self._births = self._updates = 0
        self._flushed_at = -math.inf
        self._highest_shift = 0
        network.begin(loop, self.service.channel)
        loop.set_exception_handler(self._unexpected)
        self.judge = Judge(self, promises)
        self.links = Links(network, self.service, UIDS, self._changed)
        self.database = Database(self.judge.written)
        self.foreign = Cable("foreign", 0.0)
        self.others = Cable("somebody else", 0.0003)
        self._others = adapter.executor_over(network, self.others)
        self.operator = Operator(self)
        self.callers = [Caller(self, number, push=setup.push and number == 0) for number in CALLERS]
        self.processes: list[Process] = []
        self._current: dict[int, Process] = {}
        self._rhythms: dict[str, asyncio.Task[None]] = {}
        if setup.operator:
            self._do(self.operator.resync())
        for ordinal in ORDINALS[: -1 if setup.plain else None]:
            self._start(ordinal, f"pod{ordinal}-a")
        if setup.operator:
            for ordinal in ORDINALS:
                self._do(self.operator.ready(ordinal))
        self._do(self.sleep(1.0))

    # Asked by others

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return float(self.loop.time())

    def next_birth(self) -> int:
        """Processes are born one after the other."""
        self._births += 1
        return self._births

    def next_update(self) -> int:
        """Updates have numbers."""
        self._updates += 1
        return self._updates

    def note(self, what: str) -> None:
        """Something has happened."""
        self.story.append(f"{self.now - 1000:9.3f}    {what}")

    def living(self) -> list[Process]:
        """All processes that have neither stopped nor been killed, also those that were replaced and live on."""
        return [process for process in self.processes if process.alive]

    def current(self, ordinal: int) -> Process | None:
        """The process that is reached under a pod's name."""
        process = self._current.get(ordinal)
        return process if process is not None and process.alive else None

    def by_name(self, name: str) -> Process | None:
        """A process that lives."""
        return next((process for process in self.living() if process.name == name), None)

    def routable(self) -> list[int]:
        """Pods that may be given links, as Kubernetes sees it."""
        plain = [ORDINALS[-1]] if self.setup.plain else []
        alive = [o for o in ORDINALS if (process := self.current(o)) is not None and not process.stopping]
        return alive + plain

    def drained_since(self, process: Process) -> float | None:
        """Since when the process is asked to give its users away; None: it is not."""
        whose, began = self.operator.drains.get(process.ordinal, (None, 0.0))
        return began if whose is process else None

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    # Time

    def pass_time(self, seconds: float) -> None:
        """Nobody does anything that was not begun."""
        self.loop.advance(seconds)

    def step_clock(self, shift: int) -> None:
        """The server's clock is wrong by so much from now on."""
        self.network.shift, before = shift, self.network.shift
        self._highest_shift = max(self._highest_shift, before)
        if shift < self._highest_shift and self.judge.flushes:
            self.judge.epochs_may_fall = True
        if shift != before:
            self.judge.clock_stepped()
            for process in self.living():
                process.trust.broken(self.now)
        self.links.look("clock")

    # Users and callers

    def ask(self, uid: str, caller: int) -> None:
        """A user sends a request."""
        self._do(self._request(uid, self.callers[caller]))

    def look_up(self, uid: str, caller: int) -> None:
        """A user is told her pod, and does not come yet."""
        self._do(self._told_pod(uid, self.callers[caller]))

    def ask_late(self, uid: str, process: Process) -> None:
        """A request reaches a process by an old view of some caller."""
        self._do(process.serve(uid))

    def ask_often(self, uid: str, caller: int, seconds: float, *, comes: bool = True) -> None:
        """A user comes again and again, this often; or is told her pod only."""
        self.rest(uid)
        ask = self._request if comes else self._told_pod
        self._rhythms[uid] = self.loop.create_task(self._come(ask, uid, self.callers[caller], seconds))
        self.pass_time(PASSES_AT_ONCE)

    def hold(self, uid: str, caller: int) -> None:
        """A caller holds the link of a user, for a session without requests."""
        self.rest(uid)
        self._rhythms[uid] = self.loop.create_task(self._held(uid, self.callers[caller]))
        self.pass_time(PASSES_AT_ONCE)

    def rest(self, uid: str) -> None:
        """A user comes no more by herself."""
        if (task := self._rhythms.pop(uid, None)) is not None:
            task.cancel()

    def forget(self, uid: str, caller: int) -> None:
        """A caller forgets what it knows of a user."""
        self.callers[caller].client.cache_expired(NS, uid, SVC)

    def deafen(self, caller: int) -> None:
        """What the store tells does not reach a caller, or does again."""
        cable = self.callers[caller].cable
        cable.deaf = not cable.deaf

    async def _request(self, uid: str, caller: Caller) -> None:
        for _ in range(ATTEMPTS):
            pod = await self._told_pod(uid, caller)
            if pod is None:
                return
            process = self.current(pod)
            if process is None and self.setup.plain and pod == ORDINALS[-1]:
                return
            if process is not None and await process.serve(uid):
                return
            caller.client.cache_expired(NS, uid, SVC)
            await asyncio.sleep(RETRY_SECONDS)

    async def _told_pod(self, uid: str, caller: Caller) -> int | None:
        try:
            pod = await caller.client.compute_linked_pod(NS, uid, SVC)
        except StatefulRouteError:
            return None
        if caller.connected:
            self.judge.asked(uid, caller.name)
        return pod

    async def _come(
        self, ask: Callable[[str, Caller], Awaitable[object]], uid: str, caller: Caller, seconds: float
    ) -> None:
        began = self.now
        while seconds >= 1 or self.now < began + BURST_SECONDS:
            await ask(uid, caller)
            await asyncio.sleep(seconds)

    async def _held(self, uid: str, caller: Caller) -> None:
        if await self._told_pod(uid, caller) is None:
            return
        async with adapter.held(caller.client, self.service, uid):
            while True:
                await asyncio.sleep(HELD_SECONDS)
                if caller.connected:
                    self.judge.asked(uid, caller.name)

    # Pods

    def start(self, ordinal: int) -> None:
        """A new pod of this name starts; a former one that lives is cut off, and lives on."""
        if (former := self.current(ordinal)) is not None:
            self.cut(former.cable)
        self._start(ordinal, f"pod{ordinal}-{self._births}")

    def restart(self, ordinal: int) -> None:
        """The process of a pod dies, and is started again by the same pod."""
        if (process := self.current(ordinal)) is not None:
            self.kill(ordinal)
            self._start(ordinal, process.identity.pod_uid)

    def kill(self, ordinal: int) -> None:
        """The process of a pod dies."""
        if (process := self.current(ordinal)) is not None:
            process.alive = False
            process.cable.cut()
            process.saving.set()
            process.working.set()
            self._do(process.end(0))

    def stop(self, ordinal: int, seconds: float) -> None:
        """A pod is asked to stop."""
        process = self.current(ordinal)
        if process is not None and not process.stopping:
            process.stopping = True
            self._do(self._stopped(process, seconds))

    def roll(self, ordinal: int) -> None:
        """A pod stops, and has the time for it."""
        self.stop(ordinal, STOP_SECONDS)
        self.pass_time(STOP_SECONDS)

    def set_state(self, ordinal: int, state: RoutingState) -> None:
        """The app says what it thinks of itself."""
        if (process := self.current(ordinal)) is not None and not process.stopping:
            self._do(process.driver.set_routing_state(state))

    def seize(self, uid: str, process: Process, how: str) -> None:
        """The app calls the driver by itself: takes a user, or removes the link."""
        self._do(process.seize(uid, how))

    def save(self, uid: str, process: Process) -> None:
        """The app saves a user."""
        self._do(process.save(uid))

    def fail_save(self, process: Process) -> None:
        """The next save of a release fails."""
        process.fail_save()

    def suspend(self, process: Process, what: str) -> None:
        """Saves, or requests, wait in the middle until they are let go on."""
        event = process.saving if what == "saving" else process.working
        if event.is_set():
            event.clear()
        else:
            event.set()
        process.trust.since = self.now

    async def _stopped(self, process: Process, seconds: float) -> None:
        began = self.now
        try:
            await process.driver.stop(seconds)
            if seconds >= STOP_SECONDS:
                self.judge.planned(process, began, "the stop")
        finally:
            process.alive = False
            await process.cache.close()

    def _start(self, ordinal: int, pod_uid: str) -> None:
        process = Process(self, Identity(NS, SVC, ordinal, pod_uid), push=self.setup.push and self._births % 2 == 0)
        if any(known.name == process.name for known in self.living()):
            return
        self.processes.append(process)
        self._current[ordinal] = process
        self._do(process.driver.start())
        if not process.driver.running:
            process.alive = False

    # The operator

    def operate(self, how: str, ordinal: int) -> None:
        """The operator does something about a pod."""
        if how == "replaced":
            if (process := self.current(ordinal)) is not None:
                self._do(self.operator.replaced(process))
        else:
            self._do(getattr(self.operator, how)(ordinal))

    def die_moving(self, ordinal: int) -> None:
        """The operator moves links, and dies as soon as the first have moved; another one begins later."""
        self.operator.cable.breaks_after = "migrateLinks"
        self._do(self.operator.fail(ordinal))
        self.pass_time(4.0)
        self.judge.operator_died()
        self.operator.cable.mend()

    def resync(self) -> None:
        """The operator writes all that it has to say."""
        self._do(self.operator.resync())

    # Troubles

    def cut(self, cable: Cable, *, refuses: bool = False) -> None:
        """Somebody is cut off from the store."""
        cable.cut(refuses=refuses)
        self._disturbed(cable)

    def isolate(self, process: Process, *, refuses: bool) -> None:
        """A pod is cut off, and the operator takes its users away; those live elsewhere then."""
        self.cut(process.cable, refuses=refuses)
        self.operate("fail", process.ordinal)

    def mend(self, cable: Cable, blind: int = 0) -> None:
        """Somebody reaches the store again, but not with the next looks at the states."""
        self._disturbed(cable)
        cable.mend()
        cable.blind = blind

    def spoil(self, cable: Cable, fate: Fate) -> None:
        """Something becomes of the next request of somebody that writes."""
        cable.fates.append(fate)
        self._disturbed(cable)

    def release(self, cable: Cable) -> None:
        """What is held up passes."""
        self._disturbed(cable)
        cable.open()

    def flush(self) -> None:
        """The store is emptied; not again before all have put back what they hold: docs/guarantees.md says why."""
        self.pass_time(max(1.0, self._flushed_at + COMPARED_SECONDS - self.now))
        self._flushed_at = self.now
        if self.network.shift < self._highest_shift:
            self.judge.epochs_may_fall = True
        self.judge.emptied()
        self.network.ask(("FLUSHALL",))
        self.links.look("flush")
        for process in self.living():
            process.trust.broken(self.now)

    def remove(self, uid: str, seconds: int, ordinal: int | None) -> None:
        """Somebody else removes a link, if it names the pod, or in any case."""
        if ordinal is None:
            self._do(self._others.remove_linked_pod(NS, uid, SVC, seconds))
        else:
            self._do(self._others.remove_linked_pod_with_id(NS, uid, SVC, ordinal, seconds))

    def purge(self) -> None:
        """Somebody deletes all links."""

        async def work() -> None:
            await adapter.purge_links(await self._others.store(), self.service)

        if self.network.shift < self._highest_shift:
            self.judge.epochs_may_fall = True
        self._do(work())

    def write_foreign(self, uid: str, ordinal: int | None, seconds: int | None) -> None:
        """A foreign client writes a link by itself, or deletes it."""
        link, field = self.service.link(uid), (self.service.links(uid), SVC)
        if ordinal is None:
            self.network.ask(("DEL", link), ("HDEL", *field))
        else:
            self.network.ask(("SET", link, ordinal, *(("EX", seconds) if seconds else ())), ("HSET", *field, ordinal))
        self.links.look("foreign")

    # At the end

    def settle(self) -> None:
        """Let everything come to rest, with everybody connected."""
        for uid in UIDS:
            self.rest(uid)
        for process in self.living():
            process.saving.set()
            process.working.set()
        for cable in self.cables():
            if not cable.up or cable.fates or not cable.gate.is_set() or cable.deaf or cable.blind:
                self.mend(cable)
        if self.setup.operator:
            self.resync()
        self.pass_time(SETTLE_SECONDS)
        self.judge.settled()

    def cables(self) -> list[Cable]:
        """Those of all who live."""
        own = [process.cable for process in self.living()]
        return [*own, *(caller.cable for caller in self.callers), self.operator.cable]

    def close(self) -> None:
        """Forget all of it."""
        self.network.watcher = lambda _cable, _request: None
        self.loop.end()

    # Helping

    def _do(self, work: Awaitable[Any]) -> None:
        """Begin something, and let pass what passes at once; it may go on behind this step."""
        task = self.loop.run_within(self._tolerant(work), PASSES_AT_ONCE)
        task.add_done_callback(self._ended)
        self.loop.advance(0.01)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.judge.found("I0", repr(error))

    async def _tolerant(self, work: Awaitable[Any]) -> None:
        with contextlib.suppress(StatefulRouteError):
            await work

    def _changed(self, change: Change) -> None:
        self.judge.changed(change)

    def _disturbed(self, cable: Cable) -> None:
        for process in self.living():
            if process.cable is cable:
                process.trust.broken(self.now)
        for caller in self.callers:
            if caller.cable is cable:
                self.judge.caller_disturbed(caller.name)

    def _unexpected(self, _loop: Any, context: dict[str, Any]) -> None:
        self.judge.found("I0", f"{context.get('message')}: {context.get('exception')!r}")


@contextlib.contextmanager
def chance_is(seed: int) -> Iterator[None]:
    """The library's jitter comes out the same each time."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
