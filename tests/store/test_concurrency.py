"""Many clients at once: what each was told is put together afterwards, and must fit one history."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState, effective
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import count_links, links_of_pod
from stateful_route.store.links import PERSISTENT, get_link, set_link_call, set_link_if_absent
from stateful_route.store.migrate import MAX_BATCH, Batch, Outcome, migrate
from stateful_route.store.states import claim, get_service, set_operator_states, set_state
from support.history import NEVER, History, Operation
from support.link_model import MODEL, Answer, asked_of, understood
from support.writers import PODS, any_operation

CLIENTS = 8
RUN_SECONDS = 2


@pytest.fixture
def clients(server, connect):
    return [connect(server.url) for _ in range(CLIENTS)]


def operation(name, args, times, answer, epoch=None):
    return Operation("ada", name, args, *times, answer, epoch)


SET_1 = operation("set_link", (1, PERSISTENT), (0, 1), Answer(None, 10))
BAD_HISTORIES = {
    "an epoch that falls": [SET_1, operation("set_link", (2, PERSISTENT), (2, 3), Answer(1, 9))],
    "two links at once": [
        operation("set_link_if_absent", (1, 300), (0, 2), Answer(1, 10)),
        operation("set_link_if_absent", (2, 300), (1, 3), Answer(2, 11)),
    ],
    "a link that moves by itself": [SET_1, operation("get_link", (), (2, 3), Answer(2, 11))],
    "a link that is gone by itself": [SET_1, operation("get_link", (), (2, 3), Answer(None))],
    "a move of a link of another pod": [SET_1, operation("migrate", (3, 2), (2, 3), Answer(2, 11))],
    "a persistent link that is overtaken": [
        SET_1,
        operation("try_set_link", (2, 300), (2, 3), Answer((True, 2, 1), 11)),
    ],
    "an old answer after a new one": [
        SET_1,
        operation("set_link", (2, PERSISTENT), (2, 3), Answer(1, 11)),
        operation("get_link", (), (4, 5), Answer(1, 10)),
    ],
    "a new epoch for the same owner": [SET_1, operation("get_link", (), (2, 3), Answer(1, 11))],
    "an owner that does not own": [SET_1, operation("is_owner", (1,), (2, 3), Answer(reply=True), 9)],
    "a removal before it was asked for": [
        SET_1,
        operation("get_link", (), (2, 3), Answer(None)),
        operation("remove_linked_pod", (0,), (4, NEVER), None),
    ],
}
GOOD_HISTORIES = {
    "two calls at once in the other order": [
        operation("set_link", (1, PERSISTENT), (0, 3), Answer(2, 12)),
        operation("set_link", (2, PERSISTENT), (1, 2), Answer(None, 11)),
    ],
    "a removal that failed and was carried out late": [
        SET_1,
        operation("remove_linked_pod", (0,), (2, NEVER), None),
        operation("get_link", (), (3, 4), Answer(1, 10)),
        operation("get_link", (), (5, 6), Answer(None)),
    ],
    "a removal that failed and was never carried out": [
        SET_1,
        operation("remove_linked_pod", (0,), (2, NEVER), None),
        operation("get_link", (), (3, 4), Answer(1, 10)),
    ],
    "a retained link, whose new epoch nobody is told at once": [
        SET_1,
        operation("remove_linked_pod", (60,), (2, 3), Answer(reply=True)),
        operation("is_owner", (1,), (4, 5), Answer(reply=False), 10),
        operation("get_link", (), (6, 7), Answer(1, 11)),
    ],
    "a retained link that is retained again by a removal after a move": [
        SET_1,
        operation("remove_linked_pod", (60,), (2, 3), Answer(reply=True)),
        operation("migrate", (1, 2), (4, 7), Answer(2, 12)),
        operation("remove_linked_pod", (60,), (5, 6), Answer(reply=True)),
        operation("get_link", (), (8, 9), Answer(2, 13)),
    ],
}


@pytest.mark.parametrize("sentence", BAD_HISTORIES)
def test_no_order_explains(sentence):
    assert History(BAD_HISTORIES[sentence]).unexplained()


@pytest.mark.parametrize("sentence", GOOD_HISTORIES)
def test_some_order_explains(sentence):
    assert History(GOOD_HISTORIES[sentence]).unexplained() == []


async def test_of_many_who_link_a_uid_at_once_one_wins_and_all_are_told_so(clients, store, service):
    for number in range(40):
        uid = f"user-{number}"
        links = await asyncio.gather(
            *(set_link_if_absent(client, service, uid, pod, 300) for pod, client in enumerate(clients))
        )
        assert len(set(links)) == 1
        assert await get_link(store, service, uid) == links[0]
    assert sum((await count_links(store, service)).values()) == 40


@pytest.fixture
async def executors(server):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(StatefulExecutor.from_url(server.url)) for _ in range(CLIENTS)]


class Callers:
    """Clients that do anything with a few uids, and write down what they asked for and were told."""

    def __init__(self, service, uids):
        self.service = service
        self.uids = uids
        self.history = History()
        self._told = {}

    async def call(self, executor, choose):
        uid = choose.choice(self.uids)
        if choose.random() < 0.15 and uid in self._told:
            pod, epoch = self._told[uid]
            fence = answered(executor.is_owner(self.service.namespace, uid, self.service.name, pod, epoch))
            await self.history.record(uid, "is_owner", (pod,), fence, epoch)
            return
        name, args = any_operation(choose)
        answer = await self.history.record(uid, name, args, asked_of(executor, self.service, uid, name, args))
        if name == "get_link" and answer.epoch is not None:
            self._told[uid] = answer

    async def expire(self, raw, choose):
        """Time is not waited for: a temporary link's end is moved into the past."""
        uid = choose.choice(self.uids)
        await self.history.record(uid, "expire", (), answered(raw.pexpireat(self.service.link(uid), 1, xx=True)))

    async def look(self, executor):
        for uid in self.uids:
            await self.history.record(uid, "get_link", (), asked_of(executor, self.service, uid, "get_link", ()))


