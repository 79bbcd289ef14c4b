"""The ACLs of docs/tenants.md: a tenant can do all of its work, and reaches nothing of another's."""

import re
import shlex
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import exceptions as rx
from redis.asyncio import Redis

from stateful_route.domain.errors import AuthenticationFailed, StatefulRouteError
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store import archive, index, migrate, states
from stateful_route.store.archive import StoredLink, Workload
from stateful_route.store.connection import Store
from stateful_route.store.executor import SCRIPTS, StatefulExecutor
from stateful_route.store.keys import META, Service
from stateful_route.store.layout import check_layout
from stateful_route.store.links import Candidates, set_link_call
from stateful_route.store.migrate import Batch
from stateful_route.store.ownership import adopt
from stateful_route.store.scripts import script

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "tenants.md").read_text()
ROLES = ("app", "operator")
OWNER = "cluster/route"
CALLERS_SCRIPTS = {*SCRIPTS, "listLinks", "countLinks", "migrateLinks", "appendMoves", "repairLinks", "trimMoves"}
CALLERS_SCRIPTS |= {"statefulStopPod"}  # of a preStop hook
PAIRS = [("a", "ab"), ("ab", "a"), ("abc", "ab"), ("games", "games-2"), ("a*", "ab"), ("[ab]", "a"), ("x?", "xy")]


def documented(role: str, namespace: str = "games") -> list[str]:
    """The words of ACL SETUSER, as the page has them, for a namespace."""
    (block,) = (
        text for text in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) if f"-{role} " in text
    )
    words = shlex.split(block.replace("\\\n", " "))
    assert words[:3] == ["valkey-cli", "ACL", "SETUSER"]
    escaped = re.sub(r"([*?\[\]\\])", r"\\\1", namespace)
    return ["tenant" if word == f"games-{role}" else word.replace("games", escaped) for word in words[3:]]


def commands(role: str) -> set[str]:
    """Those that a role may use, in capitals."""
    return {name.upper() for word in documented(role) for name in re.findall(r"\+([a-z|]+)", word)}


def called_by(name: str) -> set[str]:
    text = script(name).source
    return set(re.findall(r"redis\.p?call\('([A-Z]+)'", text))


def test_each_role_may_use_every_command_that_its_scripts_call():
    every = {path.stem for path in (REPO / "lua").glob("*.lua")}
    assert every > CALLERS_SCRIPTS
    for role, scripts in [("app", CALLERS_SCRIPTS), ("operator", every)]:
        assert {command for name in scripts for command in called_by(name)} - commands(role) == set()


def test_no_role_may_use_what_shows_or_ends_others_work():
    for role in ROLES:
        assert not {
            word for word in documented(role) if word.startswith(("+@", "allkeys", "allcommands", "allchannels"))
        }
        assert (
            commands(role) & {"KEYS", "RANDOMKEY", "FLUSHALL", "SCRIPT", "CONFIG", "ACL", "MONITOR", "CLIENT"} == set()
        )
    assert "SCAN" not in commands("app")


@pytest.fixture
def tenant(server, raw, connect):
    """Our client as the user of a role and namespace, on a store whose layout an administrator has written."""

    @asynccontextmanager
    async def log_in(role, namespace="games"):
        await raw.hset(META, "layout", "1")
        await raw.execute_command("ACL", "SETUSER", *documented(role, namespace))
        await raw.execute_command("ACL", "LOG", "RESET")
        try:
            yield connect(f"redis://tenant:change-me@127.0.0.1:{server.port}")
        finally:
            await raw.execute_command("ACL", "DELUSER", "tenant")

    return log_in


async def refusals(client):
    """What the server has refused, but for the greeting of redis-py that Redis 7.0 does not know and nobody misses."""
    return [entry for entry in await client.acl_log() if entry["object"] != "client|setinfo"]


