"""The operator's connections: one store for each URL, closed when nobody needs it any more."""

import asyncio

import pytest

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.reconcile.stores import Stores


def route(number: int, url: str) -> StatefulRoute:
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


async def test_a_route_that_leaves_while_all_is_closed_does_no_harm(served):
    stores, routes = served
    await asyncio.gather(stores.close(), *(stores.forget(one) for one in routes))
    assert [stores.last(one) for one in routes] == [None] * 3
