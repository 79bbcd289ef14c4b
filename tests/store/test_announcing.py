"""Telling what single calls have moved: together, later if it fails, and never lost by a cancellation."""

import asyncio
import json

import pytest

from stateful_route.store import announcing
from stateful_route.store.announcing import Announcer
from stateful_route.store.links import set_link
from stateful_route.store.migrate import Moved

UIDS = [f"uid-{number}" for number in range(200)]


@pytest.fixture
async def announcer(store) -> Announcer:
    async def opened():
        return store

    return Announcer(opened)


async def _told(raw, service) -> list[list[str]]:
    """The uids of each entry of the stream."""
    return [[uid for uid, *_ in json.loads(fields["moves"])] for _, fields in await raw.xrange(service.moves)]


async def test_what_is_told_at_the_same_time_shares_an_entry(announcer, raw, service):
    calls = [announcer.announce(service, 0, "Test", [Moved(uid, 1, 5)]) for uid in UIDS]
    assert await asyncio.gather(*calls) == [True] * len(UIDS)
    told = await _told(raw, service)
    assert sorted(uid for entry in told for uid in entry) == sorted(UIDS)
    assert len(told) == 2, "the first one's, and those that came meanwhile"
    assert announcer._queues == {}, "nothing is left behind"


async def test_an_entry_tells_of_one_pod_and_one_reason(announcer, raw, service):
    await asyncio.gather(
        *(announcer.announce(service, pod, why, [Moved("ada", 2, 5)]) for pod in (0, 1) for why in ("A", "B"))
    )
    found = {(fields["from"], fields["reason"]) for _, fields in await raw.xrange(service.moves)}
    assert found == {("0", "A"), ("0", "B"), ("1", "A"), ("1", "B")}


async def test_a_telling_that_fails_is_made_up_for(announcer, raw, service):
    kept = []
    announcer.on_kept = lambda: kept.append(announcer.kept)
    await raw.set(service.moves, "of another type")
    assert not await announcer.announce(service, 0, "Test", [Moved(uid, 1, 5) for uid in UIDS])
    assert kept == [len(UIDS)]
    assert await announcer.again() == announcing.AGAIN_SECONDS
    await raw.delete(service.moves)
    assert await announcer.again() == announcing.IDLE_SECONDS
    assert await _told(raw, service) == [UIDS]
    assert announcer.kept == 0


async def test_what_cannot_be_told_for_long_is_dropped(announcer, raw, service, monkeypatch):
    monkeypatch.setattr(announcing, "KEPT_LINKS", 300)
    await raw.set(service.moves, "of another type")
    for _ in range(5):
        await announcer.announce(service, 0, "Test", [Moved(uid, 1, 5) for uid in UIDS])
    assert announcer.kept == 200
    now = announcing.monotonic()
    monkeypatch.setattr(announcing, "monotonic", lambda: now + announcing.KEPT_SECONDS + 1)
    assert await announcer.again() == announcing.IDLE_SECONDS
    assert announcer.kept == 0


async def test_who_is_cancelled_while_telling_leaves_it_to_be_told_later(announcer, raw, service):
    first = asyncio.create_task(announcer.announce(service, 0, "Test", [Moved("ada", 1, 5)]))
    await asyncio.sleep(0)  # it is under way
    assert announcer._queues
    first.cancel()
    await asyncio.wait([first])
    await announcer.again()
    assert ["ada"] in await _told(raw, service)


async def test_what_may_have_moved_is_looked_up_and_told_if_it_has(announcer, store, raw, service):
    await set_link(store, service, "ada", 1)
    await set_link(store, service, "bob", 0)
    for uid in ("ada", "bob", "eve"):
        announcer.suspect(service, 0, "Test", uid)
    await announcer.again()
    assert await _told(raw, service) == [["ada"]]
    assert announcer.kept == 0
