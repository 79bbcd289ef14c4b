"""What is done about pods that failed (reference §8): handle_pod_failure, recover_pod, the events; both twins."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from stateful_route.domain.errors import InvalidArgument, OwnedElsewhere, StoreUnavailable
from stateful_route.domain.history import EventKind
from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.client import ClientDriver
from stateful_route.router.failover_handler import FailoverOptions
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import get_hints, get_service
from support.operator_records import record
from support.tcp_proxy import TcpProxy
from support.waiting import eventually as waited
from support.waiting import until

NS, SVC = "games", "room"
SERVICE = Service(NS, SVC)
READY, DENY, SHUTDOWN = RoutingState


@pytest.fixture
async def three(publish):
    """Three pods that take new uids."""
    await publish({0: "READY", 1: "READY", 2: "READY"})


def fail(managing, pod=0, reason="no answer", **options):
    return managing.manager.handle_pod_failure(NS, SVC, pod, reason, **options)


def events(managing):
    return managing.manager.failover_events(NS, SVC)


async def state_of(executor, pod):
    return (await get_service(await executor.store(), SERVICE)).pods[pod].effective


# handle_pod_failure


async def test_handle_pod_failure(three, managing, link, counts, executor_here, raw):
    """Every uid of the pod moves, to those that take new ones; pod and moves are told to all; it is written down."""
    uids = await link(300, pod=0)
    await link(30, pod=1, prefix="other")
    event = await fail(managing)
    assert await counts() == {1: 180, 2: 150}
    assert event.moved == {1: 150, 2: 150}
    assert (event.affected, event.unplaced, event.refused, event.error) == (300, 0, 0, None)
    assert await state_of(executor_here, 0) is SHUTDOWN
    told = [fields for _, fields in await raw.xrange(SERVICE.moves)]
    assert {(fields["from"], fields["reason"]) for fields in told} == {("0", "PodFailure")}
    assert sorted(uid for fields in told for uid, _, _ in json.loads(fields["moves"])) == sorted(uids)
    assert [(fields["pod"], fields["to"], fields["reason"]) for _, fields in await raw.xrange(SERVICE.changes)][-1] == (
        ("0", "SHUTDOWN", "PodFailure")
    )


async def test_links_keep_their_time_to_live_and_get_a_later_epoch(three, managing, executor_here, raw, service):
    await executor_here.set_linked_pod(NS, "for good", SVC, 0)
    await executor_here.set_linked_pod(NS, "for a while", SVC, 0, 100)
    before = await executor_here.get_link(NS, "for good", SVC)
    await fail(managing)
    after = await executor_here.get_link(NS, "for good", SVC)
    assert after.ordinal in {1, 2}
    assert after.epoch > before.epoch
    assert await raw.ttl(service.link("for good")) == -1
    assert 90 <= await raw.ttl(service.link("for a while")) <= 100


async def test_a_uid_that_has_moved_meanwhile_stays_where_it_is(three, managing, link, executor_here, raw, service):
    """The index still names the failed pod, the link does not."""
    await link(50, pod=0)
    await raw.set(service.link("user-7"), 2)
    event = await fail(managing)
    assert sum(event.moved.values()) == 49
    assert await executor_here.get_linked_pod(NS, "user-7", SVC) == 2


async def test_one_uid_s_failure_does_not_stop_the_rest(three, managing, link, raw, service, counts):
    """Some links' keys are of another type, some hold no pod index, some indexes cannot be read by the script."""
    await link(300, pod=0)
    await raw.delete(service.link("user-1"))
    await raw.lpush(service.link("user-1"), "a list")
    await raw.set(service.link("user-2"), "no pod")
    await raw.delete(service.links("user-3"))
    await raw.set(service.links("user-3"), "no hash")
    event = await fail(managing)
    assert event.error is None
    assert sum(event.moved.values()) == 298
    assert await raw.get(service.link("user-3")) in {"1", "2"}
    assert (await counts()).get(0) is None


