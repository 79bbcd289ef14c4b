"""The operator's connections: one store for each URL, closed when nobody needs it any more."""

import asyncio
from contextlib import suppress

import pytest

from stateful_route.api.conditions import Reason
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain import outage
from stateful_route.domain.errors import (
    AuthenticationFailed,
    LayoutMismatch,
    OwnedElsewhere,
    StoreBusy,
    StoreUnavailable,
)
from stateful_route.kube.client import KubeError
from stateful_route.reconcile.problem import Problem
from stateful_route.reconcile.stores import Stores
from stateful_route.store.layout import check_layout
from stateful_route.store.tenure import Tenure


def route(number: int, url: str | None) -> StatefulRoute:
    names = {"namespace": "games", "name": f"room-{number}", "uid": f"uid-{number}"}
    meta = {**names, "generation": 1, "resourceVersion": "1", "creationTimestamp": "2026-01-31T12:00:00Z"}
    return StatefulRoute.parse({"metadata": meta, "spec": {"redis": {"url": url}}})


@pytest.fixture
async def served(server):
    """Three StatefulRoutes that name stores of their own, which have been used."""
    stores = Stores(None)
    routes = [route(number, f"redis://127.0.0.1:{server.port}/{number}") for number in range(3)]
    for one in routes:
        await (await stores.of(None, one)).command("GET", "nothing")
    return stores, routes


async def test_routes_that_name_one_url_share_its_store_until_the_last_is_gone(server):
    stores = Stores(None)
    first, second = (route(number, server.url) for number in range(2))
    shared = await stores.of(None, first)
    assert await stores.of(None, second) is shared
    await stores.forget(first)
    assert stores.last(second) is shared
    await stores.forget(second)
    assert stores.last(second) is None


