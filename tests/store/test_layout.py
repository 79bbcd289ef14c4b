"""The layout version: what a store of another version is told, before anything is written there."""

import pytest

from stateful_route.domain.errors import LayoutMismatch, StoreRejected
from stateful_route.store.keys import META
from stateful_route.store.layout import LAYOUT_VERSION, check_layout


async def test_an_empty_store_gets_our_version(store, raw):
    await check_layout(store)
    assert await raw.hgetall(META) == {"layout": str(LAYOUT_VERSION)}
    await check_layout(store)


async def test_an_older_version_is_followed_and_left_as_it_is(store, raw):
    await raw.hset(META, "layout", "0")
    await check_layout(store)
    assert await raw.hget(META, "layout") == "0"


@pytest.mark.parametrize("found", [str(LAYOUT_VERSION + 1), "99", "", "one", "-1", "1.0", "²", b"\xff"])
async def test_a_version_that_we_cannot_follow_is_refused_and_left_as_it_is(found, store, raw, server):
    await raw.hset(META, "layout", found)
    before = await raw.dump(META) if not isinstance(found, bytes) else None
    with pytest.raises(LayoutMismatch, match="upgrade stateful-route") as caught:
        await check_layout(store)
    assert server.url in str(caught.value)
    if before:
        assert await raw.dump(META) == before


async def test_the_other_fields_of_the_key_do_not_matter(store, raw):
    await raw.hset(META, "note", "x")
    await check_layout(store)
    assert await raw.hgetall(META) == {"note": "x", "layout": "1"}


async def test_a_key_of_another_type_is_rejected(store, raw):
    await raw.set(META, "x")
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await check_layout(store)
