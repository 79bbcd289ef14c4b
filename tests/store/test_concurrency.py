"""Many clients at once: what each was told is put together afterwards, and must fit one history."""

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState, effective
from stateful_route.store.index import count_links, links_of_pod
from stateful_route.store.links import PERSISTENT, get_link, set_link, set_link_call, set_link_if_absent
from stateful_route.store.migrate import MAX_BATCH, Batch, Outcome, migrate
from stateful_route.store.states import claim, get_service, set_operator_states, set_state

CLIENTS = 8


@dataclass(frozen=True)
class Told:
    """One client was told that the pod has the uid since the epoch, between two moments."""

    uid: str
    pod: int
    epoch: int
    asked: float
    answered: float


@pytest.fixture
def clients(server, connect):
    return [connect(server.url) for _ in range(CLIENTS)]


def check(history):
    """One owner for each epoch, and nobody is told of an older one after somebody was told of a newer."""
    by_uid = defaultdict(list)
    for told in history:
        by_uid[told.uid].append(told)
    for uid, entries in by_uid.items():
        owners = {}
        for told in entries:
            assert owners.setdefault(told.epoch, told.pod) == told.pod, f"{uid}: two owners since {told.epoch}"
        newest, answers = 0, sorted(entries, key=lambda told: told.answered)
        done = 0
        for told in sorted(entries, key=lambda told: told.asked):
            while answers[done].answered < told.asked:
                newest = max(newest, answers[done].epoch)
                done += 1
            assert told.epoch >= newest, f"{uid}: {told} came after epoch {newest}"


async def test_of_many_who_link_a_uid_at_once_one_wins_and_all_are_told_so(clients, store, service):
    for number in range(40):
        uid = f"user-{number}"
        links = await asyncio.gather(
            *(set_link_if_absent(client, service, uid, pod, 300) for pod, client in enumerate(clients))
        )
        assert len(set(links)) == 1
        assert await get_link(store, service, uid) == links[0]
    assert sum((await count_links(store, service)).values()) == 40


async def test_all_that_clients_are_told_fits_one_history(clients, store, service, crowd):
    uids = ["ada", "bob", *crowd(4)]
    history = []

    async def lives(client, seed):
        choose = random.Random(seed)
        now = asyncio.get_running_loop().time
        for _ in range(120):
            uid, pod, asked = choose.choice(uids), choose.randrange(4), now()
            match choose.randrange(5):
                case 0:
                    done = await set_link(client, service, uid, pod, choose.choice([PERSISTENT, 300]))
                    told = [(pod, done.epoch)]
                case 1:
                    link = await set_link_if_absent(client, service, uid, pod, 300)
                    told = [(link.ordinal, link.epoch)]
                case 2:
                    target = choose.randrange(4)
                    (result,) = await migrate(client, service, pod, [Batch(service.bucket(uid), [uid], [target])])
                    told = [(moved.to, moved.epoch) for moved in result.moved]
                case _:
                    link = await get_link(client, service, uid)
                    told = [] if link is None else [(link.ordinal, link.epoch)]
            history.extend(Told(uid, owner, epoch, asked, now()) for owner, epoch in told)

    await asyncio.gather(*(lives(client, seed) for seed, client in enumerate(clients)))
    assert len(history) > 500
    check(history)
    for uid in uids:
        last = max((told for told in history if told.uid == uid), key=lambda told: told.epoch)
        assert await get_link(store, service, uid) == (last.pod, last.epoch)
    assert sum((await count_links(store, service)).values()) == len(uids)


async def moved_all(client, service, source, target):
    """Move all links of a pod as the migration loop does; gives uid → epoch of those that this mover moved."""
    moved = {}
    async for buckets in links_of_pod(client, service, source):
        batches = [Batch(bucket.number, bucket.uids, [target] * len(bucket.uids)) for bucket in buckets]
        assert all(len(batch.uids) <= MAX_BATCH for batch in batches)
        for result in await migrate(client, service, source, batches):
            assert set(result.outcomes) <= {Outcome.MOVED, Outcome.OVERTAKEN}
            moved |= {link.uid: link.epoch for link in result.moved}
    return moved


async def test_two_movers_move_each_link_once(clients, store, service):
    uids = [f"user-{number}" for number in range(800)]
    await store.run_many([set_link_call(service, uid, 0) for uid in uids])
    one, other = await asyncio.gather(moved_all(clients[0], service, 0, 1), moved_all(clients[1], service, 0, 2))
    assert not one.keys() & other.keys()
    assert one.keys() | other.keys() == set(uids)
    assert await count_links(store, service) == Counter({1: len(one), 2: len(other)}) - Counter()


async def test_callers_who_link_while_a_pod_is_emptied_lose_nobody(clients, store, service):
    uids = [f"user-{number}" for number in range(400)]
    await store.run_many([set_link_call(service, uid, 0, 300) for uid in uids[:200]])
    emptied = asyncio.Event()

    async def caller(client, seed):
        choose = random.Random(seed)
        while not emptied.is_set():
            await set_link_if_absent(client, service, choose.choice(uids), 0, 300)  # with an old view of pod 0

    async def mover():
        for _ in range(5):
            await moved_all(clients[0], service, 0, 1)
        emptied.set()

    await asyncio.gather(mover(), *(caller(client, seed) for seed, client in enumerate(clients[1:4])))
    await moved_all(clients[0], service, 0, 1)
    links = [await get_link(store, service, uid) for uid in uids]
    assert {link.ordinal for link in links if link} == {1}
    assert all(links[:200])
    assert await count_links(store, service) == {1: sum(link is not None for link in links)}


async def test_states_written_at_once_end_as_the_more_severe_of_the_last_words(clients, store, service):
    ready, deny, shutdown = RoutingState
    await claim(store, service, "mine/1", {"heartbeat": "Auto"})

    async def app(client, pod):
        for turn in range(30):
            word = (ready, deny)[turn % 2]
            assert (await set_state(client, service, pod, word)).severity >= word.severity

    async def operator(client):
        for turn in range(30):
            said = (ready, deny, shutdown)[turn % 3]
            record = OperatorRecord(state=said, reason=Reason.READY)
            await set_operator_states(client, service, "mine/1", dict.fromkeys(range(3), record))

    await asyncio.gather(operator(clients[0]), *(app(client, pod) for pod, client in enumerate(clients[1:4])))
    for pod in (await get_service(store, service)).pods.values():
        assert pod.state.word is deny
        assert pod.record.state is shutdown
        assert pod.state.routing_state is effective(deny, shutdown)