async def answered(work):
    return understood(await work)


async def test_all_that_many_clients_are_told_has_one_explanation(executors, raw, store, service, crowd):
    callers = Callers(service, ["ada", "bob", "玩家", *crowd(5)])
    clock = asyncio.get_running_loop().time
    end = clock() + RUN_SECONDS

    async def client(executor, seed):
        choose = random.Random(seed)
        while clock() < end:
            await callers.call(executor, choose)

    async def time_passes():
        choose = random.Random(0)
        while clock() < end:
            await callers.expire(raw, choose)
            await asyncio.sleep(0.005)

    await asyncio.gather(time_passes(), *(client(executor, seed) for seed, executor in enumerate(executors)))
    done = Counter(operation.name for operation in callers.history.operations)
    assert done.total() > 300
    assert set(done) == set(MODEL)
    await callers.look(executors[0])
    assert not callers.history.failures
    assert callers.history.unexplained() == []
    await index_agrees_with_a_scan(executors[0], raw, service)
    assert await count_links(store, service)


async def index_agrees_with_a_scan(executor, raw, service):
    """When all is quiet; the entries of links whose time has passed go with the repair, as they should."""
    await executor.repair(service.namespace, service.name)
    links = {key: int(await raw.get(key)) async for key in raw.scan_iter(match="sf:*}" + service.name)}
    indexed = {}
    for pod in range(PODS):
        async for page in executor.links_of_pod(service.namespace, service.name, pod):
            for uid in page.uids:
                assert service.link(uid) not in indexed, "a uid that two pods have"
                indexed[service.link(uid)] = pod
    assert indexed == links
    assert await executor.count_links(service.namespace, service.name) == Counter(links.values())


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
