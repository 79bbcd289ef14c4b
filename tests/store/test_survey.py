"""What each server says of itself, and what happens in a service, as people are told."""

import re

import pytest

from stateful_route.domain.diagnosis import Severity, judge_clocks, judge_server, worst
from stateful_route.domain.routing import RoutingState
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.migrate import NOBODY, Moved, append_moves
from stateful_route.store.states import set_state
from stateful_route.store.streams import LinksMoved, News, StateChange
from stateful_route.store.survey import survey
from support.tcp_proxy import TcpProxy

ROOMS = Service("games", "rooms")


@pytest.fixture
async def store(server, raw):
    store = Store.from_url(server.url)
    yield store
    await store.close()


async def test_a_server_is_surveyed(store, start_server):
    (found,) = await survey(store)
    assert found.version.split()[0] in {"Valkey", "Redis"}
    assert (found.replica, found.appends, found.policy, found.memory_limit) == (False, False, "noeviction", 0)
    assert abs(found.skew_seconds) <= found.skew_error_seconds + 0.01
    other = start_server("--appendonly", "yes", "--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru")
    kept = Store.from_url(other.url)
    (found,) = await survey(kept)
    await kept.close()
    assert (found.appends, found.policy, found.memory_limit) == (True, "allkeys-lru", 10 * 2**20)


async def test_a_user_who_may_not_ask_is_told_what_is_known_without(server, raw):
    await raw.execute_command("ACL", "SETUSER", "app", "on", ">word", "~*", "&*", "+@all", "-config", "-info")
    store = Store.from_url(server.url.replace("://", "://app:word@"))
    try:
        (found,) = await survey(store)
    finally:
        await store.close()
        await raw.execute_command("ACL", "DELUSER", "app")
    assert (found.version, found.saves, found.appends, found.policy) == ("?", None, None, None)
    assert {finding.severity for finding in judge_server(found)} == {Severity.UNKNOWN}, "nothing is called ok unseen"


async def test_a_proxy_before_the_server_has_no_clock_that_is_judged(server):
    async with TcpProxy(server.port) as proxy:
        proxy.alter = lambda replies: re.sub(rb"\$\d\r\n(\d{1,6}\r\n)$", rb"$16\r\n1796031649912558\r\n", replies)
        store = Store.from_url(proxy.url)
        (found,) = await survey(store)
        await store.close()
    assert found.skew_seconds is None
    (finding,) = judge_clocks([found])
    assert (finding.severity, "no clock" in finding.message, bool(finding.advice)) == (Severity.WARNING, True, True)


async def test_every_node_of_a_cluster_is_surveyed(cluster):
    store = Store.from_url(cluster.url)
    found = await survey(store)
    await store.close()
    assert len({server.name for server in found}) == 3
    assert worst(judge_clocks(found)) is Severity.OK


async def test_news_come_in_the_order_of_time_and_once(store):
    news = News(store, ROOMS)
    assert await news.latest(10) == []
    await set_state(store, ROOMS, 1, RoutingState.READY)
    await append_moves(store, ROOMS, 1, "Rebalance", [Moved("a", 0, 7), Moved("b", 0, 7), Moved("c", NOBODY, 7)])
    await set_state(store, ROOMS, 1, RoutingState.SHUTDOWN)
    found = await news.more()
    assert [happening.at for happening in found] == sorted(happening.at for happening in found)
    first, last, moved = sorted(
        found, key=lambda happening: isinstance(happening, LinksMoved)
    )  # one millisecond, maybe
    assert isinstance(first, StateChange)
    assert (first.ordinal, first.before, first.after) == (1, "", "READY")
    assert isinstance(moved, LinksMoved)
    assert (moved.ordinal, moved.to, moved.reason) == (1, {0: 2, NOBODY: 1}, "Rebalance")
    assert isinstance(last, StateChange)
    assert (last.before, last.after) == ("READY", "SHUTDOWN")
    assert await news.more() == []
    assert await News(store, ROOMS).latest(3) == found
    assert await News(store, ROOMS).latest(1) == found[-1:]
    late = News(store, ROOMS)
    assert await late.latest(0) == []
    await set_state(store, ROOMS, 1, RoutingState.READY)
    assert [happening.at >= last.at for happening in await late.more()] == [True]


async def test_an_entry_of_no_known_form_is_left_out(store, raw):
    await raw.xadd(ROOMS.changes, {"hello": "world"})
    await raw.xadd(ROOMS.moves, {"from": "1", "moves": "no"})
    assert await News(store, ROOMS).latest(5) == []
