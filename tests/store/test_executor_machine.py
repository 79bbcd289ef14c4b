"""Any sequence of the executor's operations and of foreign writes, on real servers, against plain dicts.

A store on one server, and one on a Cluster of three. After each step links, times to live, uid hashes and index are
what the model says, and no epoch has fallen.
"""

import asyncio
import itertools
import time
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from stateful_route.domain.epoch import split
from stateful_route.domain.routing import RoutingState
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import Bucket, Repaired, repair
from stateful_route.store.keys import Service
from stateful_route.store.links import PERSISTENT, Candidates
from stateful_route.store.migrate import Batch
from support import link_model
from support.link_model import GARBAGE, MODEL, REFUSED, Standing, carried_out, understood

NAMESPACE = "games"
SERVICES = [Service(NAMESPACE, "room"), Service(NAMESPACE, "chat")]
UIDS = ["ada", "bob", "玩家"]
EVERYBODY = list(itertools.product(SERVICES, UIDS))
STATES = list(RoutingState)
WALKS = 2
"""In one example: each looks at all 16,384 buckets, which takes as long as a hundred operations."""

ANYBODY = st.sampled_from(EVERYBODY)
ANY_SERVICE = st.sampled_from(SERVICES)
ANY_UIDS = st.lists(st.sampled_from(UIDS), min_size=1, unique=True)
PODS = st.integers(0, 2)
FOREIGN = st.sampled_from(["set", "garbage", "remove"])
SECONDS = st.sampled_from([PERSISTENT, 300])
KEEP = st.sampled_from([0, 60])
CANDIDATES = st.builds(
    Candidates, st.dictionaries(PODS, st.sampled_from([1, 2.5])), st.frozensets(PODS, max_size=2), st.integers(0, 4)
)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["set_link", "try_set_link", "set_link_if_absent"]), st.tuples(PODS, SECONDS)),
    st.tuples(st.just("compute_link_if_absent"), st.tuples(CANDIDATES, SECONDS)),
    st.tuples(st.sampled_from(["get_link", "get_link_if_persist"]), st.just(())),
    st.tuples(st.just("is_owner"), st.tuples(PODS)),
    st.tuples(st.just("remove_linked_pod"), st.tuples(KEEP)),
    st.tuples(st.just("remove_linked_pod_with_id"), st.tuples(PODS, KEEP)),
    st.tuples(st.just("migrate"), st.tuples(PODS, PODS)),
)
BATCHES = st.one_of(
    st.tuples(st.just("set_links_if_absent"), st.just("set_link_if_absent"), st.tuples(PODS, SECONDS)),
    st.tuples(st.just("compute_links_if_absent"), st.just("compute_link_if_absent"), st.tuples(CANDIDATES, SECONDS)),
    st.tuples(st.just("get_links"), st.just("get_link"), st.just(())),
    st.tuples(st.just("remove_links"), st.just("remove_linked_pod"), st.tuples(KEEP)),
)


