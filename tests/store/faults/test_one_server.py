"""One server that stops, is full, is held up, loses its scripts, is emptied or restored, while all write."""

import asyncio
import shutil

import pytest
import redis

from stateful_route.domain.errors import StoreRejected, StoreUnavailable
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates
from stateful_route.store.migrate import Batch
from support.tcp_proxy import TcpProxy

NS, SVC = "games", "room"
LONG_SCRIPT = "while true do end"


@pytest.fixture
def own(start_server):
    """A server of this test's own, and a plain client that may do what a test must not do to the session's."""
    server = start_server("--enable-debug-command", "yes")
    with redis.Redis(port=server.port, decode_responses=True) as client:
        yield server, client


async def test_a_server_that_stands_still_for_seconds(own, writers, all_is_well):
    server, _ = own
    async with await writers(server.url) as load:
        server.pause()
        try:
            await load.fail(20)
        finally:
            server.resume()
        await load.go_on()
    assert {name for name, _ in load.failures} == {"StoreUnavailable"}
    await all_is_well(load, server.url)


async def test_without_memory_all_writes_are_refused_and_none_is_half_done(own, writers, all_is_well, executors):
    server, client = own
    async with await writers(server.url) as load:
        client.config_set("maxmemory", 1)
        await load.fail(40)
        (executor,) = await executors(server.url, 1)
        for write in (
            executor.set_link(NS, "new", SVC, 1),
            executor.try_set_link(NS, "new", SVC, 1),
            executor.set_link_if_absent(NS, "new", SVC, 1, 300),
            executor.compute_link_if_absent(NS, "new", SVC, Candidates({1: 1}), 300),
        ):
            with pytest.raises(StoreRejected, match="maxmemory") as caught:
                await write
            assert not caught.value.maybe_written
        assert await executor.get_link(NS, "new", SVC) is None
        assert await executor.get_link_service(NS, "new") == {}
        client.config_set("maxmemory", 0)
        await load.go_on()
    assert set(load.failures) <= {("StoreRejected", False), ("StoreRejected", True)}
    await all_is_well(load, server.url)


async def test_a_foreign_script_that_does_not_end_is_killed(own, writers, all_is_well, until):
    server, client = own
    client.config_set("busy-reply-threshold", 50)
    async with await writers(server.url) as load:
        foreign = asyncio.create_task(asyncio.to_thread(redis.Redis(port=server.port).eval, LONG_SCRIPT, 0))
        try:
            await load.fail(8)
        finally:
            await until(lambda: killed(client), "the script can be killed")
        with pytest.raises(redis.ResponseError, match=r"killed|terminated"):
            await foreign
        await load.go_on()
    assert {name for name, _ in load.failures} == {"StoreUnavailable"}
    await all_is_well(load, server.url)


def killed(client):
    try:
        return client.script_kill()
    except redis.ResponseError:
        return None


async def test_scripts_that_are_flushed_again_and_again_are_sent_again(own, writers, all_is_well):
    server, client = own
    async with await writers(server.url) as load:
        for _ in range(20):
            client.script_flush()
            await load.go_on(5)
    assert not load.failures
    await all_is_well(load, server.url, flushed=20)


async def test_no_epoch_falls_when_everything_is_deleted_and_written_anew(own, writers, report, executors):
    server, client = own
    async with await writers(server.url, shared=0) as load:
        client.flushall()
        await load.go_on()
    (looker,) = await executors(server.url, 1)
    count = await load.settle(looker)
    report(acknowledged=count.acknowledged, deleted=count.lost, fallen=count.fallen)
    assert count.lost > 0, "FLUSHALL came while they wrote"
    assert (count.forged, count.fallen) == (0, 0)
    indexed, linked = await load.everywhere(looker)
    assert indexed == linked


