"""Who owns a service: one operator writes it, another is told so, and what is left when it is given up."""

import json
from dataclasses import replace

import pytest

from stateful_route.domain.errors import OwnedElsewhere
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.links import set_link
from stateful_route.store.states import claim, get_service, release, remove_states, set_operator_states, set_state

READY, DENY, SHUTDOWN = RoutingState
MINE, OTHER = "cluster-1/route-1", "cluster-2/route-9"
CONFIG = {"heartbeat": "Auto", "expireSeconds": 60}


def decision(state=SHUTDOWN, reason=Reason.UNREADY_TOO_LONG):
    return OperatorRecord(state=state, reason=reason, incarnation=Incarnation("pod-a", 0), ever_ready=True)


async def test_who_claims_a_service_owns_it(store, raw, service):
    await claim(store, service, MINE, CONFIG)
    assert (await get_service(store, service)).owner == MINE
    assert await raw.hgetall(service.config) == {"heartbeat": "Auto", "expireSeconds": "60"}


async def test_a_mapping_in_the_configuration_is_written_as_json(store, raw, service):
    await claim(store, service, MINE, {"weights": {"0": 3}})
    assert json.loads(await raw.hget(service.config, "weights")) == {"0": 3}


async def test_the_owner_claims_again_with_another_configuration_and_old_fields_are_gone(store, raw, service):
    await claim(store, service, MINE, CONFIG)
    await claim(store, service, MINE, {"heartbeat": "Required"})
    assert await raw.hgetall(service.config) == {"heartbeat": "Required"}


async def test_a_second_owner_is_refused_and_nothing_is_written(store, service, contents):
    await claim(store, service, MINE, CONFIG)
    before = await contents()
    with pytest.raises(OwnedElsewhere, match="games/room") as caught:
        await claim(store, service, OTHER, {"heartbeat": "Ignored"})
    assert caught.value.owner == MINE
    assert await contents() == before


TAKE_OVER = {
    "an owner that begins so is displaced": ("cluster-1/", True),
    "the very owner is displaced": (MINE, True),
    "an owner of another cluster is not": ("cluster-2/", False),
    "a prefix is no pattern": ("cluster.1/", False),
    "nobody is": ("", False),
    "one that is longer is not": (MINE + "0", False),
}


@pytest.mark.parametrize("sentence", TAKE_OVER)
async def test_taking_over(sentence, store, service):
    prefix, displaced = TAKE_OVER[sentence]
    await claim(store, service, MINE, CONFIG)
    if displaced:
        await claim(store, service, OTHER, CONFIG, take_over=prefix)
    else:
        with pytest.raises(OwnedElsewhere):
            await claim(store, service, OTHER, CONFIG, take_over=prefix)
    assert (await get_service(store, service)).owner == (OTHER if displaced else MINE)


OWNERS = {"somebody else's": (OTHER, OTHER), "nobody's, the store was emptied": (None, "")}


@pytest.mark.parametrize("sentence", OWNERS)
async def test_who_does_not_own_a_service_writes_and_removes_nothing(sentence, store, service, contents):
    owner, said = OWNERS[sentence]
    if owner:
        await claim(store, service, owner, CONFIG)
    await set_state(store, service, 0, READY)
    before = await contents()
    with pytest.raises(OwnedElsewhere) as caught:
        await set_operator_states(store, service, MINE, {0: decision()})
    assert caught.value.owner == said
    with pytest.raises(OwnedElsewhere) as caught:
        await remove_states(store, service, MINE, [0])
    assert caught.value.owner == said
    assert await contents() == before


async def test_who_was_displaced_writes_nothing_more(store, service):
    await claim(store, service, MINE, CONFIG)
    await set_operator_states(store, service, MINE, {0: decision(READY, Reason.READY)})
    await claim(store, service, OTHER, CONFIG, take_over="cluster-1/")
    with pytest.raises(OwnedElsewhere):
        await set_operator_states(store, service, MINE, {0: decision(SHUTDOWN)})
    assert (await get_service(store, service)).pods[0].record.state is READY


async def test_a_stranger_releases_nothing(store, service, contents):
    await claim(store, service, MINE, CONFIG)
    await set_operator_states(store, service, MINE, {0: decision()})
    before = await contents()
    assert await release(store, service, OTHER) is False
    assert await contents() == before