async def test_what_the_store_refuses_is_counted_and_tried_again(manage, start_server, eventually):
    """It is out of memory for a while; the pod is known to be dead, and its links move when that is over."""
    server = start_server("--maxmemory-policy", "noeviction")
    managing = await manage(server.url, failover=FailoverOptions(links_per_second=200))
    async with StatefulExecutor.from_url(server.url) as links, Redis.from_url(server.url) as raw:
        for pod in range(2):
            await links.set_service_state(NS, SVC, pod, "READY")
        await links.set_links_if_absent(NS, [f"user-{n}" for n in range(900)], SVC, 0, 300)
        failing = asyncio.create_task(fail(managing))
        await eventually(lambda: has_some(lambda: links.count_links(NS, SVC), 1))
        await raw.config_set("maxmemory", 1)
        event = await failing
        assert "'maxmemory'" in event.error
        assert event.refused > 0
        assert 0 < sum(event.moved.values()) < 900
        await raw.config_set("maxmemory", 0)
        await waited(lambda: links.count_links(NS, SVC), lambda found: found == {1: 900}, "all have moved")
        await until(lambda: events(managing)[-1].moved == {1: 900})
        assert events(managing)[-1].error is None


async def test_callers_give_its_uids_another_pod_even_before_they_are_moved(three, manage, link, server, counts):
    """Promise 4: by migration, or at its next call if that comes first."""
    managing = await manage(failover=FailoverOptions(links_per_second=300))
    uids = await link(900, pod=0)
    async with StatefulExecutor.from_url(server.url) as links:
        states = ServiceStateCache(links, CacheOptions(refresh_seconds=600.0))
        client = ClientDriver(states)
        assert await client.compute_linked_pod(NS, uids[0], SVC) == 0
        failing = asyncio.create_task(fail(managing))
        await until(lambda: states.known(SERVICE).state(0) is SHUTDOWN)
        await waited(counts, lambda found: len(found) > 1, "some have moved")
        pods = await client.compute_linked_pods(NS, uids, SVC)
        assert set(pods.values()) == {1, 2}
        assert 0 < (await failing).affected < 900
        assert await counts() == Counter(pods.values()), "each uid was moved once, by one of them"
        assert await links.batch_get_linked_pod(NS, uids, SVC) == {
            pod: [uid for uid in uids if pods[uid] == pod] for pod in pods.values()
        }
        await client.close()
        await states.close()


async def test_it_needs_no_kubernetes_and_no_word_of_the_pods(managing, link, counts, publish):
    """The failed pod has never published anything; neither has an operator."""
    await publish({1: "READY", 2: "READY"})
    await link(40, pod=0)
    event = await fail(managing)
    assert event.moved == {1: 20, 2: 20}
    assert await counts() == {1: 20, 2: 20}


async def test_a_pod_that_says_ready_all_the_same_stays_out_of_service(three, managing, publish, executor_here):
    """Its heart beats and it serves nobody, or it stood still and wakes up: what counts is the more severe word."""
    await fail(managing)
    assert await executor_here.set_service_state(NS, SVC, 0, "READY") is SHUTDOWN
    assert await state_of(executor_here, 0) is SHUTDOWN
    assert {await managing.manager.get_best_pod(NS, SVC, "RoundRobin") for _ in range(6)} == {1, 2}


async def test_late_links_are_looked_for_in_the_background(three, managing, link, counts, eventually):
    """A caller with an old view has linked a uid to the pod when it had been emptied; the event knows of it."""
    await link(10, pod=0)
    event = await fail(managing)
    await link(5, pod=0, prefix="late")
    await eventually(lambda: is_empty(counts, 0))
    assert (await counts()).get(0) is None
    await until(lambda: sum(events(managing)[-1].moved.values()) == 15)
    assert events(managing)[-1].number == event.number


async def is_empty(counts, pod):
    return pod not in await counts()


async def test_links_that_find_nobody_stay_and_move_when_somebody_is_ready(managing, publish, link, counts, eventually):
    await publish({0: "READY"})
    await link(50, pod=0)
    event = await fail(managing)
    assert (event.moved, event.unplaced, event.affected) == ({}, 50, 50)
    assert await counts() == {0: 50}
    await publish({1: "READY"})
    await eventually(lambda: is_empty(counts, 0))
    await until(lambda: events(managing)[-1].moved == {1: 50})
    assert events(managing)[-1].unplaced == 0


