"""The operator's copy of a service's records: what is settled gets into Redis, whenever it is settled."""

import json
import time
from dataclasses import replace

import pytest

from stateful_route.domain.errors import OwnedElsewhere
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import Policy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import judge_service
from stateful_route.domain.snapshot import FIRST_LOOK_SECONDS
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile import ledger as module
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.workload import Workload
from stateful_route.store.links import set_link
from stateful_route.store.states import claim, get_service, set_state, stop_pod
from support.resources import route

OWNER = "cluster/route"
NOW = 1_800_000_000.0
ROUTE = route("room", "games")


def pod(ordinal, uid):
    return PodFacts(name=f"room-{ordinal}", ordinal=ordinal, uid=uid, resource_version=1, ready=True)


@pytest.fixture
def workload():
    known = Workload()
    for facts in (pod(0, "successor"), pod(1, "other")):
        known.observe(facts, deleted=False)
    return known


@pytest.fixture
async def ledger(store, service):
    """Pod 0 was Ready as another pod, pod 1 is Ready."""
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    made = Ledger(service, OWNER)
    usual = {"state": RoutingState.READY, "reason": Reason.READY, "ever_ready": True}
    former, other = Incarnation("former", 0), Incarnation("other", 0)
    await made.write(
        store, {0: OperatorRecord(incarnation=former, **usual), 1: OperatorRecord(incarnation=other, **usual)}
    )
    return made


async def decided(store, ledger, workload, *, full=False, now=NOW):
    situations = ledger.situations(workload, Policy(), frozenset(), now)
    if pods := ledger.begun_anew(situations):
        await ledger.take_cuts(store, situations, pods, Policy())
        situations = ledger.situations(workload, Policy(), frozenset(), now)
    judgement = judge_service(situations, Policy())
    return ledger.decisions(ROUTE, workload, situations, judgement, full=full)


async def in_redis(store, service):
    record = (await get_service(store, service)).pods[0].record
    return record.state, record.reason, record.loss, record.before


@pytest.fixture
async def before(store, ledger, workload):
    """The epoch below which links are the former pod's, once its successor has been seen."""
    await ledger.write(store, await decided(store, ledger, workload))
    record = ledger.records[0]
    assert (record.reason, record.links) == (Reason.REPLACED, LinkAction.MOVE)
    assert record.before is not None
    return record.before


READY_AGAIN = (RoutingState.READY, Reason.READY, None, None)


async def test_once_the_former_links_are_dealt_with_the_successor_is_ready(store, service, ledger, workload, before):
    ledger.settle(0, before)
    await ledger.write(store, await decided(store, ledger, workload))
    assert await in_redis(store, service) == READY_AGAIN
    assert await decided(store, ledger, workload) == {}, "then there is nothing left to write"


async def test_links_that_are_found_later_belong_to_the_loss_whatever_is_read_before_it_is_written(
    store, service, ledger, workload, before
):
    ledger.raise_losses({0: before + 40, 1: before + 40})
    await ledger.read(store)
    await ledger.write(store, await decided(store, ledger, workload))
    assert await in_redis(store, service) == (RoutingState.SHUTDOWN, Reason.REPLACED, Reason.REPLACED, before + 40)
    assert ledger.records[1].before is None, "it has lost nothing"
    ledger.settle(0, before + 40)
    await ledger.write(store, await decided(store, ledger, workload))
    assert await in_redis(store, service) == READY_AGAIN


async def test_it_is_not_forgotten_when_the_records_are_read_before_it_is_written(
    store, service, ledger, workload, before
):
    ledger.settle(0, before)
    await ledger.read(store)
    await ledger.write(store, await decided(store, ledger, workload, full=True))
    assert await in_redis(store, service) == READY_AGAIN


async def test_it_is_not_forgotten_when_a_decision_from_before_is_written_meanwhile(
    store, service, ledger, workload, before, monkeypatch
):
    write = module.set_operator_states

    async def settled_meanwhile(*args):
        written = await write(*args)
        ledger.settle(0, before)
        return written

    ledger.counts[0] = 1
    earlier = await decided(store, ledger, workload, full=True)
    monkeypatch.setattr(module, "set_operator_states", settled_meanwhile)
    await ledger.write(store, earlier)
    monkeypatch.undo()
    assert (await in_redis(store, service))[1] is Reason.REPLACED
    await ledger.write(store, await decided(store, ledger, workload))
    assert await in_redis(store, service) == READY_AGAIN


async def test_what_is_settled_of_one_process_says_nothing_of_the_next(store, service, ledger, workload, before):
    workload.observe(pod(0, "successor"), deleted=True)
    workload.observe(pod(0, "next"), deleted=False)
    await ledger.write(store, await decided(store, ledger, workload))
    after = ledger.records[0].before
    assert after is not None
    assert after >= before
    ledger.settle(0, before - 1)
    await ledger.write(store, await decided(store, ledger, workload))
    assert (await in_redis(store, service))[1:] == (Reason.REPLACED, Reason.REPLACED, after)