async def test_a_service_that_nobody_owns_cannot_be_released(store, service):
    assert await release(store, service, MINE) is False


FOREIGN = '{"state":7,"routingState":"DENY_NEW_CALL","updateTime":1700000000001,"big":12345678901234567890}'


async def test_what_is_ours_goes_and_apps_get_their_own_word_back(store, raw, service, wakeups):
    await claim(store, service, MINE, CONFIG)
    await set_state(store, service, 0, READY)
    await raw.hset(service.states, "1", FOREIGN)
    await set_operator_states(store, service, MINE, {ordinal: decision() for ordinal in range(3)})
    assert {json.loads(text)["routingState"] for text in await raw.hvals(service.states)} == {"SHUTDOWN"}
    await set_link(store, service, "ada", 0)
    links = {service.link("ada"), service.links("ada"), service.index(service.bucket("ada"))}
    await wakeups()
    assert await release(store, service, MINE) is True
    assert await wakeups() == ["ev"]
    assert set(await raw.keys()) == {service.states} | links
    assert set(await raw.hkeys(service.states)) == {"0", "1"}
    app = json.loads(await raw.hget(service.states, "0"))
    assert (app["routingState"], app["app"]) == ("READY", "READY")
    assert await raw.hget(service.states, "1") == FOREIGN
    view = await get_service(store, service)
    assert view.owner is None
    assert {ordinal: pod.effective for ordinal, pod in view.pods.items()} == {0: READY, 1: DENY}


async def test_a_pod_that_is_gone_leaves_no_state_behind(store, raw, service):
    await claim(store, service, MINE, CONFIG)
    await set_state(store, service, 0, READY)
    await set_operator_states(store, service, MINE, {0: decision(SHUTDOWN, Reason.GONE)})
    await release(store, service, MINE)
    assert await raw.keys() == []


async def test_a_foreign_app_that_has_not_spoken_since_its_restart_is_left_ready(store, raw, service):
    await claim(store, service, MINE, CONFIG)
    await raw.hset(service.states, "0", FOREIGN)
    await set_operator_states(store, service, MINE, {0: decision()})
    await set_operator_states(store, service, MINE, {0: replace(decision(), incarnation=Incarnation("pod-b", 0))})
    await release(store, service, MINE)
    assert await raw.hget(service.states, "0") == FOREIGN.replace("DENY_NEW_CALL", "READY")


RELEASED = {
    "a record that does not parse": ("hello", "hello"),
    "a routing state that is named twice": (
        '{"routingState":"READY","was":{"routingState":"READY"}}',
        {"routingState": "READY", "was": {"routingState": "READY"}},
    ),
    "null for our fields": (
        '{"routingState":"READY","app":null,"op":null}',
        {"routingState": "READY", "app": None, "op": None},
    ),
}


@pytest.mark.parametrize("sentence", RELEASED)
async def test_an_odd_record_gets_its_word_back_too(sentence, store, raw, service):
    text, expected = RELEASED[sentence]
    await claim(store, service, MINE, CONFIG)
    await raw.hset(service.states, "0", text)
    await set_operator_states(store, service, MINE, {0: decision()})
    await release(store, service, MINE)
    left = await raw.hget(service.states, "0")
    assert (left if isinstance(expected, str) else json.loads(left)) == expected


async def test_a_record_of_somebody_else_in_our_hash_stops_no_release(store, raw, service):
    await claim(store, service, MINE, CONFIG)
    await set_state(store, service, 0, READY)
    await raw.hset(service.records, "0", "hello")
    assert await release(store, service, MINE) is True
    assert await raw.keys() == [service.states]


async def test_what_was_told_of_moves_stays_when_a_service_is_claimed_again_at_once(store, raw, service):
    await claim(store, service, MINE, CONFIG)
    await release(store, service, MINE, keep_moves_seconds=60)
    assert await raw.ttl(service.moves) > 0
    await claim(store, service, OTHER, CONFIG)
    assert await raw.ttl(service.moves) == -1


async def test_a_released_service_can_be_claimed_by_another(store, service):
    await claim(store, service, MINE, CONFIG)
    await release(store, service, MINE)
    await claim(store, service, OTHER, CONFIG)
    assert (await get_service(store, service)).owner == OTHER