class Links(RuleBasedStateMachine):
    """``standing``: what each uid has at each service; ``epochs``: of entries; ``passed``: the highest ever seen."""

    url = ""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.executor = StatefulExecutor.from_url(self.url)
        self.raw = self.foreign_client()
        self.standing = defaultdict(Standing)
        self.epochs = {}
        self.passed = Counter()
        self.states = defaultdict(dict)
        self.words = {}
        self.walks_left = WALKS
        self.done(self.empty())

    def foreign_client(self):
        return Redis.from_url(self.url, decode_responses=True)

    async def empty(self):
        await self.raw.flushall()

    def done(self, work):
        return self.loop.run_until_complete(work)

    def teardown(self):
        self.count()
        self.done(self.executor.close())
        self.done(self.raw.aclose())
        self.loop.close()

    def count(self):
        counted = self.done(self.executor.count_links(NAMESPACE, "room"))
        assert counted == Counter(entry for (service, _), entry in self.entries().items() if service.name == "room")

    def entries(self):
        return {who: now.indexed for who, now in self.standing.items() if now.indexed is not None}

    @initialize(who=ANYBODY, pod=PODS)
    def somebody_is_linked(self, who, pod):
        self.operate(who, ("set_link", (pod, PERSISTENT)))

    # Ours

    @rule(who=ANYBODY, operation=OPERATIONS)
    def operate(self, who, operation):
        name, args = operation
        asked = (*args, self.epochs.get(who, 0)) if name == "is_owner" else args
        self.fits(who, name, args, self.done(carried_out(self.executor, *who, name, asked)))

    @rule(who=ANYBODY, operation=OPERATIONS)
    def operate_when_the_time_of_the_link_has_just_passed(self, who, operation):
        """The server's own expiry comes later than the next call, mostly: the scripts meet a link that is over."""
        if self.done(self.time_passes(who)):
            self.standing[who] = link_model.expire(self.standing[who]).after
        self.operate(who, operation)

    @rule(who=ANYBODY, does=FOREIGN, pod=PODS, operation=OPERATIONS)
    def operate_on_what_a_foreign_client_has_just_written(self, who, does, pod, operation):
        self.foreign_write(who, does, pod, PERSISTENT)
        self.operate(who, operation)

    @rule(who=ANYBODY, does=FOREIGN, pod=PODS, goal=PODS)
    def migrate_what_a_foreign_client_has_just_written(self, who, does, pod, goal):
        """The index still names the pod that it is moved off, the link need not."""
        if (source := self.standing[who].indexed) is None:
            source = pod
            self.operate(who, ("set_link", (pod, PERSISTENT)))
        self.foreign_write(who, does, (pod + 1) % 3, PERSISTENT)
        self.operate(who, ("migrate", (source, goal)))

    async def time_passes(self, who):
        """Time is not waited for: the link's end is drawn near, to the next millisecond."""
        end = int(time.time() * 1000) + 1
        drawn_near = await self.raw.pexpireat(who[0].link(who[1]), end, xx=True)
        async with asyncio.timeout(60):
            while time.time() * 1000 <= end + 1:  # noqa: ASYNC110  the clock is all that is waited for
                await asyncio.sleep(0.0005)
        return drawn_near

    @rule(service=ANY_SERVICE, uids=ANY_UIDS, operation=BATCHES)
    def operate_on_many(self, service, uids, operation):
        batch, name, args = operation
        replies = self.done(getattr(self.executor, batch)(NAMESPACE, uids, service.name, *args))
        assert {*replies.done, *replies.failed} == {*uids}
        for place, uid in enumerate(uids):
            mine = args
            if args and isinstance(args[0], Candidates):
                mine = (Candidates(args[0].loads, args[0].dead, args[0].turn + place), *args[1:])
            reply = replies.done[uid] if uid in replies.done else replies.failed[uid]
            self.fits((service, uid), name, mine, understood(reply))

    def fits(self, who, name, args, answer):
        step = MODEL[name](self.standing[who], *args)
        assert answer.reply == step.reply, f"{name}{args} of {self.standing[who]}"
        self.standing[who] = step.after
        if step.told:
            if step.renewed:
                assert answer.epoch > self.passed[who], "an epoch that is not a later one"
                self.saw(who, answer.epoch)
            assert answer.epoch == self.epochs[who]
        else:
            assert answer.epoch is None
        if step.renewed and not step.told:
            self.epochs.pop(who, None)  # a later one, which the look after this step finds

    def saw(self, who, epoch):
        assert epoch >= self.passed[who], "an epoch has fallen"
        self.epochs[who] = self.passed[who] = epoch

    @rule(who=ANYBODY, pod=PODS, epoch=st.integers(-1, 2**40 - 1))
    def nobody_owns_by_another_epoch(self, who, pod, epoch):
        if epoch != self.epochs.get(who):
            service, uid = who
            assert self.done(self.executor.is_owner(NAMESPACE, uid, service.name, pod, epoch)) is False

    @rule(uid=st.sampled_from(UIDS))
    def read_all_services_of_a_uid(self, uid):
        mine = {who: self.standing[who] for who in EVERYBODY if who[1] == uid}
        named = {who[0].name: now.pod for who, now in mine.items() if now.field is not None and now.pod is not None}
        assert self.done(self.executor.get_link_service(NAMESPACE, uid)) == named
        for who, now in mine.items():
            if now.field is not None and now.link is None:
                self.standing[who] = Standing()

    @rule(service=ANY_SERVICE, uids=ANY_UIDS)
    def read_many_by_pod(self, service, uids):
        expected = defaultdict(list)
        for uid in uids:
            if (pod := self.standing[service, uid].pod) is not None:
                expected[pod].append(uid)
        assert self.done(self.executor.batch_get_linked_pod(NAMESPACE, uids, service.name)) == expected

    @rule(service=ANY_SERVICE, uids=ANY_UIDS, source=PODS, goal=PODS)
    def migrate_many(self, service, uids, source, goal):
        batches = [Batch(service.bucket(uid), [uid], [goal]) for uid in uids]
        results = self.done(self.executor.migrate(NAMESPACE, service.name, source, batches, reason="Test"))
        for uid, result in zip(uids, results, strict=True):
            moved = {link.uid: (link.to, link.epoch) for link in result.moved}
            answer = link_model.Answer(*moved.get(uid, (result.outcomes[0].name, None)))
            self.fits((service, uid), "migrate", (source, goal), answer)

    # The index

    @precondition(lambda self: self.walks_left)
    @rule(service=ANY_SERVICE, pod=PODS, data=st.data())
    def walk_over_the_links_of_a_pod(self, service, pod, data):
        self.walks_left -= 1
        expected = {uid for (whose, uid), entry in self.entries().items() if whose == service and entry == pod}
        pages = self.done(self.pages(service, pod, 0))
        assert sorted(uid for page in pages for uid in page.uids) == sorted(expected)
        if pages:
            behind = data.draw(st.integers(1, len(pages)))
            rest = self.done(self.pages(service, pod, pages[behind - 1].cursor))
            assert [page.uids for page in rest] == [page.uids for page in pages[behind:]]

    async def pages(self, service, pod, cursor):
        return [page async for page in self.executor.links_of_pod(NAMESPACE, service.name, pod, cursor=cursor)]

    @precondition(lambda self: self.walks_left)
    @rule(service=ANY_SERVICE, how=st.sampled_from(["index", "index and scan", "anew"]))
    def repair_or_rebuild(self, service, how):
        self.walks_left -= 1
        if how == "index":
            work = self.executor.repair(NAMESPACE, service.name)
        elif how == "index and scan":
            work = self.executor.repair(NAMESPACE, service.name, foreign=True)
        else:
            work = self.executor.rebuild(NAMESPACE, service.name, keys_per_second=1e9)
        self.repaired(service, lambda now: now.indexed is not None or (now.link is not None and how != "index"), work)

    @rule(service=ANY_SERVICE)
    def repair_named_uids(self, service):
        buckets = [Bucket(service.bucket(uid), [uid]) for uid in UIDS]
        self.repaired(service, lambda _: True, self.repair_buckets(service, buckets))

    async def repair_buckets(self, service, buckets):
        return await repair(await self.executor.store(), service, buckets)

    def repaired(self, service, finds, work):
        found = Counter()
        for uid in UIDS:
            now = self.standing[service, uid]
            if finds(now):
                found["expired"] += now.link is None and now.indexed is not None
                found["moved"] += now.pod is not None and now.indexed not in {None, now.pod}
                found["found"] += now.pod is not None and now.indexed is None
                found["garbage"] += now.link == GARBAGE
                step = link_model.repair(now)
                self.standing[service, uid] = step.after
                if step.renewed:
                    self.epochs.pop((service, uid), None)
        told = self.done(work)
        assert told == Repaired(found["expired"], found["moved"], found["found"], told.foreign)
        assert bool(told.foreign) is bool(found["garbage"])  # the walk over the index and the scan may both meet one

    # Foreign clients

    @rule(who=ANYBODY, does=FOREIGN, pod=PODS, seconds=SECONDS)
    def foreign_write(self, who, does, pod, seconds):
        service, uid = who
        link, field = service.link(uid), (service.links(uid), service.name)
        if does == "set":
            self.done(self.raw.set(link, pod, ex=None if seconds == PERSISTENT else seconds))
            self.done(self.raw.hset(*field, pod))
            now = {"link": str(pod), "lasting": seconds == PERSISTENT, "field": str(pod)}
        elif does == "garbage":
            self.done(self.raw.set(link, GARBAGE))
            now = {"link": GARBAGE, "lasting": True}
        else:
            self.done(self.raw.delete(link))
            self.done(self.raw.hdel(*field))
            now = {"link": None, "lasting": False, "field": None}
        self.standing[who] = self.standing[who]._replace(**now)

    # States

    @rule(service=ANY_SERVICE, pod=PODS, word=st.sampled_from(STATES), load=st.sampled_from([0, 1.5, 500]))
    def publish_and_read_states(self, service, pod, word, load):
        work = self.executor.set_service_state(NAMESPACE, service.name, pod, word, load=load)
        assert self.done(work) is word
        self.states[service][pod] = (word, load)
        found = self.done(self.executor.get_service_state(NAMESPACE, service.name))
        assert {n: (state.routing_state, state.load) for n, state in found.items()} == self.states[service]
        one = self.done(self.executor.get_service_pod_state(NAMESPACE, service.name, pod))
        assert one == found[pod]
        assert self.done(self.executor.get_service_pod_state(NAMESPACE, service.name, 9)) is None

    @rule(service=ANY_SERVICE, word=st.sampled_from(["open", "closed"]))
    def write_and_read_workloads(self, service, word):
        self.done(self.executor.set_workload_state(NAMESPACE, service.name, word))
        self.words[service.name] = word
        found = self.done(self.executor.get_workload_states(NAMESPACE, [whose.name for whose in SERVICES]))
        assert found == {whose.name: self.words.get(whose.name) for whose in SERVICES}
        assert self.done(self.executor.get_workload_state(NAMESPACE, service.name)) == word

    @invariant()
    def the_server_has_what_the_model_has(self):
        self.done(self.compare())

    async def compare(self):
        pipe = self.raw.pipeline(transaction=False) if isinstance(self.raw, Redis) else self.raw.pipeline()
        for service, uid in EVERYBODY:
            pipe.get(service.link(uid))
            pipe.ttl(service.link(uid))
            pipe.hget(service.links(uid), service.name)
            pipe.zscore(service.index(service.bucket(uid)), uid)
        replies = await pipe.execute()
        for who, value, seconds, field, entry in zip(EVERYBODY, *(replies[n::4] for n in range(4)), strict=True):
            pod, epoch = (None, -1) if entry is None else split(entry)
            now = Standing(value, seconds == -1, field, pod)
            assert now == self.standing[who], who
            if pod is None:
                self.epochs.pop(who, None)
            elif who in self.epochs:
                assert epoch == self.epochs[who]
            else:
                assert epoch > self.passed[who]
                self.saw(who, epoch)


