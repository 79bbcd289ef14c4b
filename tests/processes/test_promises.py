"""The promises of the design's section 6, with real processes: pods and callers, while pods are ended and the store is.

What every process asked, was told and did is taken down; the histories are held against the promises afterwards.
"""

import asyncio
import json
import signal

from redis.asyncio import Redis

from stateful_route.devcluster.embedded_store import EmbeddedStore, find_servers
from stateful_route.store.keys import Service
from support.fleet import at_work
from support.routed_service import EXPIRE_SECONDS, NS, SVC, UIDS
from support.routing_history import History

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


async def test_all_promises_hold_while_pods_are_ended_and_frozen_and_the_store_restarts(folder):
    with EmbeddedStore(arguments=DURABLE) as server:
        async with at_work(folder, server) as fleet:
            fleet.phase("quiet")
            await asyncio.sleep(1.5)
            fleet.phase("SIGTERM")
            await fleet.end_pod(0, signal.SIGTERM)
            await fleet.start_pods({0: "async"})
            fleet.phase("SIGKILL")
            await asyncio.sleep(0.5)
            await fleet.end_pod(1, signal.SIGKILL)
            await fleet.start_pods({1: "async"})
            fleet.phase("SIGSTOP")
            await asyncio.sleep(0.5)
            fleet.freeze_pod(2)
            await asyncio.sleep(2 * EXPIRE_SECONDS)
            fleet.phase("SIGCONT")
            fleet.wake_pod(2)
            await asyncio.sleep(1.5)
            fleet.phase("store restarted")
            await fleet.store_away(1.0, emptied=False)
            await asyncio.sleep(1.5)
            fleet.phase("SIGKILL, away for long")
            await fleet.end_pod(0, signal.SIGKILL)
            await asyncio.sleep(1.5 * EXPIRE_SECONDS)
            await fleet.start_pods({0: "sync"})
            fleet.phase("SIGTERM again")
            await fleet.end_pod(2, signal.SIGTERM)
            await fleet.start_pods({2: "async"})
        zombie_was_fenced(fleet.history)


def zombie_was_fenced(history: History) -> None:
    """Else nothing was tried: it has asked for uids that others had taken."""
    (nap,) = history.sleeps
    saves = [
        entry for who, entry in history.told if who == nap.what and entry["k"] == "save" and entry["at"] > nap.ended
    ]
    refused = sum(not entry["saved"] for entry in saves)
    print(f"  the zombie was refused {refused} of {len(saves)} writes after it woke up")
    assert refused > 0


async def test_owners_assert_again_what_an_emptied_store_has_lost(folder):
    with EmbeddedStore(find_servers()[-1]) as server:
        async with at_work(folder, server) as fleet:
            fleet.phase("quiet")
            await asyncio.sleep(2)
            fleet.phase("store emptied")
            await fleet.store_away(0.5, emptied=True)
            await asyncio.sleep(1)
        count = max_of(fleet.history, "reasserted")
        print(f"  asserted again: {count}")
        assert sum(count.values()) > len(UIDS) / 2


async def test_nobody_is_moved_off_a_healthy_pod_by_a_store_that_was_away_for_longer_than_the_expiry(folder):
    with EmbeddedStore(arguments=DURABLE) as server:
        async with at_work(folder, server) as fleet:
            fleet.phase("quiet")
            await asyncio.sleep(1)
            fleet.phase("store away for long")
            await fleet.store_away(1.5 * EXPIRE_SECONDS, emptied=False)
            await asyncio.sleep(1)


def max_of(history: History, count: str) -> dict[str, int]:
    """Pod → a count of its `ServerStats`, as it was in the end."""
    return {who: entry[count] for who, entry in history.told if entry["k"] == "stats"}


async def test_what_a_newer_version_writes_beside_it_is_survived(folder):
    """There is no newer version yet: fields, words, records and messages that this one does not know."""
    with EmbeddedStore() as server:
        async with at_work(folder, server) as fleet, Redis.from_url(server.url) as newer:
            fleet.phase("quiet")
            await asyncio.sleep(0.5)
            fleet.phase("a newer version writes")
            for _ in range(20):
                await write_as_a_newer_version(newer)
                await asyncio.sleep(0.1)
            fleet.phase("SIGKILL")
            await fleet.end_pod(0, signal.SIGKILL)


async def write_as_a_newer_version(newer):
    service = Service(NS, SVC)
    millis = int((await newer.time())[0]) * 1000
    later = {"state": 3, "routingState": "READY", "updateTime": millis, "app": "HIBERNATING", "zone": {"name": "a"}}
    denying = {"state": 3, "routingState": "DENY_NEW_CALL", "updateTime": millis, "app": "DENY_NEW_CALL", "v": 2}
    await newer.hset(service.config, mapping={"colour": "blue", "strategy": "ByMoon", "loadRange": '{"from": 1}'})
    await newer.hset(service.states, mapping={"7": json.dumps(later), "8": json.dumps(denying), "canary": "{}"})
    await newer.hset(service.states, "9", json.dumps(denying | {"routingState": "HIBERNATING"}))
    await newer.xadd(service.changes, {"pod": "7", "was": "READY", "is": "HIBERNATING"}, maxlen=1000)
    last = await newer.xadd(service.moves, {"from": "0", "moves": '{"ada": {"to": 1}}', "form": "2"}, maxlen=1000)
    for message in (
        "",
        "zz 1 2 3",
        "ev",
        "ev 0-0 1-0 7=HIBERNATING/sleep/zone-a",
        "ev 0-0 1-0 0",
        "mv 0-0 1-0",
        f"mv 0-0 {last.decode()} 0 1,2 form=2",
        f"mv 0-0 {last.decode()} 0 1,2",
        "mv 0-0 1-0 x y",
        "hi all",
    ):
        await newer.publish(service.channel, message)
