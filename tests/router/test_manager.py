"""Routing (reference §8): route_request, get_best_pod, migrate_user, update_pod_health, the status; both twins."""

import asyncio
import json
from collections import Counter

import pytest

from stateful_route.domain.errors import InvalidArgument, NoPodAvailable, StoreUnavailable
from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.drivers.cache import CacheOptions
from stateful_route.store.keys import Service
from stateful_route.store.links import get_link
from support.operator_records import record
from support.published import HURRIED
from support.waiting import until

NS, SVC = "games", "room"
SERVICE = Service(NS, SVC)
READY, DENY, SHUTDOWN = RoutingState


@pytest.fixture
async def three(publish):
    """Three pods that take new uids; the second is beyond the good range, the third within it."""
    await publish({0: "READY", 1: "READY", 2: "READY"}, loads={0: 100, 1: 900, 2: 300})


def route(managing, uid="ada", *args, **options):
    return managing.manager.route_request(NS, uid, SVC, *args, **options)


async def placed(managing, count, *args, **options):
    """Pod → how many of so many new uids went there."""
    found = Counter()
    for number in range(count):
        found[(await route(managing, f"new-{number}", *args, **options)).pod] += 1
    return found


# route_request


async def test_route_request(three, managing, raw, service):
    """A new uid is linked for 300 s; the answer names pod, strategy, load and health."""
    result = await route(managing)
    assert result.pod in {0, 2}
    assert result.strategy == "GoodRange"
    assert result.load == {0: 100, 2: 300}[result.pod]
    assert (result.health.state, result.health.alive, result.health.available) == (READY, True, True)
    assert result.health.health is None, "nobody has looked"
    assert await raw.get(service.link("ada")) == str(result.pod)
    assert 298 <= await raw.ttl(service.link("ada")) <= 300


async def test_a_uid_that_has_a_pod_stays_there_whatever_the_strategy_says(three, managing, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 1)
    link = await executor_here.get_link(NS, "ada", SVC)
    for strategy in (None, "GoodRange", "LeastLoad", lambda pods: pods[0].ordinal):
        result = await route(managing, "ada", strategy)
        assert (result.pod, result.strategy, result.load, result.epoch) == (1, None, 900, link.epoch)


async def test_the_service_s_placement_is_the_default(three, managing, operate):
    await operate({pod: record() for pod in range(3)}, strategy="RoundRobin")
    assert await placed(managing, 30) == {0: 10, 1: 10, 2: 10}
    assert (await route(managing, "one more")).strategy == "RoundRobin"


async def test_the_manager_s_strategy_is_the_next_and_the_request_s_the_first(three, manage):
    managing = await manage(strategy="RoundRobin")
    assert set(await placed(managing, 30)) == {0, 1, 2}
    assert (await route(managing, "ada")).strategy == "RoundRobin"
    assert (await route(managing, "bob", "LeastLoad")).strategy == "LeastLoad"