async def everything_of_an_app(url, namespace, *, walks=True):
    """Each operation of the executor at least once; the names of those that were used.

    ``walks``: also those that ask all buckets, which takes a Cluster seconds and needs no other commands there.
    """
    used = set()

    class Recorded:
        def __init__(self, executor):
            self._executor = executor

        def __getattr__(self, name):
            used.add(name)
            return getattr(self._executor, name)

    async with StatefulExecutor.from_url(url) as executor:
        it, of = Recorded(executor), (namespace, "ada", "room")
        candidates = Candidates({1: 0.0, 2: 0.0}, frozenset())
        await it.set_service_state(namespace, "room", 1, RoutingState.READY, load=3)
        assert await it.get_service_state(namespace, "room")
        assert await it.get_service_pod_state(namespace, "room", 1)
        await it.set_workload_state(namespace, "room", "open")
        assert await it.get_workload_state(namespace, "room") == "open"
        assert await it.get_workload_states(namespace, ["room"]) == {"room": "open"}
        assert await it.set_linked_pod(*of, 1) is None
        assert await it.try_set_linked_pod(*of, 1, 300) == (True, 1)
        assert await it.set_linked_pod_if_absent(*of, 2, 300) == 1
        assert await it.compute_linked_pod_if_absent(*of, candidates, 300) == 1
        assert await it.get_linked_pod(*of) == 1
        await it.get_linked_pod_if_persist(*of)
        assert await it.batch_get_linked_pod(namespace, ["ada"], "room") == {1: ["ada"]}
        assert await it.get_link_service(namespace, "ada") == {"room": 1}
        assert await it.remove_linked_pod(*of, 60)
        await it.remove_linked_pod_with_id(*of, 1)
        await it.set_link(*of, 1)
        link = await it.get_link(*of)
        assert await it.is_owner(*of, 1, link.epoch)
        await it.try_set_link(*of, 1)
        await it.set_link_if_absent(*of, 1, 300)
        await it.compute_link_if_absent(*of, candidates, 300)
        await it.get_link_if_persist(*of)
        for replies in (
            await it.get_links(namespace, ["ada", "bob"], "room"),
            await it.set_links_if_absent(namespace, ["bob"], "room", 1, 300),
            await it.compute_links_if_absent(namespace, ["eve"], "room", candidates, 300),
            await it.remove_links(namespace, ["eve"], "room"),
        ):
            assert not replies.failed
        if walks:
            assert [page async for page in it.links_of_pod(namespace, "room", 1)]
            assert (await it.count_links(namespace, "room"))[1] >= 2
        batch = Batch(Service(namespace, "room").bucket("bob"), ["bob"], [2])
        assert (await it.migrate(namespace, "room", 1, [batch], reason="Drill"))[0].moved
    return used


OWN_AFFAIRS = {"from_url", "close", "store", "meter"}


async def test_an_app_can_use_every_operation_of_the_executor(tenant, raw):
    operations = {name for name in vars(StatefulExecutor) if not name.startswith("_")}
    async with tenant("app") as store:
        url = f"redis://tenant:change-me@{store.label.rpartition('@')[2]}"
        used = await everything_of_an_app(url, "games")
        assert await refusals(raw) == []
    assert operations - used - OWN_AFFAIRS - {"repair", "rebuild"} == set()


async def everything_of_an_operator(store, service, *, walks=True):
    record = OperatorRecord(state=RoutingState.READY, reason=Reason.READY, incarnation=Incarnation("p", 0))
    await check_layout(store)
    await states.claim(store, service, OWNER, {"heartbeat": "Auto"})
    await states.set_operator_states(store, service, OWNER, {0: record, 1: record})
    await states.set_operator_states(store, service, OWNER, {0: record})
    assert (await states.get_service(store, service)).owner == OWNER
    assert await states.remove_states(store, service, OWNER, [1]) == 1
    replies = await store.run_many([set_link_call(service, f"user-{number}", number % 2) for number in range(20)])
    assert not [reply for reply in replies if isinstance(reply, StatefulRouteError)]
    (result,) = await migrate.migrate(store, service, 0, [Batch(service.bucket("user-0"), ["user-0"], [1])])
    await migrate.append_moves(store, service, 0, "Drill", result.moved, OWNER)
    await index.repair_service(store, service, foreign=True, index=walks, keys_per_second=float("inf"))
    if walks:
        await walk_all_buckets(store, service)
    await archive.import_links(store, [StoredLink(service, "eve", 1)], overwrite=True)
    await archive.import_workload(store, Workload(service, "open"), overwrite=False)
    await adopt(store, service, OWNER, "other/route")
    await adopt(store, service, "other/route", OWNER)
    assert await states.release(store, service, OWNER)
    if walks:
        assert (await index.purge(store, service)).deleted == 21