async def test_no_epoch_falls_when_an_old_snapshot_is_restored(own, writers, report, executors, tmp_path):
    """The copy is made while all write, and the server starts with it after a crash."""
    server, client = own
    async with await writers(server.url, shared=0) as load:
        client.save()
        folder, name = client.config_get("dir")["dir"], client.config_get("dbfilename")["dbfilename"]
        shutil.copy(f"{folder}/{name}", tmp_path / "old.rdb")
        await load.go_on(100)
        server.kill()
        shutil.copy(tmp_path / "old.rdb", f"{folder}/{name}")
        server.start()
        await load.go_on()
    (looker,) = await executors(server.url, 1)
    count = await load.settle(looker)
    report(acknowledged=count.acknowledged, gone_with_the_old_state=count.lost, fallen=count.fallen)
    assert count.lost > 0, "there were writes behind the snapshot"
    assert (count.forged, count.fallen) == (0, 0)
    indexed, linked = await load.everywhere(looker)
    assert indexed == linked


async def test_connections_that_are_cut_in_the_middle_of_a_reply(own, writers, all_is_well, eventually):
    server, _ = own
    async with TcpProxy(server.port) as proxy:

        async def often_cut():
            return proxy.cuts >= 20

        async with await writers(f"redis://127.0.0.1:{proxy.port}") as load:
            proxy.cut_share = 0.02
            await load.fail(20)
            await eventually(often_cut)  # one cut may fail several calls that shared a round trip
            proxy.cut_share = 0
            await load.go_on()
        assert {name for name, _ in load.failures} == {"StoreUnavailable"}
        await all_is_well(load, server.url, cuts=proxy.cuts)


async def test_an_attempt_that_may_have_written_is_told_although_the_last_one_could_not_connect(own, executors):
    server, _ = own
    async with TcpProxy(server.port) as proxy:
        (executor,) = await executors(f"redis://127.0.0.1:{proxy.port}", 1)
        await executor.set_link_if_absent(NS, "somebody", SVC, 1, 300)  # the server has the script
        proxy.cut_share, proxy.refusing = 1, True
        with pytest.raises(StoreUnavailable) as caught:
            await executor.set_link_if_absent(NS, "ada", SVC, 1, 300)
        assert caught.value.maybe_written
        with pytest.raises(StoreUnavailable) as caught:
            (await executor.set_links_if_absent(NS, ["bob"], SVC, 1, 300)).all()
        assert not caught.value.maybe_written
    (direct,) = await executors(server.url, 1)
    assert (await direct.get_link(NS, "ada", SVC)).ordinal == 1
    assert await direct.get_link(NS, "bob", SVC) is None


async def test_a_move_that_could_not_be_told_may_have_been_made(own, executors):
    """The stream is a foreign client's text: the links move before it is found."""
    server, client = own
    service = Service(NS, SVC)
    client.set(service.moves, "something else")
    (executor,) = await executors(server.url, 1)
    await executor.set_link(NS, "ada", SVC, 1)
    with pytest.raises(StoreRejected, match="WRONGTYPE") as caught:
        await executor.migrate(NS, SVC, 1, [Batch(service.bucket("ada"), ["ada"], [2])], reason="Test")
    assert caught.value.maybe_written
    assert (await executor.get_link(NS, "ada", SVC)).ordinal == 2


async def test_a_repeat_may_link_anew_what_was_removed_meanwhile_and_tells_that_link(own, executors, eventually):
    """Why the shared uids are written without repeats: the call has had two effects, the answer is of the second."""
    server, _ = own
    (direct,) = await executors(server.url, 1)
    async with TcpProxy(server.port) as proxy:
        (executor,) = await executors(f"redis://127.0.0.1:{proxy.port}", 1)
        await executor.set_link_if_absent(NS, "somebody", SVC, 1, 300)
        proxy.cut_share = 1
        calling = asyncio.create_task(executor.set_link_if_absent(NS, "ada", SVC, 1, 300))
        await eventually(lambda: direct.remove_linked_pod(NS, "ada", SVC))
        proxy.cut_share = 0
        assert await calling == await direct.get_link(NS, "ada", SVC)