STRATEGIES = {
    "GoodRange": {0: 15, 2: 15},
    "RoundRobin": {0: 10, 1: 10, 2: 10},
    "WeightedRoundRobin": {0: 15, 1: 10, 2: 5},
    "LeastConnections": {0: 10, 1: 10, 2: 10},
    "LeastLoad": {0: 30},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_new_uids_go_where_the_strategy_says(three, managing, operate, strategy):
    await operate({pod: record() for pod in range(3)}, weights=json.dumps({0: 3, 1: 2, 2: 1}))
    assert await placed(managing, 30, strategy) == STRATEGIES[strategy]


async def test_least_connections_counts_links_where_no_operator_does(three, managing, link, counts):
    await link(20, pod=0)
    await link(5, pod=2, prefix="other")
    assert (await placed(managing, 35, "LeastConnections")) == {1: 20, 2: 15}
    assert await counts() == {0: 20, 1: 20, 2: 20}


async def test_least_response_time_goes_by_what_was_found_out(three, managing):
    for pod, seconds in [(0, 0.2), (1, 0.001), (2, 0.1)]:
        await managing.manager.update_pod_health(NS, SVC, pod, healthy=True, response_seconds=seconds)
    assert await placed(managing, 5, "LeastResponseTime") == {1: 5}


async def test_a_function_may_be_the_strategy(three, managing):
    seen = []

    def greatest(pods):
        seen.append(pods)
        return max(pod.ordinal for pod in pods)

    result = await route(managing, "ada", greatest)
    assert (result.pod, result.strategy) == (2, "greatest")
    assert [(pod.ordinal, pod.load) for pod in seen[0]] == [(0, 100), (1, 900), (2, 300)]
    assert len(seen) == 1
    with pytest.raises(InvalidArgument, match="pod 3, which is none of 0, 1, 2"):
        await route(managing, "bob", len)


@pytest.mark.parametrize("wrong", [{"strategy": "Random"}, {"strategy": 3}, {"priority": "URGENT"}])
async def test_a_strategy_or_priority_that_is_none_is_refused(three, managing, executor_here, wrong):
    with pytest.raises(InvalidArgument):
        await route(managing, "ada", **wrong)
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def test_a_uid_of_high_priority_gets_the_least_loaded_pod(three, managing):
    assert await placed(managing, 5, "RoundRobin", "HIGH") == {0: 5}


async def test_uids_of_low_priority_leave_it_to_others(three, publish, managing):
    assert await placed(managing, 30, "RoundRobin", "LOW") == {1: 15, 2: 15}
    await publish({1: "SHUTDOWN", 2: "SHUTDOWN"})
    await until(lambda: len(managing.states.known(SERVICE).routable) == 1)
    assert (await route(managing, "last", "RoundRobin", "LOW")).pod == 0, "if there is another one"


@pytest.mark.parametrize("word", ["DENY_NEW_CALL", "SHUTDOWN"])
async def test_pods_that_are_not_ready_get_nobody(three, publish, managing, word):
    await publish({0: word, 2: word})
    assert await placed(managing, 10, "RoundRobin") == {1: 10}


async def test_pods_that_are_judged_unhealthy_get_nobody_new_and_keep_those_they_have(three, managing, link):
    await link(1, pod=0)
    await managing.manager.update_pod_health(NS, SVC, 0, healthy=False, why="HTTP 503")
    assert await placed(managing, 20, "RoundRobin") == {1: 10, 2: 10}
    result = await route(managing, "user-0")
    assert (result.pod, result.strategy) == (0, None)
    assert not result.health.available
    assert result.health.health.why == "HTTP 503"


async def test_a_judgement_holds_for_one_incarnation(publish, managing, eventually):
    await publish({0: "READY"}, incarnation="first/0")
    await managing.manager.update_pod_health(NS, SVC, 0, healthy=False)
    with pytest.raises(NoPodAvailable, match="0 READY, unhealthy"):
        await route(managing)
    await publish({0: "READY"}, incarnation="second/0")

    async def is_placed():
        try:
            return (await route(managing)).pod == 0
        except NoPodAvailable:
            return False

    await eventually(is_placed)


@pytest.mark.parametrize("words", [{}, {0: "SHUTDOWN"}, {0: "DENY_NEW_CALL"}])
async def test_when_no_pod_takes_new_uids_a_typed_error_says_so(publish, managing, raw, service, words):
    await publish(words)
    before = {*await raw.keys(), "sf:meta"}
    for strategy in ("GoodRange", "RoundRobin", "LeastConnections", lambda pods: pods[0].ordinal):
        with pytest.raises(NoPodAvailable, match=next(iter(words.values()), "there is no pod")):
            await route(managing, "ada", strategy)
    written = {*await raw.keys(), "sf:meta"} - before
    assert written <= {service.counts}, "no link was made; how many there are may have been counted"


async def test_a_uid_of_a_drained_pod_gets_another_at_its_next_call_if_there_is_one(operate, managing, link):
    await link(2, pod=0)
    await operate({0: record("DENY_NEW_CALL", LinkAction.DRAIN)})
    assert (await route(managing, "user-0")).pod == 0, "nobody else takes it, and its pod still serves"
    await operate({1: record()})
    await until(lambda: 1 in managing.states.known(SERVICE).routable)
    result = await route(managing, "user-0")
    assert (result.pod, result.strategy) == (1, "GoodRange")


async def test_a_manager_whose_view_is_old_moves_nobody_off_a_healthy_pod(manage, publish, executor_here, raw, service):
    await publish({0: "SHUTDOWN", 1: "READY"})
    deaf = await manage(None, CacheOptions(refresh_seconds=600.0, push=False))
    await deaf.states.snapshot(service)
    await publish({0: "READY"})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    assert (await route(deaf)).pod == 0
    assert await raw.xlen(service.moves) == 0
    await publish({0: "SHUTDOWN"})
    await deaf.states.refresh(service)
    found = await route(deaf)
    assert (found.pod, found.strategy) == (1, "GoodRange")
    ((_, told),) = await raw.xrange(service.moves)
    assert (told["from"], told["reason"]) == ("0", "Rerouted")
    assert json.loads(told["moves"]) == [["ada", 1, found.epoch]]


async def test_a_link_to_a_pod_of_which_nobody_has_told_is_moved(three, managing, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 77)
    assert (await route(managing)).pod in {0, 2}


async def test_full_pods_get_nobody(three, managing, operate, link):
    await link(3, pod=0)
    await operate({0: record(count=3), 1: record(), 2: record()}, strategy="RoundRobin", maxLinksPerPod=3)
    assert await placed(managing, 6) == {1: 3, 2: 3}
    with pytest.raises(NoPodAvailable, match="full"):
        await route(managing, "one more")


async def test_many_requests_at_once_for_one_uid_agree(three, managing):
    results = await asyncio.gather(*(route(managing, "ada", "RoundRobin") for _ in range(30)))
    assert len({result.pod for result in results}) == 1
    assert len({result.epoch for result in results}) == 1
    assert sum(result.strategy is not None for result in results) == 1


async def test_without_the_store_a_typed_error_says_so(manage, start_server):
    server = start_server()
    managing = await manage(server.url, store=HURRIED)
    await managing.executor.set_service_state(NS, SVC, 0, "DENY_NEW_CALL")
    with pytest.raises(NoPodAvailable):
        await route(managing)
    server.stop()
    with pytest.raises(StoreUnavailable):
        await route(managing)


async def test_wrong_names_are_refused_before_anything_is_sent(managing, raw):
    for call in [
        managing.manager.route_request("", "ada", SVC),
        managing.manager.route_request(NS, "{ada}", SVC),
        managing.manager.migrate_user(NS, "", SVC, 1),
        managing.manager.migrate_user(NS, "ada", SVC, -1),
        managing.manager.migrate_user(NS, "ada", SVC, 1, reason=" "),
        managing.manager.update_pod_health(NS, SVC, 8192, healthy=True),
        managing.manager.update_pod_health(NS, SVC, 0, healthy=True, response_seconds=-1),
        managing.manager.handle_pod_failure(NS, SVC, 0, ""),
        managing.manager.recover_pod(NS, SVC, True),
    ]:
        with pytest.raises(InvalidArgument):
            await call
    assert [key for key in await raw.keys() if key != "sf:meta"] == []


# get_best_pod


async def test_get_best_pod(three, managing, counts):
    assert {await managing.manager.get_best_pod(NS, SVC) for _ in range(10)} == {0, 2}
    assert {await managing.manager.get_best_pod(NS, SVC, "LeastLoad") for _ in range(10)} == {0}
    assert Counter([await managing.manager.get_best_pod(NS, SVC, "RoundRobin") for _ in range(9)]) == {0: 3, 1: 3, 2: 3}
    assert await counts() == {}, "nothing is linked"


async def test_get_best_pod_of_nobody_s_service(managing):
    with pytest.raises(NoPodAvailable, match="there is no pod"):
        await managing.manager.get_best_pod(NS, SVC)


# migrate_user


async def test_migrate_user(three, managing, executor_here, raw, service):
    """The link moves, keeps its time to live, and those who follow the service's moves are told."""
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 100)
    before = await executor_here.get_link(NS, "ada", SVC)
    done = await managing.manager.migrate_user(NS, "ada", SVC, 2)
    after = await executor_here.get_link(NS, "ada", SVC)
    assert (done.uid, done.source, done.target, done.epoch) == ("ada", 0, 2, after.epoch)
    assert after.ordinal == 2
    assert after.epoch > before.epoch
    assert 90 <= await raw.ttl(service.link("ada")) <= 100
    ((_, told),) = await raw.xrange(service.moves)
    assert (told["from"], told["reason"]) == ("0", "MigrateUser")
    assert json.loads(told["moves"]) == [["ada", 2, after.epoch]]


