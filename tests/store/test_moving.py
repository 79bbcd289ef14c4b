"""Which migrations run: for links that found nobody, and for links that come late to a pod that is being emptied."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from stateful_route.api.conditions import Reason as Why
from stateful_route.domain.lifecycle import Verdict
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import Judgement
from stateful_route.reconcile import moving as module
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.moving import Moving
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links, recount
from stateful_route.store.links import set_link_call
from stateful_route.store.states import claim
from support.resources import route
from support.tcp_proxy import TcpProxy
from support.waiting import PATIENCE_SECONDS

OWNER = "cluster/route"
STAY = "{} links stay on pods that do not serve them (ordinals 0)"
ROUTE = route("room", "games")
GONE = Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.GONE)
REPLACED = Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.REPLACED)
UNREADY = Verdict(RoutingState.DENY_NEW_CALL, LinkAction.STAY, Reason.UNREADY)
READY = Verdict(RoutingState.READY, LinkAction.STAY, Reason.READY)


class Desk:
    """The part of a reconciler that decides on migrations, with the verdicts as the test has them."""

    def __init__(self, store, service):
        self.store, self.service = store, service
        self.movers = store
        """By which links are moved; another way than the verdicts' for a while."""
        self.ledger = Ledger(service, OWNER)
        self.outcomes = []
        self.route = ROUTE
        self.moving = Moving(self.ledger, self.outcomes.append, refresh_seconds=0.2)

    async def decide(self, verdicts, *, full=False):
        """As a pass does: write the verdicts, then plan."""
        await self.ledger.write(
            self.store,
            {
                ordinal: OperatorRecord(state=verdict.state, reason=verdict.reason, links=verdict.links)
                for ordinal, verdict in verdicts.items()
            },
        )
        self.moving.targets_changed()
        self.moving.plan(self.movers, self.route, Judgement(verdicts, frozenset()), full=full)

    async def look_again(self, verdicts):
        """Plan again when it is time to."""
        due = self.moving.next_look()
        assert due is not None
        await asyncio.sleep(max(0.0, due - time.time()))
        await self.decide(verdicts)

    async def link(self, count, prefix="user", pod=0):
        await self.store.run_many([set_link_call(self.service, f"{prefix}-{n}", pod) for n in range(count)])

    async def is_idle(self):
        return not self.moving.busy


@pytest.fixture
async def desk(store, service, monkeypatch):
    monkeypatch.setattr(module, "TRIP_SECONDS", 0.1)
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    made = Desk(store, service)
    yield made
    await made.moving.stop()


async def test_links_that_found_nobody_are_not_said_to_be_stuck_once_somebody_is_ready(desk, eventually):
    await desk.link(100)
    await desk.decide({0: GONE, 1: UNREADY})
    await eventually(desk.is_idle)
    assert desk.moving.stuck == (Why.NO_TARGET, f"{STAY.format(100)}: no pod is READY")
    await desk.decide({0: GONE, 1: READY})
    assert desk.moving.stuck is None, "they move by now, and no limit is set that could be said to keep them"


async def test_links_are_stuck_while_every_ready_pod_is_full(desk, store, service, eventually):
    desk.route = route("room", "games", placement={"maxLinksPerPod": 30})
    await desk.link(100)
    await recount(store, service)
    await desk.decide({0: GONE, 1: READY}, full=True)
    await eventually(desk.is_idle)
    full = "every READY pod is full (placement.maxLinksPerPod)"
    assert desk.moving.stuck == (Why.NO_TARGET, f"{STAY.format(70)}: {full}")
    await desk.decide({0: GONE, 1: READY, 2: UNREADY}, full=False)
    assert desk.moving.stuck is not None, "nobody else has come"
    await desk.decide({0: GONE, 1: READY, 2: READY}, full=False)
    assert desk.moving.stuck is None, "pod 2 has room"
    await eventually(desk.is_idle)
    assert desk.moving.stuck == (Why.NO_TARGET, f"{STAY.format(40)}: {full}")


async def test_links_that_found_nobody_move_as_soon_as_somebody_is_ready(desk, store, service, eventually):
    await desk.link(100)
    await desk.decide({0: GONE, 1: UNREADY})
    await eventually(desk.is_idle)
    assert "100 links stay" in desk.moving.stuck[1]
    assert desk.moving.next_look() is None
    await desk.decide({0: GONE, 1: READY})
    await eventually(desk.is_idle)
    assert desk.moving.stuck is None
    assert await count_links(store, service) == {1: 100}


MANY = 10_000
"""More than are looked at in one trip."""


async def test_links_that_had_found_nobody_when_somebody_became_ready_move_too(
    desk, store, service, server, eventually
):
    await desk.link(MANY)
    async with TcpProxy(server.port) as proxy, AsyncExitStack() as stack:
        desk.movers = Store.from_url(proxy.url)
        stack.push_async_callback(desk.movers.close)
        stack.push_async_callback(desk.moving.stop)
        await desk.decide({0: GONE, 1: UNREADY})
        (migration,) = desk.moving.under_way()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not migration.progress.unplaced:  # noqa: ASYNC110  looked at in every turn of the migration's own loop
                await asyncio.sleep(0)
        proxy.flowing.clear()
        await desk.decide({0: GONE, 1: READY})
        proxy.flowing.set()
        await eventually(desk.is_idle)
        assert 0 < desk.outcomes[0].progress.unplaced < MANY
        await desk.look_again({0: GONE, 1: READY})
        await eventually(desk.is_idle)
    assert await count_links(store, service) == {1: MANY}


LIMITED = route(
    "room", "games", placement={"maxLinksPerPod": 150}, failover={"maxLinksPerSecond": 200, "batchSize": 10}
)


@pytest.mark.parametrize("counted", [False, True], ids=["while the counts stand", "while links are counted"])
async def test_migrations_at_once_keep_to_the_limit_together(desk, store, service, eventually, counted):
    verdicts = {0: GONE, 1: GONE, 2: READY, 3: READY}
    for pod in verdicts:
        await desk.link(100, prefix=f"of-{pod}", pod=pod)
    await desk.ledger.recount(store)
    desk.route = LIMITED
    for _ in range(20):
        await desk.decide(verdicts)
        if counted:
            await desk.ledger.recount(store)
        await asyncio.sleep(0.05)
    await eventually(desk.is_idle)
    counts = await count_links(store, service)
    assert max(counts[2], counts[3]) <= 150
    await desk.ledger.recount(store)
    await desk.decide(verdicts, full=True)
    await eventually(desk.is_idle)
    counts = await count_links(store, service)
    assert (counts[2], counts[3]) == (150, 150)
    assert desk.ledger.counts == counts


async def test_a_pod_that_is_empty_is_looked_at_twice_more(desk, store, service, eventually):
    verdicts = {0: GONE, 1: READY}
    await desk.link(10)
    await desk.decide(verdicts)
    for prefix in ("by another migration", "by a caller with an old view"):
        await eventually(desk.is_idle)
        await desk.link(10, prefix=prefix)
        await desk.look_again(verdicts)
    await eventually(desk.is_idle)
    assert await count_links(store, service) == {1: 30}
    assert desk.moving.next_look() is None


async def test_when_the_former_pod_s_links_are_dealt_with_those_of_its_successor_stay(desk, store, service):
    await desk.link(10)
    await desk.decide({0: REPLACED, 1: READY})
    assert desk.ledger.records[0].before is None
    assert not desk.moving.ordered
    assert await count_links(store, service) == {0: 10}