async def test_targets_are_as_the_service_s_placement_says(publish, managing, link):
    await publish(dict.fromkeys(range(4), "READY"), loads={1: 100, 2: 700, 3: 650})
    await link(60, pod=0)
    assert (await fail(managing)).moved == {1: 30, 3: 30}, "the good range, and never all on one"


STRATEGIES = {
    "RoundRobin": {1: 20, 2: 20, 3: 20},
    "LeastLoad": {1: 60},
    "LeastConnections": {1: 25, 2: 5, 3: 30},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_targets_are_those_that_the_strategy_picks(publish, manage, link, strategy):
    await publish(dict.fromkeys(range(4), "READY"), loads={1: 100, 2: 700, 3: 650})
    for pod, links in [(0, 60), (1, 5), (2, 25)]:
        await link(links, pod=pod, prefix=f"on-{pod}")
    managing = await manage(failover=FailoverOptions(strategy=strategy))
    assert (await fail(managing)).moved == STRATEGIES[strategy]


async def test_a_strategy_of_one_s_own_picks_the_targets(three, manage, link, counts):
    seen = []

    def last(pods):
        seen.append(len(pods))
        return pods[-1].ordinal

    managing = await manage(failover=FailoverOptions(strategy=last))
    await link(20, pod=0)
    assert (await fail(managing)).moved == {2: 20}
    assert seen == [2] * 20


async def test_a_strategy_that_raises_leaves_the_links_where_they_are(three, manage, link, counts):
    def broken(pods):
        raise ZeroDivisionError(pods)

    managing = await manage(failover=FailoverOptions(strategy=broken))
    await link(20, pod=0)
    event = await fail(managing)
    assert (event.moved, event.unplaced) == ({}, 20)
    assert await counts() == {0: 20}


async def test_pods_that_are_judged_unhealthy_or_are_not_ready_get_none(publish, managing, link):
    await publish({0: "READY", 1: "READY", 2: "READY", 3: "DENY_NEW_CALL", 4: "SHUTDOWN"})
    await managing.manager.update_pod_health(NS, SVC, 1, healthy=False)
    await link(30, pod=0)
    assert (await fail(managing)).moved == {2: 30}


async def test_full_pods_get_none(operate, managing, link, raw, counts):
    await operate({pod: record() for pod in range(3)}, maxLinksPerPod=20)
    await raw.delete(SERVICE.owner)  # an operator was here, and is gone
    await link(30, pod=0)
    await link(15, pod=1, prefix="other")
    event = await fail(managing)
    assert (event.moved, event.unplaced) == ({1: 5, 2: 20}, 5)
    assert await counts() == {0: 5, 1: 20, 2: 20}


async def test_a_target_that_fails_meanwhile_gets_no_more_and_is_failed_over_in_turn(
    three, manage, link, counts, eventually
):
    """Promise 3."""
    managing = await manage(failover=FailoverOptions(links_per_second=600))
    await link(1200, pod=0)
    first = asyncio.create_task(fail(managing))
    await eventually(lambda: has_some(counts, 2))
    second = await fail(managing, 2)
    done = await first
    assert (await counts()).get(0) is None
    assert done.moved[1] > done.moved[2] > 0
    await eventually(lambda: is_empty(counts, 2))
    assert await counts() == {1: 1200}
    assert second.kind is EventKind.POD_FAILURE


async def has_some(counts, pod):
    return (await counts()).get(pod)


async def test_two_who_handle_the_same_failure_move_each_uid_once(three, manage, link, counts, raw):
    await link(500, pod=0)
    one, other = await manage(), await manage()
    done = await asyncio.gather(fail(one), fail(other))
    assert sum(sum(event.moved.values()) for event in done) == 500
    assert (await counts()).get(0) is None
    told = [uid for _, fields in await raw.xrange(SERVICE.moves) for uid, *_ in json.loads(fields["moves"])]
    assert max(Counter(told).values()) == 1


async def test_links_of_foreign_clients_are_found_if_they_are_asked_for(three, manage, raw, service, counts):
    await raw.set(service.link("ada"), 0)
    assert (await fail(await manage())).affected == 0
    assert await raw.get(service.link("ada")) == "0"
    managing = await manage(failover=FailoverOptions(foreign_links=True))
    assert (await fail(managing)).affected == 1
    assert await raw.get(service.link("ada")) in {"1", "2"}


# With an operator


async def test_a_service_that_an_operator_owns_is_left_to_it(operate, managing, link, contents):
    await operate({0: record(), 1: record()})
    await link(10, pod=0)
    before = await contents()
    with pytest.raises(OwnedElsewhere, match="test-cluster/test-route"):
        await fail(managing)
    with pytest.raises(OwnedElsewhere):
        await managing.manager.recover_pod(NS, SVC, 0)
    assert await contents() == before
    assert events(managing) == []


@pytest.fixture
def contents(raw):
    async def everything():
        found = {}
        for key in sorted(await raw.keys()):
            found[key] = await raw.execute_command("DUMP", key, NEVER_DECODE=True)
        return found

    return everything


async def test_who_overrules_the_operator_moves_links_and_leaves_states_to_it(
    operate, managing, link, counts, executor_here
):
    await operate({0: record(), 1: record()})
    await link(10, pod=0)
    event = await fail(managing, overrule=True)
    assert event.moved == {1: 10}
    assert await counts() == {1: 10}
    assert await state_of(executor_here, 0) is READY
    assert set(await get_hints(await executor_here.store(), SERVICE)) == {0}


async def test_an_operator_that_comes_takes_over(managing, publish, link, operate, counts):
    """What nobody could take is the operator's matter from then on."""
    await publish({0: "READY"})
    await link(10, pod=0)
    await fail(managing)
    await operate({0: record(), 1: record()})
    await until(lambda: managing.failover._failures == {}, seconds=5)
    assert await counts() == {0: 10}


# recover_pod


async def test_recover_pod(three, publish, managing, executor_here, link, counts):
    """The pod's own word stands again: READY, as it has gone on saying; what has moved stays moved."""
    await link(10, pod=0)
    await fail(managing)
    event = await managing.manager.recover_pod(NS, SVC, 0, "it answers again")
    assert (event.kind, event.pod, event.reason, event.affected) == (
        EventKind.POD_RECOVERY,
        0,
        "it answers again",
        0,
    )
    assert await state_of(executor_here, 0) is READY
    view = (await get_service(await executor_here.store(), SERVICE)).pods[0]
    assert view.record is None
    assert {await managing.manager.get_best_pod(NS, SVC, "RoundRobin") for _ in range(6)} == {0, 1, 2}
    assert (await counts()).get(0) is None


async def test_a_pod_that_has_said_deny_meanwhile_denies(three, publish, managing, executor_here):
    await fail(managing)
    await publish({0: "DENY_NEW_CALL"})
    await managing.manager.recover_pod(NS, SVC, 0)
    assert await state_of(executor_here, 0) is DENY


async def test_a_foreign_client_s_record_is_as_it_was(managing, raw, service):
    now = (await raw.time())[0] * 1000
    text = json.dumps({"state": 7, "routingState": "READY", "updateTime": now, "theirs": [1, "x"]})
    await raw.hset(service.states, "0", text)
    await fail(managing)
    during = json.loads(await raw.hget(service.states, "0"))
    assert during == json.loads(text) | {"routingState": "SHUTDOWN"}, "foreign readers see it, too"
    await managing.manager.recover_pod(NS, SVC, 0)
    assert await raw.hget(service.states, "0") == text


async def test_a_pod_that_nobody_knew_is_forgotten(managing, raw, service):
    await fail(managing, 5)
    assert await raw.hkeys(service.records) == ["5"]
    await managing.manager.recover_pod(NS, SVC, 5)
    assert await raw.hkeys(service.records) == []
    assert await raw.hkeys(service.states) == []


async def test_callers_hear_of_it_at_once(three, manage, server):
    managing = await manage()
    async with StatefulExecutor.from_url(server.url) as links:
        states = ServiceStateCache(links, CacheOptions(refresh_seconds=600.0))
        await states.snapshot(SERVICE)
        await fail(managing)
        await until(lambda: 0 in states.known(SERVICE).dead and 0 not in states.known(SERVICE).alive)
        await managing.manager.recover_pod(NS, SVC, 0)
        await until(lambda: 0 in states.known(SERVICE).routable)
        await states.close()


async def test_what_had_not_failed_needs_no_recovery(three, managing, operate, raw, service):
    assert await managing.manager.recover_pod(NS, SVC, 0) is None
    assert events(managing) == []
    await operate({1: record("DENY_NEW_CALL", LinkAction.DRAIN)})
    await raw.delete(service.owner)
    assert await managing.manager.recover_pod(NS, SVC, 1) is None, "an operator's record is not ours to take back"
    assert await raw.hkeys(service.records) == ["1"]


async def test_recovery_forgets_what_was_held_against_the_pod(three, managing):
    await managing.manager.update_pod_health(NS, SVC, 0, healthy=False)
    await fail(managing)
    await managing.manager.recover_pod(NS, SVC, 0)
    assert (await managing.manager.get_service_load_status(NS, SVC))[0].available


async def test_recovery_ends_the_move_that_is_under_way(three, manage, link, counts, eventually):
    managing = await manage(failover=FailoverOptions(links_per_second=200))
    await link(1000, pod=0)
    failing = asyncio.create_task(fail(managing))
    await eventually(lambda: has_some(counts, 1))
    await managing.manager.recover_pod(NS, SVC, 0)
    event = await failing
    assert event.unplaced > 0
    assert (await counts())[0] == event.unplaced


# Events


async def test_events_tell_what_was_done_by_the_clock_of_redis(three, managing, link):
    await link(4, pod=0)
    await fail(managing, reason="rack lost")
    await managing.manager.recover_pod(NS, SVC, 0)
    failure, recovery = events(managing)
    assert (failure.kind, failure.pod, failure.reason, failure.affected) == (EventKind.POD_FAILURE, 0, "rack lost", 4)
    assert (failure.namespace, failure.service) == (NS, SVC)
    assert recovery.kind is EventKind.POD_RECOVERY
    assert failure.time <= recovery.time
    assert abs(datetime.now(UTC) - failure.time) < timedelta(seconds=60)
    assert managing.manager.failover_events(NS, "other") == []


async def test_the_last_events_of_each_service_are_kept(three, manage):
    managing = await manage(failover=FailoverOptions(history=5))
    for number in range(4):
        await fail(managing, reason=f"time {number}")
        await managing.manager.recover_pod(NS, SVC, 0, f"again {number}")
    kept = [event.reason for event in events(managing)]
    assert kept == ["again 1", "time 2", "again 2", "time 3", "again 3"]


async def test_a_hundred_are_kept_unless_one_says_otherwise():
    assert FailoverOptions().history == 100
    for wrong in ({"history": 0}, {"links_per_second": 0}):
        with pytest.raises(InvalidArgument):
            FailoverOptions(**wrong)


# The store in trouble


async def test_when_the_store_is_away_nothing_is_done_and_said_so(manage, start_server):
    server = start_server()
    managing = await manage(server.url, store=StoreOptions(timeout_seconds=0.5, deadline_seconds=1.0))
    server.stop()
    with pytest.raises(StoreUnavailable):
        await fail(managing)
    assert events(managing) == []


async def test_when_the_store_goes_away_meanwhile_it_goes_on_when_it_is_back(
    server, manage, publish, link, counts, eventually
):
    await publish({0: "READY", 1: "READY"})
    await link(900, pod=0)
    async with TcpProxy(server.port) as proxy:
        managing = await manage(
            proxy.url,
            store=StoreOptions(timeout_seconds=0.5, deadline_seconds=1.0),
            failover=FailoverOptions(links_per_second=300),
        )
        failing = asyncio.create_task(fail(managing))
        await eventually(lambda: has_some(counts, 1))
        proxy.refusing = True
        proxy.cut_all()
        event = await failing
        assert event.error is not None
        assert 0 < sum(event.moved.values()) < 900
        proxy.refusing = False
        await eventually(lambda: is_empty(counts, 0))
        await waited(counts, lambda found: found == {1: 900}, "all have moved")