@pytest.mark.parametrize("word", ["DENY_NEW_CALL", "SHUTDOWN", None])
async def test_a_uid_does_not_migrate_to_a_pod_that_takes_none(three, publish, managing, executor_here, word):
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    if word:
        await publish({2: word})
    with pytest.raises(NoPodAvailable, match=f"pod {2 if word else 5} of games/room takes no uids"):
        await managing.manager.migrate_user(NS, "ada", SVC, 2 if word else 5)
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == 0


async def test_nor_to_one_that_is_judged_unhealthy(three, managing, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    await managing.manager.update_pod_health(NS, SVC, 2, healthy=False)
    with pytest.raises(NoPodAvailable, match="2 READY, unhealthy"):
        await managing.manager.migrate_user(NS, "ada", SVC, 2)


async def test_nor_to_one_that_is_full(three, managing, operate, executor_here):
    await operate({pod: record() for pod in range(3)}, maxLinksPerPod=2)
    for uid, pod in {"ada": 0, "bob": 2, "eve": 2}.items():
        await executor_here.set_linked_pod(NS, uid, SVC, pod)
    with pytest.raises(NoPodAvailable, match=r"pod 2 of games/room is full \(placement.maxLinksPerPod: 2\)"):
        await managing.manager.migrate_user(NS, "ada", SVC, 2)
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == 0
    await executor_here.remove_linked_pod(NS, "bob", SVC)
    assert (await managing.manager.migrate_user(NS, "ada", SVC, 2)).target == 2


async def test_a_uid_that_is_there_already_stays_and_one_without_a_link_gets_none(three, managing, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 2)
    link = await executor_here.get_link(NS, "ada", SVC)
    done = await managing.manager.migrate_user(NS, "ada", SVC, 2)
    assert (done.source, done.target, done.epoch) == (2, 2, link.epoch)
    assert await managing.manager.migrate_user(NS, "bob", SVC, 2) is None
    assert await executor_here.get_linked_pod(NS, "bob", SVC) is None


async def test_a_foreign_client_s_link_migrates_too(three, managing, executor_here, raw, service):
    await raw.set(service.link("ada"), 0)
    await raw.hset(service.links("ada"), SVC, 0)
    done = await managing.manager.migrate_user(NS, "ada", SVC, 2, reason="Rebalance")
    assert (done.source, done.target) == (0, 2)
    assert await get_link(await executor_here.store(), service, "ada") == (2, done.epoch)
    assert await raw.hget(service.links("ada"), SVC) == "2"


async def test_of_many_who_migrate_one_uid_all_end_well(three, managing, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    await asyncio.gather(*(managing.manager.migrate_user(NS, "ada", SVC, number % 3) for number in range(30)))
    assert await executor_here.get_linked_pod(NS, "ada", SVC) in {0, 1, 2}
    assert sum((await executor_here.count_links(NS, SVC)).values()) == 1


async def test_a_uid_may_migrate_beside_an_operator(managing, operate, link, counts):
    await link(1, pod=0)
    await operate({0: record(), 1: record()})
    await managing.manager.migrate_user(NS, "user-0", SVC, 1)
    assert await counts() == {1: 1}


# update_pod_health


async def test_update_pod_health(three, managing):
    first = await managing.manager.update_pod_health(NS, SVC, 0, healthy=False, why="HTTP 503")
    again = await managing.manager.update_pod_health(NS, SVC, 0, healthy=False, why="HTTP 503")
    assert [(one.healthy, one.consecutive_errors) for one in (first, again)] == [(False, 1), (False, 2)]
    assert first.last_check <= again.last_check
    well = await managing.manager.update_pod_health(NS, SVC, 0, healthy=True, response_seconds=0.25)
    assert (well.healthy, well.consecutive_errors, well.response_seconds) == (True, 0, 0.25)
    assert set(await placed(managing, 10, "RoundRobin")) == {0, 1, 2}


async def test_a_judgement_of_one_process_moves_nobody_and_concerns_no_other(three, manage, link, counts):
    await link(10, pod=0)
    one, other = await manage(), await manage()
    await one.manager.update_pod_health(NS, SVC, 0, healthy=False)
    assert await placed(one, 6, "RoundRobin") == {1: 3, 2: 3}
    assert (await counts())[0] == 10
    assert 0 in {await other.manager.get_best_pod(NS, SVC, "RoundRobin") for _ in range(3)}


# get_service_load_status


async def test_get_service_load_status(three, publish, managing, link):
    await publish({1: "DENY_NEW_CALL", 3: "SHUTDOWN"})
    await link(7, pod=0)
    await managing.manager.update_pod_health(NS, SVC, 2, healthy=False)
    await managing.manager.get_best_pod(NS, SVC, "LeastConnections")
    status = await managing.manager.get_service_load_status(NS, SVC)
    assert {pod: (one.state, one.alive, one.available) for pod, one in status.items()} == {
        0: (READY, True, True),
        1: (DENY, True, False),
        2: (READY, True, False),
        3: (SHUTDOWN, False, False),
    }
    assert [status[pod].load for pod in (0, 2)] == [100, 300]
    assert (status[0].links, status[1].links) == (7, 0)
    assert status[0].health is None
    assert not status[2].health.healthy


async def test_the_status_has_the_operator_s_counts(managing, operate):
    await operate({0: record(count=42)})
    assert (await managing.manager.get_service_load_status(NS, SVC))[0].links == 42


async def test_the_status_of_nobody_s_service_is_empty(managing):
    assert await managing.manager.get_service_load_status(NS, SVC) == {}
