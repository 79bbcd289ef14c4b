"""A pod that has failed, as it stands in the store: what the scripts do where others have written, and on a Cluster."""

import json

import pytest

from stateful_route.domain.aliveness import Author
from stateful_route.domain.errors import AuthenticationFailed, OwnedElsewhere, StoreRejected
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.failed_pods import mark_failed, mark_recovered
from stateful_route.store.states import get_service, get_service_pod, set_state
from support.operator_records import record

SVC = "room"
READY, DENY, SHUTDOWN = RoutingState


@pytest.fixture
async def store(executor_here):
    return await executor_here.store()


async def fail(store, service, pod=0):
    return await mark_failed(store, service, pod, await get_service_pod(store, service, pod))


async def test_the_moment_is_the_server_s(store, service, raw):
    before = await raw.time()
    assert await fail(store, service) >= before[0] * 1000 + before[1] // 1000


async def test_a_failed_pod_is_failed_over_again_without_losing_its_own_word(store, service):
    await set_state(store, service, 0, READY, load=7, incarnation="pod/1")
    for _ in range(3):
        await fail(store, service)
    view = await get_service_pod(store, service, 0)
    assert (view.effective, view.record.reason, view.record.links) == (SHUTDOWN, Reason.POD_FAILURE, LinkAction.MOVE)
    assert (view.state.word, view.state.load, view.state.incarnation) == (READY, 7, "pod/1")
    assert await mark_recovered(store, service, 0)
    assert not await mark_recovered(store, service, 0)
    view = await get_service_pod(store, service, 0)
    assert (view.effective, view.record, view.state.author) == (READY, None, Author.APP)
    assert (view.state.word, view.state.load, view.state.incarnation) == (READY, 7, "pod/1")


async def test_what_an_operator_has_left_behind_of_the_pod_is_kept(store, service, operate, raw):
    await operate({0: record(address="10.0.0.7:80", ever_ready=True)})
    await raw.delete(service.owner)
    await fail(store, service)
    known = (await get_service_pod(store, service, 0)).record
    assert (known.state, known.reason, known.address) == (SHUTDOWN, Reason.POD_FAILURE, "10.0.0.7:80")
    assert str(known.incarnation) == "pod/0"


async def test_the_owner_is_compared_in_the_same_step(store, service, raw):
    view = await get_service_pod(store, service, 0)
    await fail(store, service)
    await raw.set(service.owner, "cluster/route")
    with pytest.raises(OwnedElsewhere, match="cluster/route"):
        await mark_failed(store, service, 1, view)
    with pytest.raises(OwnedElsewhere, match="cluster/route"):
        await mark_recovered(store, service, 0)
    assert await raw.hkeys(service.records) == ["0"]


async def test_who_may_not_write_records_writes_nothing(service, raw, server, executor_here):
    """The permissions of callers and pods (docs/tenants.md), as far as they matter here."""
    await executor_here.set_service_state(service.namespace, SVC, 0, "READY")
    before = await raw.hgetall(service.states)
    rights = ("on", ">change-me", f"~{service.states}", "~*#ev", "~*#own", "%R~*", "&*", "+@all")
    await raw.execute_command("ACL", "SETUSER", "tenant", "reset", *rights)
    try:
        async with StatefulExecutor.from_url(f"redis://tenant:change-me@127.0.0.1:{server.port}") as tenant:
            with pytest.raises(AuthenticationFailed):
                await fail(await tenant.store(), service)
    finally:
        await raw.execute_command("ACL", "DELUSER", "tenant")
    assert await raw.hgetall(service.states) == before
    assert not await raw.exists(service.records)


ODD = {
    "no JSON": "READY",
    "no object": "[1]",
    "no state that we know": json.dumps({"state": 1, "routingState": "AWAKE", "updateTime": 1}),
}


@pytest.mark.parametrize("sentence", ODD)
async def test_a_state_record_that_does_not_parse_is_left_as_it_is(store, service, raw, sentence):
    await raw.hset(service.states, "0", ODD[sentence])
    await fail(store, service)
    assert (await get_service_pod(store, service, 0)).effective is SHUTDOWN
    assert await mark_recovered(store, service, 0)
    assert await raw.hget(service.states, "0") == ODD[sentence]


async def test_a_foreign_client_that_writes_meanwhile_is_heard_when_the_pod_recovers(store, service, raw):
    for word in ("READY", "DENY_NEW_CALL"):
        await raw.hset(service.states, "0", json.dumps({"state": 1, "routingState": "READY", "updateTime": 1}))
        await fail(store, service)
        text = json.dumps({"state": 2, "routingState": word, "updateTime": 2})
        await raw.hset(service.states, "0", text)
        await mark_recovered(store, service, 0)
        assert await raw.hget(service.states, "0") == text


async def test_a_stream_of_another_type_is_found_before_anything_is_written(store, service, raw):
    await set_state(store, service, 0, READY)
    await fail(store, service)
    await raw.delete(service.changes)
    await raw.set(service.changes, "no stream")
    with pytest.raises(StoreRejected) as refused:
        await mark_recovered(store, service, 0)
    assert "WRONGTYPE" in str(refused.value) or "wrong kind" in str(refused.value)
    assert (await get_service(store, service)).pods[0].record is not None


async def test_on_a_cluster_too_a_failed_pod_s_uids_move(cluster, manage, colour):
    managing, namespace = await manage(cluster.url), f"games-{colour}"
    uids = [f"user-{number}" for number in range(60)]
    async with StatefulExecutor.from_url(cluster.url) as links:
        for pod in range(3):
            await links.set_service_state(namespace, SVC, pod, "READY")
        await links.set_links_if_absent(namespace, uids, SVC, 0, 300)
        event = await managing.manager.handle_pod_failure(namespace, SVC, 0)
        assert event.moved == {1: 30, 2: 30}
        assert set(await links.batch_get_linked_pod(namespace, uids, SVC)) == {1, 2}
        assert (await managing.manager.route_request(namespace, "new", SVC, "LeastConnections")).pod in {1, 2}
        await managing.manager.recover_pod(namespace, SVC, 0)
        assert (await managing.manager.migrate_user(namespace, "new", SVC, 0)).target == 0