async def walk_all_buckets(store, service):
    await index.rebuild(store, service, keys_per_second=float("inf"))
    assert "room" in await archive.services(store, service.namespace)
    found = [entry async for portion in archive.export(store, service) for entry in portion.entries]
    assert len(found) == 20
    assert await index.count_links(store, service) == {0: 9, 1: 11}
    assert [buckets async for buckets in index.links_of_pod(store, service, 0)]


async def test_an_operator_can_do_all_of_its_work(tenant, raw):
    async with tenant("operator") as store:
        await everything_of_an_operator(store, Service("games", "room"))
        assert await refusals(raw) == []


async def test_a_namespace_with_glob_characters_can_work_too(tenant, raw):
    async with tenant("operator", "a*[b]?") as store:
        await everything_of_an_operator(store, Service("a*[b]?", "room"))
        assert await refusals(raw) == []


async def test_no_tenant_may_write_the_layout(tenant, raw):
    for role in ROLES:
        async with tenant(role) as store:
            with pytest.raises(AuthenticationFailed):
                await store.command("HSET", META, "layout", "99")
            await raw.delete(META)
            with pytest.raises(AuthenticationFailed):
                await check_layout(store)


async def test_the_hook_of_a_pod_may_say_that_the_pod_stops(tenant, raw):
    async with tenant("app") as app:
        room = Service("games", "room")
        await states.set_state(app, room, 0, RoutingState.READY, incarnation="pod-a/0")
        assert await states.stop_pod(app, room, 0, "pod-a", 90) is RoutingState.DENY_NEW_CALL
        assert await refusals(raw) == []


async def test_an_app_may_not_write_what_is_the_operators(tenant, store, contents):
    service = Service("games", "room")
    await states.claim(store, service, OWNER, {"heartbeat": "Auto"})
    async with tenant("app") as app:
        before = await contents()
        for key in (service.owner, service.records, service.config):
            for words in (
                ("DEL", key),
                ("SET", key, "x"),
                ("HSET", key, "0", "x"),
                ("EVAL", "return redis.call('DEL', KEYS[1])", 1, key),
                ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, key),
            ):
                with pytest.raises(AuthenticationFailed):
                    await app.command(*words)
        with pytest.raises(AuthenticationFailed):
            await states.claim(app, service, "thief/route", {"heartbeat": "Ignored"}, take_over="cluster/")
        assert await contents() == before
        assert (await states.get_service(app, service)).owner == OWNER


ON_A_KEY = """
GET; MGET; EXISTS; TYPE; PTTL; PEXPIRETIME; HGETALL; HKEYS; HGET room; HMGET room; ZCARD; ZSCORE ada; ZRANGE 0 -1
XRANGE - +; XLEN; SET 1; DEL; EXPIRE 1; HSET room 1; HDEL room; ZADD 1 x; ZREM x; XADD * a b
DUMP; UNLINK; RENAME x; COPY x; APPEND x; GETDEL; PERSIST; WATCH
"""


def attempts(key):
    """What a tenant could try with somebody else's key, by its own commands or by a script."""
    for words in re.split(r"[;\n] ?", ON_A_KEY.strip()):
        name, *rest = words.split()
        yield (name, key, *rest)
    yield ("XREAD", "STREAMS", key, "0")
    yield ("RENAME", "sf:{mine}", key)
    yield ("OBJECT ENCODING", key)
    for call in ("redis.call('GET', k)", "redis.call('TYPE', k)", "redis.call('DEL', k)", "redis.call('SET', k, '1')"):
        yield ("EVAL", f"local k = KEYS[1] return {call}", 1, key)
        yield ("EVAL", f"local k = ARGV[1] return {call}", 0, key)
    yield ("EVAL", "return redis.call('PUBLISH', ARGV[1], 'ev')", 0, key + "#ch")


async def listens(client, how, channel):
    async with client.pubsub() as listener:
        await getattr(listener, how)(channel)
        return await listener.get_message(timeout=60)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