async def test_a_route_cannot_have_a_file_of_the_operator_sent_to_a_server_that_it_names(server, tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cret")
    url = f"redis://127.0.0.1:{server.port}?password_file={file}"
    stores = Stores(url)  # which the operator itself may use
    with pytest.raises(
        Problem, match=r"spec\.redis\.url: only the operator's own store may read a user or password from a file"
    ) as told:
        await stores.of(None, route(0, url))
    assert told.value.reason is Reason.INVALID_URL
    assert str(file) not in str(told.value)
    await stores.of(None, route(1, None))
    with pytest.raises(Problem):
        await stores.of(None, route(0, url))
    await stores.close()


async def test_a_route_that_leaves_while_all_is_closed_does_no_harm(served):
    stores, routes = served
    await asyncio.gather(stores.close(), *(stores.forget(one) for one in routes))
    assert [stores.last(one) for one in routes] == [None] * 3


async def test_a_call_for_which_no_connection_became_free_says_nothing_of_the_store(served):
    stores, (one, *_) = served
    with pytest.raises(StoreBusy), stores.judged(one):
        raise StoreBusy("redis://x: no connection became free in time")
    assert stores.away is None
    with pytest.raises(StoreUnavailable), stores.judged(one):
        raise AWAY
    with pytest.raises(StoreBusy), stores.judged(one):
        raise StoreBusy("redis://x: no connection became free in time")
    assert stores.away is not None, "nor that it is back"


async def test_all_services_of_a_store_share_one_budget_and_one_search(server):
    stores = Stores(None)
    first, second = [await stores.of(None, route(number, server.url)) for number in range(2)]
    other = await stores.of(None, route(2, f"redis://127.0.0.1:{server.port}/2"))
    assert stores.budget(first) is stores.budget(second) is not stores.budget(other)
    assert stores.key_walk(first) is stores.key_walk(second) is not stores.key_walk(other)
    await stores.close()


class Listener:
    def hear(self, message):
        raise AssertionError(message)

    def missed(self):
        pass


async def test_services_stop_listening_to_one_store_at_the_same_time(served):
    stores, (one, *_) = served
    store = stores.last(one)
    listeners = [Listener() for _ in range(20)]
    for number, listener in enumerate(listeners):
        await stores.listen(store, f"channel-{number}", listener)
    await asyncio.gather(*map(stores.unlisten, listeners))
    await stores.close()


AWAY = StoreUnavailable("redis://x: connection refused")


@pytest.fixture
def at_once(monkeypatch):
    """A fresh client is tried at the next look."""
    monkeypatch.setattr(outage, "FIRST_SECONDS", 0.0)


def stuck(store):
    """As a client that goes on to look for its server where that was once: nobody listens at port 1."""
    store._client.connection_pool.connection_kwargs["port"] = 1
    return store


def judge(stores, one, error):
    """A pass ends like this."""
    with suppress(type(error)), stores.judged(one):
        raise error


async def failing(stores, one):
    store = stuck(await stores.of(None, one))
    with pytest.raises(StoreUnavailable), stores.judged(one):
        await check_layout(store)
    return store


async def test_a_client_that_gets_nothing_done_gives_way_to_a_fresh_one_that_does(server, at_once):
    stores, one = Stores(None), route(0, server.url)
    old = await failing(stores, one)
    assert stores.all_away
    fresh = await stores.of(None, one)
    assert fresh is not old
    with stores.judged(one):
        await check_layout(fresh)
    assert stores.away is None
    assert await stores.of(None, one) is fresh
    await stores.close()


async def test_the_old_client_is_closed_when_the_last_who_uses_it_has_the_fresh_one(server, at_once):
    stores, one, other = Stores(None), route(0, server.url), route(1, server.url)
    old = await stores.of(None, other)
    closed = closing(old)
    assert await failing(stores, one) is old
    fresh = await stores.of(None, one)
    assert fresh is not old
    assert not closed
    assert stores.last(other) is old
    assert await stores.of(None, other) is fresh
    assert closed == [True]
    await stores.close()


async def test_a_route_that_leaves_takes_a_client_that_nobody_else_has_with_it(server, at_once):
    stores, one, other = Stores(None), route(0, server.url), route(1, server.url)
    closed = closing(await stores.of(None, other))
    await failing(stores, one)
    await stores.of(None, one)
    await stores.forget(other)
    assert closed == [True]
    await stores.forget(one)
    assert stores.last(one) is None


async def test_a_client_is_kept_while_a_fresh_one_does_no_better(at_once):
    with EmbeddedStore() as server:
        stores, one = Stores(None), route(0, server.url)
        old = await stores.of(None, one)
        server.kill()
        with pytest.raises(StoreUnavailable), stores.judged(one):
            await check_layout(old)
        assert await stores.of(None, one) is old
        assert stores.all_away
        label = old.label
        assert f"127.0.0.1:{server.port}" in label
        assert stores.away.startswith(f"the store {label} cannot be used since 20")
        assert stores.away.count(label) == 1
        assert "games/room-0: " in stores.away
        await stores.close()


async def test_a_store_that_refuses_what_it_is_asked_for_is_not_asked_by_another_client(server, at_once):
    stores, one = Stores(None), route(0, server.url)
    store = await stores.of(None, one)
    judge(stores, one, AuthenticationFailed("redis://x: WRONGPASS"))
    assert await stores.of(None, one) is store
    await stores.close()


async def test_a_store_that_has_answered_is_there_whatever_it_has_said(server):
    stores, one = Stores(None), route(0, server.url)
    await stores.of(None, one)
    for answer in (LayoutMismatch("too new"), OwnedElsewhere("rooms", "other/uid")):
        judge(stores, one, AWAY)
        assert stores.all_away
        judge(stores, one, KubeError(0, "says nothing of the store"))
        assert stores.all_away
        judge(stores, one, answer)
        assert stores.away is None
    await stores.close()


async def test_a_client_is_not_replaced_for_a_moments_failure(server):
    stores, one = Stores(None), route(0, server.url)
    store = await stores.of(None, one)
    judge(stores, one, AWAY)
    assert await stores.of(None, one) is store
    assert stores.all_away
    await stores.forget(one)
    assert not stores.all_away
    assert stores.away is None


async def test_an_elected_operator_notes_the_clock_of_the_fresh_clients_server(server, at_once):
    tenure = Tenure()
    stores, one = Stores(None, tenure), route(0, server.url)
    old = await failing(stores, one)
    assert tenure._stores == {old}
    fresh = await stores.of(None, one)
    assert tenure._stores == {fresh}
    assert len(await tenure.note(1)) == 1
    await stores.close()


def closing(store):
    """A list that gets an item when the store is closed."""
    closed, close = [], store.close

    async def noted():
        closed.append(True)
        await close()

    store.close = noted
    return closed
