"""The app in the model's pods: it keeps users in memory, saves them when they are released, as the docs say."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model import adapter
from model.database import Writer
from model.wire import Cable
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers.cache import ServiceStateCache
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server import ServerDriver
from stateful_route.drivers.server_options import ServerHooks

if TYPE_CHECKING:
    from model.world import World


class SaveError(Exception):
    """The database was away for once."""


@dataclass(eq=False)
class Room:
    """One user in memory; ``version``: what the database had when it was loaded or last saved."""

    updates: list[int]
    version: int


@dataclass(frozen=True)
class Asked:
    """An `accept` that is under way: what the pod and the link were when it began."""

    state: RoutingState | None
    held: bool


@dataclass
class Trust:
    """What a process has promised to users.

    Attributes:
        unsaved: Uid → updates that were acknowledged while it owned the uid, and are not in the database.
        since: Since when nothing has disturbed it.
    """

    unsaved: dict[str, list[int]] = field(default_factory=dict)
    since: float = 0.0

    def broken(self, now: float) -> None:
        """It was disturbed: what it has not saved may be lost."""
        self.unsaved.clear()
        self.since = now


class Process:
    """One process of a pod, with the library.

    Attributes:
        born: In which order processes were started.
        alive: It has been neither stopped nor killed.
        leaving: Uids that are being given away, until their link is gone or is to stay after all.
        accepting: Calls of `accept` under way.
        saves_fail: So many saves fail from now on.
        saving: Cleared, saves wait in the middle.
        working: Cleared, requests wait in the middle.
    """

    def __init__(self, world: "World", identity: Identity, *, push: bool) -> None:
        self.world = world
        self.born = world.next_birth()
        self.identity = identity
        self.ordinal = identity.ordinal
        self.name = f"{identity.pod_uid}"
        self.cable = Cable(self.name, 0.0003 + 0.00001 * self.born)
        self.cache: ServiceStateCache = adapter.cache_over(world.network, self.cable, push=push)
        hooks = ServerHooks(
            on_release=self._release,
            on_moved=self._moved,
            on_gained=self._gained,
            on_replaced=self._replaced,
            on_assume_replaced=self._assume,
        )
        self.driver: ServerDriver = adapter.server_over(self.cache, identity, hooks)
        self.alive = True
        self.stopping = False
        self.rooms: dict[str, Room] = {}
        self.leaving: set[str] = set()
        self.accepting: dict[str, list[Asked]] = {}
        self.trust = Trust(since=world.now)
        self.released: dict[str, float] = {}
        """Uid → when its link was last removed by this process itself."""
        self.saves_fail = self.save_failures = 0
        self.saving = asyncio.Event()
        self.working = asyncio.Event()
        self.saving.set()
        self.working.set()

    @property
    def writer(self) -> Writer:
        """As the database knows it."""
        return Writer(self.name, self.born)

    @property
    def undisturbed_since(self) -> float:
        """Since when it could do what it wanted; now, if it cannot."""
        free = self.cable.up and not self.cable.fates and self.cable.gate.is_set()
        return self.trust.since if free and self.saving.is_set() and self.working.is_set() else self.world.now

    async def serve(self, uid: str) -> bool:
        """One request: an update of the user's state; whether it was acknowledged."""
        asked = Asked(self.driver.effective_state, self.driver.token(uid) is not None)
        self.accepting.setdefault(uid, []).append(asked)
        open_ = True
        try:
            async with adapter.admitted(self.driver, uid) as mine:
                self.accepting[uid].remove(asked)
                open_ = False
                if not mine:
                    return False
                self.world.judge.accepted(self, uid)
                return await self._work(uid)
        except StatefulRouteError:
            return False
        finally:
            if open_:
                self.accepting[uid].remove(asked)

    async def save(self, uid: str) -> bool:
        """Write what is in memory, as an app does now and then."""
        room, epoch = self.rooms.get(uid), self.driver.token(uid)
        return room is not None and epoch is not None and self._write(uid, room, list(room.updates), epoch)

    async def seize(self, uid: str, how: str) -> None:
        """Call the driver by itself; whom it did not own it loads anew, and whom it removes it forgets."""
        if "remove" in how or not self.driver.owns(uid):
            self.rooms.pop(uid, None)
        before = self.driver.token(uid)
        await getattr(self.driver, how)(uid)
        if self.driver.token(uid) != before:
            self.rooms.pop(uid, None)

    def fail_save(self) -> None:
        """The next save fails; one is tried again, several may end it."""
        if self.save_failures:
            self.trust.since = self.world.now
        self.save_failures += 1
        self.saves_fail = 1

    async def end(self, seconds: float) -> None:
        """Stop the driver, whatever it takes."""
        await self.driver.stop(seconds)
        await self.cache.close()

    async def _work(self, uid: str) -> bool:
        admitted_at = self.world.now
        room = self.rooms.get(uid)
        if room is None:
            epoch = self.driver.token(uid)
            version = None if epoch is None else self.world.database.load(uid, epoch, self.writer)
            if version is None:
                return False
            room = self.rooms[uid] = Room(list(version.updates), version.number)
        await asyncio.sleep(self.world.setup.work_seconds)
        await self.working.wait()
        if not self.alive:
            return False
        update = self.world.next_update()
        room.updates.append(update)
        self.world.judge.acknowledged(self, uid, update, admitted_at)
        return True

    def _write(self, uid: str, room: Room, updates: list[int], epoch: int) -> bool:
        version = self.world.database.save(uid, updates, epoch, self.writer)
        if version is None:
            return False
        room.version = version.number
        self.world.judge.saved(self, uid)
        return True

    # Hooks

    async def _release(self, uid: str) -> None:
        self.world.note(f"{self.name} releases {uid}")
        self.leaving.add(uid)
        good = False
        try:
            room, epoch = self.rooms.get(uid), self.driver.token(uid)
            updates = [] if room is None else list(room.updates)
            await asyncio.sleep(self.world.setup.save_seconds)
            await self.saving.wait()
            if self.saves_fail:
                self.saves_fail -= 1
                raise SaveError
            if room is not None and epoch is not None and self.alive:
                self._write(uid, room, updates, epoch)
            self.rooms.pop(uid, None)
            good = True
        finally:
            if not good:
                self.leaving.discard(uid)

    def _moved(self, uid: str, target: int | None) -> None:
        self.world.note(f"{self.name} is told that {uid} went to {target}")
        self.leaving.discard(uid)
        self.rooms.pop(uid, None)

    def _gained(self, uid: str, source: int | None) -> None:
        self.world.note(f"{self.name} is told that it has gained {uid} from {source}")
        self.rooms.pop(uid, None)

    def _replaced(self) -> None:
        self.world.note(f"{self.name} is told that it was replaced")
        self.rooms.clear()

    def _assume(self) -> None:
        self.world.note(f"{self.name} is told to assume that it was replaced")
