"""The operator of the model: it says what Kubernetes says, and moves links as `router.failover` does."""

from dataclasses import replace
from typing import TYPE_CHECKING

from model import adapter
from model.wire import Cable
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.placement import Placement, Spread, Target
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.router.failover import Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.index import issued_epochs
from stateful_route.store.states import claim, set_operator_states

if TYPE_CHECKING:
    from model.app import Process
    from model.world import World

OWNER = "cluster/route"

DRAIN_SECONDS = 20.0
RESERVE_SECONDS = 1.0
"""Of the drain: what the operator keeps for itself."""

READY = OperatorRecord(state=RoutingState.READY, reason=Reason.READY)
DRAINED = OperatorRecord(state=RoutingState.DENY_NEW_CALL, reason=Reason.DRAIN_REQUESTED, links=LinkAction.DRAIN)
FAILED = OperatorRecord(state=RoutingState.SHUTDOWN, reason=Reason.UNREADY_TOO_LONG, links=LinkAction.MOVE)


class Operator:
    """One operator.

    Attributes:
        wanted: Pod index → what it says of the pod.
        drains: Pod index → the process whose app is asked to give its users away, and since when.
        drain_over: It is taking what the app has left.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.name = "operator"
        self.cable = Cable(self.name, 0.0003)
        self._executor = adapter.executor_over(world.network, self.cable)
        self.wanted: dict[int, OperatorRecord] = {}
        self.drains: dict[int, tuple[Process, float]] = {}
        self.drain_over = False

    async def resync(self) -> None:
        """Claim the service, and write all that is to be said."""
        store = await self._executor.store()
        config = {"heartbeat": "Auto", "temporaryTTLSeconds": self._world.setup.temporary_seconds}
        await claim(store, self._world.service, OWNER, config)
        if self.wanted:
            await set_operator_states(store, self._world.service, OWNER, self.wanted)

    async def say(self, ordinal: int, record: OperatorRecord) -> None:
        """Say something of a pod."""
        self.wanted[ordinal] = record
        await set_operator_states(await self._executor.store(), self._world.service, OWNER, {ordinal: record})

    async def ready(self, ordinal: int) -> None:
        """The pod is well."""
        self.drains.pop(ordinal, None)
        await self.say(ordinal, READY)

    async def drain(self, ordinal: int) -> None:
        """Empty a pod oneself (drain mode Operator)."""
        self.drains.pop(ordinal, None)
        await self.say(ordinal, DRAINED)
        await self.move(ordinal)

    async def fail(self, ordinal: int) -> None:
        """A pod has failed."""
        self.drains.pop(ordinal, None)
        await self.say(ordinal, FAILED)
        await self.move(ordinal)

    async def drain_by_app(self, ordinal: int) -> None:
        """Let the pod's app give its users away, and take what is left at the end (drain mode App)."""
        world, process = self._world, self._world.current(ordinal)
        seconds = DRAIN_SECONDS - RESERVE_SECONDS
        release = world.network.now_ms + round(seconds * 1000)
        asked = OperatorRecord(state=DRAINED.state, reason=DRAINED.reason, release=release)
        await self.say(ordinal, asked)
        if process is not None:
            self.drains[ordinal] = (process, world.now)
        await world.sleep(seconds)
        if self.wanted.get(ordinal) is not asked:
            return
        world.note(f"the time is up that the app of pod {ordinal} had")
        self.drain_over = True
        try:
            await self.say(ordinal, DRAINED)
            await self.move(ordinal)
        finally:
            self.drain_over = False
            self.drains.pop(ordinal, None)

    async def move(self, ordinal: int) -> None:
        """Move all links off a pod."""
        ready = [Target(o) for o in self._world.routable() if o != ordinal and self.wanted.get(o, READY) == READY]
        await self._move(ordinal, ready, self.wanted[ordinal].reason, None)

    async def replaced(self, process: "Process") -> None:
        """Another process has taken a pod's place: links of the former get later epochs, and stay."""
        ordinal = process.ordinal
        life = Incarnation(process.identity.pod_uid, 0)
        store = await self._executor.store()
        before = (await issued_epochs(store, self._world.service)).highest + 1
        ready = OperatorRecord(state=RoutingState.READY, reason=Reason.READY, incarnation=life)
        lost = replace(ready, loss=Reason.REPLACED, before=before)
        await set_operator_states(store, self._world.service, OWNER, {ordinal: lost})
        self.wanted[ordinal] = ready
        await self._move(ordinal, [Target(ordinal)], Reason.REPLACED, before)
        await self.say(ordinal, self.wanted[ordinal])

    async def _move(self, ordinal: int, targets: list[Target], reason: str, before: int | None) -> None:
        world = self._world
        spread = Spread(targets, Placement())
        task = Task(source=ordinal, reason=reason, spread=lambda: spread, before=before, owner=OWNER)
        try:
            await move_links(await self._executor.store(), world.service, task, Pace(1e6, world.loop.time))
        except StatefulRouteError as error:
            world.note(f"the operator could not go on: {type(error).__name__}")