class LinksOnACluster(Links):
    """Without the walks: they take a call for each of 16,384 slots here, seconds; `test_cluster_mode` has them."""

    port = 0

    walk_over_the_links_of_a_pod = repair_or_rebuild = None

    def count(self):
        pass

    def foreign_client(self):
        return RedisCluster(host="127.0.0.1", port=self.port, decode_responses=True)

    async def empty(self):
        await self.raw.initialize()
        await self.raw.flushall(target_nodes=RedisCluster.PRIMARIES)


def run(machine, examples, **attributes):
    run_state_machine_as_test(
        type(f"{machine.__name__}Here", (machine,), attributes),
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_one_server_agrees_with_a_plain_dict_whatever_happens(server):
    run(Links, 12, url=server.url)


def test_a_cluster_agrees_with_a_plain_dict_whatever_happens(cluster):
    run(LinksOnACluster, 12, url=cluster.url, port=cluster.servers[0].port)


def test_the_uids_of_the_machine_lie_in_different_buckets_on_all_nodes(cluster):
    room = SERVICES[0]
    assert all(room.bucket(one) != room.bucket(other) for one, other in itertools.combinations(UIDS, 2))
    assert len({id(cluster.owner(room.link(uid))) for uid in UIDS}) > 1


@pytest.mark.parametrize("name", sorted(MODEL))
def test_the_model_refuses_or_keeps_what_a_foreign_client_has_made_garbage(name):
    """Of the model itself: every operation has a word for it."""
    args = {
        "compute_link_if_absent": (Candidates({1: 1}), 300),
        "is_owner": (1,),
        "remove_linked_pod": (0,),
        "remove_linked_pod_with_id": (1, 0),
        "migrate": (1, 2),
        "get_link": (),
        "get_link_if_persist": (),
        "expire": (),
    }.get(name, (1, 300))
    step = MODEL[name](Standing(GARBAGE, lasting=True), *args)
    assert step.reply in {REFUSED, None, False, True, "OVERTAKEN"} or step.after.pod == 1
