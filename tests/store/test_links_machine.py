"""Any sequence of link operations, ours and foreign, on a real server against plain dicts.

At most one link a uid, epochs that only rise, and after a repair an index that agrees with the links.
"""

import asyncio
import itertools
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from stateful_route.domain.epoch import split
from stateful_route.domain.errors import StoreRejected
from stateful_route.store.connection import Store
from stateful_route.store.index import Bucket, all_links, count_links, linked_uids, repair
from stateful_route.store.keys import Service
from stateful_route.store.links import PERSISTENT, get_link, set_link, set_link_if_absent
from stateful_route.store.migrate import Batch, Outcome, migrate

SERVICE = Service("games", "room")
UIDS = ["ada", "bob", "玩家"]
GARBAGE = "elsewhere"
PODS = st.integers(0, 3)
SECONDS = st.sampled_from([PERSISTENT, 300])
ANY_UID = st.sampled_from(UIDS)


class Links(RuleBasedStateMachine):
    """``links``: uid → the link's value; ``lasting``: who has no time to live; ``index`` and ``hashes``: uid → pod."""

    url = ""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = Store.from_url(self.url)
        self.raw = Redis.from_url(self.url, decode_responses=True)
        self.links: dict[str, str] = {}
        self.lasting: set[str] = set()
        self.index: dict[str, int] = {}
        self.hashes: dict[str, str] = {}
        self.epochs: dict[str, int] = {}
        self.done(self.raw.flushall())

    def done(self, work):
        return self.loop.run_until_complete(work)

    def teardown(self):
        assert self.done(count_links(self.store, SERVICE)) == Counter(self.index.values())
        self.done(self.store.close())
        self.done(self.raw.aclose())
        self.loop.close()

    @initialize(uid=ANY_UID, pod=PODS)
    def somebody_is_linked(self, uid, pod):
        self.set(uid, pod, PERSISTENT)

    def pod(self, uid):
        value = self.links.get(uid)
        return int(value) if value is not None and value != GARBAGE else None

    def linked(self, uid, pod, seconds):
        self.links[uid] = self.hashes[uid] = str(pod)
        (self.lasting.add if seconds == PERSISTENT else self.lasting.discard)(uid)

    def owned(self, uid, pod, epoch, *, anew):
        """One of us says that the pod has the uid since this epoch; ``anew``: it had not before."""
        assert epoch > self.epochs.get(uid, 0) if anew else epoch == self.epochs[uid]
        self.index[uid] = pod
        self.epochs[uid] = epoch

    @rule(uid=ANY_UID, pod=PODS, seconds=SECONDS)
    def set(self, uid, pod, seconds):
        before, indexed = self.pod(uid), self.index.get(uid)
        done = self.done(set_link(self.store, SERVICE, uid, pod, seconds))
        assert done.previous == before
        self.linked(uid, pod, seconds)
        self.owned(uid, pod, done.epoch, anew=before != pod or indexed != pod)

    @rule(uid=ANY_UID, pod=PODS, seconds=SECONDS)
    def set_if_absent(self, uid, pod, seconds):
        if self.links.get(uid) == GARBAGE:
            with pytest.raises(StoreRejected):
                self.done(set_link_if_absent(self.store, SERVICE, uid, pod, seconds))
            return
        before, indexed = self.pod(uid), self.index.get(uid)
        link = self.done(set_link_if_absent(self.store, SERVICE, uid, pod, seconds))
        assert link.ordinal == (pod if before is None else before)
        if before is None:
            self.linked(uid, pod, seconds)
        self.owned(uid, link.ordinal, link.epoch, anew=before is None or indexed != before)

    @rule(uid=ANY_UID, pod=PODS, seconds=SECONDS)
    def foreign_set(self, uid, pod, seconds):
        self.done(self.raw.set(SERVICE.link(uid), pod, ex=None if seconds == PERSISTENT else seconds))
        self.done(self.raw.hset(SERVICE.links(uid), SERVICE.name, pod))
        self.linked(uid, pod, seconds)

    @rule(uid=ANY_UID)
    def foreign_garbage(self, uid):
        self.done(self.raw.set(SERVICE.link(uid), GARBAGE))
        self.links[uid] = GARBAGE
        self.lasting.add(uid)

    @rule(uid=ANY_UID)
    def foreign_remove(self, uid):
        self.done(self.raw.delete(SERVICE.link(uid)))
        self.done(self.raw.hdel(SERVICE.links(uid), SERVICE.name))
        for table in (self.links, self.hashes):
            table.pop(uid, None)
        self.lasting.discard(uid)

    @rule(uid=ANY_UID)
    def expire(self, uid):
        self.done(self.raw.pexpire(SERVICE.link(uid), 1))
        self.done(self.expired(uid))
        self.links.pop(uid, None)
        self.lasting.discard(uid)

    async def expired(self, uid):
        async with asyncio.timeout(5):
            while True:
                if not await self.raw.exists(SERVICE.link(uid)):
                    return
                await asyncio.sleep(0.001)

    @rule(uids=st.lists(ANY_UID, min_size=1, unique=True), source=PODS, goal=PODS)
    def migrate(self, uids, source, goal):
        batches = [Batch(SERVICE.bucket(uid), [uid], [goal]) for uid in uids]
        for uid, result in zip(uids, self.done(migrate(self.store, SERVICE, source, batches)), strict=True):
            (outcome,) = result.outcomes
            assert outcome is self.expected(uid, source)
            if outcome is Outcome.MOVED:
                (moved,) = result.moved
                self.owned(uid, goal, moved.epoch, anew=True)
                if goal != source:
                    self.links[uid] = self.hashes[uid] = str(goal)
            elif outcome is Outcome.DRIFT and uid in self.links:
                self.index[uid] = self.pod(uid)
            elif outcome is not Outcome.OVERTAKEN:
                self.index.pop(uid)
                if outcome is Outcome.DRIFT and self.hashes.get(uid) == str(source):
                    self.hashes.pop(uid)

    def expected(self, uid, source):
        if self.index.get(uid) != source:
            return Outcome.OVERTAKEN
        if uid in self.links and self.pod(uid) is None:
            return Outcome.FOREIGN
        return Outcome.MOVED if self.pod(uid) == source else Outcome.DRIFT

    @rule()
    def repair_by_index(self):
        self.done(self.repaired(all_links(self.store, SERVICE)))
        assert set(self.index) <= {uid for uid in UIDS if self.pod(uid) is not None}

    @rule()
    def repair_by_scan(self):
        self.done(self.repaired(linked_uids(self.store, SERVICE)))
        assert {uid: pod for uid, pod in self.index.items() if uid in self.links} == self.pods()

    @rule()
    def repair_all(self):
        self.done(self.repaired(everybody()))
        assert self.index == self.pods()

    def pods(self):
        return {uid: self.pod(uid) for uid in UIDS if self.pod(uid) is not None}

    async def repaired(self, walk):
        async for buckets in walk:
            await repair(self.store, SERVICE, buckets)
            for uid in (uid for bucket in buckets for uid in bucket.uids):
                if uid not in self.links:
                    self.hashes.pop(uid, None)
                if self.pod(uid) is None:
                    self.index.pop(uid, None)
                else:
                    self.index[uid] = self.pod(uid)

    @invariant()
    def the_server_has_what_the_model_has(self):
        self.done(self.compare())

    async def compare(self):
        pipe = self.raw.pipeline(transaction=False)
        for uid in UIDS:
            pipe.get(SERVICE.link(uid))
            pipe.ttl(SERVICE.link(uid))
            pipe.hget(SERVICE.links(uid), SERVICE.name)
            pipe.zscore(SERVICE.index(SERVICE.bucket(uid)), uid)
        replies = await pipe.execute()
        for uid, value, seconds, hashed, entry in zip(UIDS, *(replies[n::4] for n in range(4)), strict=True):
            assert value == self.links.get(uid)
            assert (seconds == -1) is (uid in self.lasting)
            assert hashed == self.hashes.get(uid)
            pod, epoch = (None, -1) if entry is None else split(entry)
            assert pod == self.index.get(uid)
            if entry is not None:
                assert epoch >= self.epochs.get(uid, 0), "an epoch has fallen"
                self.epochs[uid] = epoch
            if value != GARBAGE:
                link = await get_link(self.store, SERVICE, uid)
                ours = self.pod(uid)
                assert link == (None if ours is None else (ours, epoch if ours == pod else -1))


async def everybody():
    yield [Bucket(SERVICE.bucket(uid), [uid]) for uid in UIDS]


def test_links_agree_with_a_plain_dict_whatever_happens(server):
    run_state_machine_as_test(
        type("LinksHere", (Links,), {"url": server.url}),
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_uids_of_the_machine_lie_in_different_buckets_of_one_service():
    assert all(SERVICE.bucket(one) != SERVICE.bucket(other) for one, other in itertools.combinations(UIDS, 2))