async def test_a_life_that_begins_while_others_are_looked_at_waits_for_its_cut(
    store, service, ledger, workload, before
):
    workload.observe(pod(0, "successor"), deleted=True)
    workload.observe(pod(0, "next"), deleted=False)
    situations = ledger.situations(workload, Policy(), frozenset(), NOW)
    judgement = judge_service(situations, Policy())
    assert ledger.begun_anew(situations) == [0]
    assert ledger.decisions(ROUTE, workload, situations, judgement, full=True) == {}
    await ledger.write(store, await decided(store, ledger, workload))
    assert (await in_redis(store, service))[1:] == (Reason.REPLACED, Reason.REPLACED, before)


async def test_the_cut_is_above_links_whose_epochs_are_ahead_of_the_clock(store, raw, service, ledger, workload):
    epoch = (await set_link(store, service, "ada", 0)).epoch + 3_600_000
    await raw.zadd(service.index(service.bucket("ada")), {"ada": epoch, "": -epoch})
    await ledger.write(store, await decided(store, ledger, workload))
    assert ledger.records[0].before == epoch + 1


async def say(store, service, ordinal, uid, word=RoutingState.READY):
    await set_state(store, service, ordinal, word, incarnation=uid)


async def age(store, service, ordinal, seconds):
    """As if the app had published last so long ago."""
    entry = json.loads(await store.command("HGET", service.states, ordinal))
    entry["updateTime"] -= round(seconds * 1000)
    await store.command("HSET", service.states, ordinal, json.dumps(entry))


async def test_a_pod_that_callers_count_as_dead_by_its_heartbeat_takes_no_links(
    store, service, ledger, workload, before
):
    ledger.settle(0, before)
    await full_pass(store, ledger, workload)
    for ordinal, uid in enumerate(("successor", "other")):
        await say(store, service, ordinal, uid)
    await full_pass(store, ledger, workload)
    assert ledger.ready() == {0, 1}
    again = Ledger(service, OWNER)  # an operator that has just started, and knows no more than the store's clock
    await age(store, service, 1, 60)
    await again.read(store)
    assert again.ready() == {0, 1}, "the store may have come back just now, and nobody could publish"
    again._seen = again._seen._replace(read_at=again._seen.read_at - FIRST_LOOK_SECONDS)  # that was so long ago
    await say(store, service, 0, "successor")
    await again.read(store)
    assert again.ready() == {0}
    decisions = await decided(store, again, workload)
    assert [(record.reason, record.links) for record in decisions.values()] == [
        (Reason.HEARTBEAT_LOST, LinkAction.MOVE)
    ]
    await again.write(store, decisions)
    await say(store, service, 1, "other")
    await again.read(store)
    assert (await decided(store, again, workload))[1].reason is Reason.READY


async def test_a_pod_that_could_not_publish_while_the_store_was_away_has_time_to_do_so(
    store, service, ledger, workload, before
):
    ledger.settle(0, before)
    for ordinal, uid in enumerate(("successor", "other")):
        await say(store, service, ordinal, uid)
    await full_pass(store, ledger, workload)
    assert ledger.ready() == {0, 1}
    await age(store, service, 1, 75)  # as an older snapshot of the store has it
    ledger.interrupted()
    await full_pass(store, ledger, workload)
    assert ledger.ready() == {0, 1}


async def test_when_the_app_says_that_it_serves_nobody_its_links_move(store, service, ledger, workload, before):
    ledger.settle(0, before)
    await full_pass(store, ledger, workload)
    await say(store, service, 1, "other", RoutingState.SHUTDOWN)
    await full_pass(store, ledger, workload)
    record = ledger.records[1]
    assert (record.reason, record.links, record.written) == (
        Reason.APP_SHUTDOWN,
        LinkAction.MOVE,
        RoutingState.SHUTDOWN,
    )
    assert ledger.ready() == {0}
    await say(store, service, 1, "other")
    assert (await get_service(store, service)).pods[1].effective is RoutingState.DENY_NEW_CALL, "which is news"
    await full_pass(store, ledger, workload)
    assert ledger.records[1].reason is Reason.READY
    assert ledger.ready() == {0, 1}


async def entries(store, service):
    view = await get_service(store, service)
    return {ordinal: (pod.state.routing_state, pod.state.update_time) for ordinal, pod in view.pods.items()}


async def full_pass(store, ledger, workload):
    await ledger.read(store)
    decisions = await decided(store, ledger, workload, full=True)
    await ledger.write(store, decisions)
    await ledger.refresh(store)
    return set(decisions)


async def test_a_full_pass_renews_its_own_entries_and_writes_only_what_differs(
    store, service, ledger, workload, before
):
    ledger.settle(0, before)
    await full_pass(store, ledger, workload)
    earlier = await entries(store, service)
    assert await full_pass(store, ledger, workload) == set()
    now = await entries(store, service)
    assert all(now[ordinal][0] is earlier[ordinal][0] and now[ordinal][1] > earlier[ordinal][1] for ordinal in (0, 1))