async def test_nothing_of_another_namespace_can_be_read_or_written(role, mine, theirs, tenant, raw, contents):
    other, port = Service(theirs, "room"), raw.connection_pool.connection_kwargs["port"]
    store = Store.from_url(f"redis://127.0.0.1:{port}")
    await states.claim(store, other, OWNER, {"heartbeat": "Auto"})
    await states.set_state(store, other, 1, RoutingState.READY)
    await store.run_many([set_link_call(other, uid, 1) for uid in ("ada", f"x:ix:{mine}:room")])
    await migrate.append_moves(store, other, 1, "Drill", [migrate.Moved("ada", 2, 1)])
    await raw.set(other.workload, "open")
    await store.close()
    keys = await raw.keys()
    assert {await raw.type(key) for key in keys} == {"string", "hash", "zset", "stream"}
    async with tenant(role, mine), Redis(port=port, username="tenant", password="change-me") as intruder:
        before = await contents()
        for key in keys:
            for words in attempts(key):
                with pytest.raises(
                    (rx.NoPermissionError, rx.ResponseError),
                    match=r"(?i)no permission|NOPERM|ACL|user executing the script can't",
                ):
                    await intruder.execute_command(*words)
        for how in ("subscribe", "ssubscribe", "psubscribe"):
            with pytest.raises(rx.NoPermissionError):
                await listens(intruder, how, other.channel)
        for how in ("PUBLISH", "SPUBLISH"):
            with pytest.raises(rx.NoPermissionError):
                await intruder.execute_command(how, other.channel, "ev")
        assert await contents() == before


def crafted(mine, theirs):
    """Keys by which a tenant could hope to be in two namespaces at once."""
    tag = "0Ab"
    return [
        f"sf:{{{theirs}:lk:x}}ix:{mine}:room",
        f"sf:{{{theirs}:x}}ix:{mine}:room",
        f"sf:{{{theirs}:}}ix:{mine}:room",
        f"sf:{{{theirs}}}ix:{mine}:room",
        f"sf:{{{tag}}}ix:{theirs}:ix:{mine}:room",
        f"sf:{{{tag}}}ix:{theirs}:}}ix:{mine}:room",
        f"sf:{{{tag}}}ix:{mine}",
        f"sf:{{{theirs}:state:{mine}}}",
        f"sf:{{{theirs}:state:x}}sf:{{{mine}:state:x}}",
        f"sf:{{{mine}{theirs}:lk:x}}room",
        f" sf:{{{mine}:lk:x}}room",
        f"SF:{{{mine.upper()}:LK:x}}room",
        f"sf:{{\n:lk:x}}{mine}",
    ]


@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
async def test_no_crafted_key_is_in_two_namespaces(mine, theirs, raw):
    """By the server's own word, for both roles of both namespaces."""

    async def may(role, namespace, key):
        user = await raw.execute_command("ACL", "SETUSER", *documented(role, namespace))
        assert user in {"OK", True}
        try:
            return await raw.execute_command("ACL", "DRYRUN", "tenant", "GET", key) in {"OK", True, b"OK"}
        finally:
            await raw.execute_command("ACL", "DELUSER", "tenant")

    for role in ROLES:
        for one, other in ((mine, theirs), (theirs, mine)):
            service = Service(one, "room")
            own = [service.link("ada"), service.index(service.bucket("ada")), service.states, service.records]
            for key in (*own, *crafted(one, other), *crafted(other, one)):
                assert not (await may(role, one, key) and await may(role, other, key)), key
            assert [key for key in own if not await may(role, one, key)] == []


async def test_scan_shows_names_and_that_is_why_an_app_has_none(tenant, store, raw):
    await raw.set("sf:{other:lk:ada}room", "1")
    async with tenant("operator") as operator:
        assert b"sf:{other:lk:ada}room" in [key async for key in operator.scan("*", 100)]
    async with tenant("app") as app:
        with pytest.raises(AuthenticationFailed):
            await index.repair_service(app, Service("games", "room"), foreign=True, index=False)


async def test_both_roles_work_on_a_cluster(start_server, connect, eventually):
    server = start_server("--cluster-enabled", "yes")
    async with Redis(port=server.port, decode_responses=True) as admin:
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def is_complete():
            return (await admin.execute_command("CLUSTER INFO"))["cluster_state"] == "ok"

        await eventually(is_complete)
        await admin.hset(META, "layout", "1")
        for role in ROLES:
            await admin.execute_command("ACL", "SETUSER", *documented(role))
            url = f"redis+cluster://tenant:change-me@127.0.0.1:{server.port}"
            if role == "app":
                await everything_of_an_app(url, "games", walks=False)
                await admin.execute_command("FLUSHALL")
                await admin.hset(META, "layout", "1")
            else:
                await everything_of_an_operator(connect(url), Service("games", "room"), walks=False)
            assert await refusals(admin) == []