@pytest.mark.parametrize(
    "entry",
    ['{"state":0,"routingState":"SHUTDOWN","updateTime":1}', '{"state":0,"routingState":"READY","updateTime":1}', None],
    ids=["overwritten", "put back", "deleted"],
)
async def test_a_full_pass_mends_an_entry_that_a_foreign_client_changed(
    store, service, ledger, workload, before, entry
):
    ledger.settle(0, before)
    await full_pass(store, ledger, workload)
    if entry is None:
        await store.command("HDEL", service.states, 1)
    else:
        await store.command("HSET", service.states, 1, entry)
    changed = await full_pass(store, ledger, workload)
    written = (await get_service(store, service)).pods[1]
    assert written.state.routing_state is written.record.written
    assert changed == (set() if entry and "READY" in entry else {1})
    assert await full_pass(store, ledger, workload) == set()


async def test_an_entry_that_an_app_publishes_is_not_renewed(store, service, ledger, workload, before):
    ledger.settle(0, before)
    await set_state(store, service, 1, RoutingState.READY, incarnation="other/0")
    await full_pass(store, ledger, workload)
    earlier = await entries(store, service)
    await full_pass(store, ledger, workload)
    now = await entries(store, service)
    assert (now[0] != earlier[0], now[1] == earlier[1]) == (True, True)


async def test_who_lost_the_service_renews_nothing(store, service, ledger, workload, before):
    await ledger.read(store)
    await store.command("SET", service.owner, "somebody/else")
    earlier = await entries(store, service)
    with pytest.raises(OwnedElsewhere):
        await ledger.refresh(store)
    assert await entries(store, service) == earlier


# The store's clock is set: `time_ms` is what the ledger takes it to have said at the last look

HOUR_MS = 3_600_000


@pytest.mark.parametrize("step", [HOUR_MS, -HOUR_MS], ids=["set ahead", "set back"])
async def test_when_the_stores_clock_was_set_each_moment_is_written_by_its_new_name(store, service, ledger, step):
    workload = Workload()
    workload.observe(replace(pod(1, "other"), ready=False, ready_changed=round(steady()) - 60.0), deleted=False)
    await ledger.read(store)
    ledger.time_ms -= step
    former = (await decided(store, ledger, workload, now=steady()))[1]
    await ledger.write(store, {1: former})
    assert ledger.clock_was_set
    later = (await decided(store, ledger, workload, now=steady()))[1]
    assert abs(later.unready_since - former.unready_since - step) < 1000
    assert abs(later.kubelet_behind - former.kubelet_behind - step) < 1000
    await ledger.write(store, {1: later})
    assert 1 not in await decided(store, ledger, workload, now=steady())
    successor = Ledger(service, OWNER)
    await successor.read(store)
    at = successor.situations(workload, Policy(), frozenset(), steady())[1]
    assert 0 <= at.now - at.memory.unready_since < 5


async def test_since_when_a_state_holds_is_written_by_its_new_name_too(store, service, ledger, workload, before):
    ledger.settle(0, before)
    await full_pass(store, ledger, workload)
    was = ledger.records[1].since
    ledger.time_ms -= HOUR_MS
    await ledger.write(store, {0: ledger.records[0]})  # it says what time it is
    ledger.time_ms += HOUR_MS
    ledger.clock_was_set = False
    decisions = await decided(store, ledger, workload, now=steady())
    assert abs(decisions[1].since - was - HOUR_MS) < 1000
    await ledger.write(store, decisions)
    assert ledger.clock_was_set, "the store's clock says something else again"


async def test_a_slow_answer_does_not_look_as_if_the_clock_had_been_set(store, ledger, monkeypatch):
    await ledger.read(store)
    answer = module.get_service

    async def late(*words):
        view = await answer(*words)
        now = time.monotonic()
        monkeypatch.setattr(module.time, "monotonic", lambda: now + 5)
        return view

    monkeypatch.setattr(module, "get_service", late)
    await ledger.read(store)
    assert not ledger.clock_was_set


async def test_a_pod_stops_until_its_hooks_time_is_over_by_the_operators_clock(
    store, service, ledger, workload, before
):
    ledger.settle(0, before)
    await full_pass(store, ledger, workload)
    await stop_pod(store, service, 1, "other", 90)
    await ledger.read(store)
    now = steady()
    assert (await decided(store, ledger, workload, now=now + 85))[1].reason is Reason.STOPPING
    ledger.time_ms += HOUR_MS
    decisions = await decided(store, ledger, workload, now=now + 85)
    assert decisions[1].reason is Reason.STOPPING
    await ledger.write(store, decisions)
    assert not ledger.stop_heard, "it knows what it has written"
    over = (await decided(store, ledger, workload, now=now + 95))[1]
    assert (over.reason, over.stops) == (Reason.READY, None)
    await ledger.write(store, {1: over})
    assert (await get_service(store, service)).pods[1].state.stops is None
