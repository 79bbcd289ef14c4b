"""Speaking to Redis: URLs without passwords, lost scripts, and an error of ours for each thing that can go wrong."""

import asyncio
import socket
import time
import traceback
from contextlib import ExitStack

import pytest
from redis.asyncio import Redis

from stateful_route.domain.errors import (
    AuthenticationFailed,
    InvalidArgument,
    StatefulRouteError,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
)
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.failures import FAILURES
from stateful_route.store.index import linked_uids
from stateful_route.store.keys import Service
from stateful_route.store.links import get_link, set_link, set_link_call
from stateful_route.store.patience import PatientStore
from stateful_route.store.scripts import Call, script
from stateful_route.store.urls import SCHEMES, redacted

SERVICE = Service("games", "room")
UID = "ada"

REDACTED = {
    "no password": ("redis://h:6379/0", "redis://h:6379/0"),
    "a user alone, which may be a password": ("redis://s3cret@h", "redis://***@h"),
    "a password": ("redis://:s3cret@h:6379/0", "redis://:***@h:6379/0"),
    "a user and a password": ("rediss://ada:s3cret@h", "rediss://ada:***@h"),
    "an at sign in it": ("redis://ada:s3cret@s3cret@h", "redis://ada:***@h"),
    "a colon in it": ("redis://ada:s3cret:s3cret@h", "redis://ada:***@h"),
    "slashes in it": ("redis://ada:s3c/ret@h", "redis://ada:***@h"),
    "a scheme's slashes in it": ("redis://ada:s3cret://s3cret@h", "redis://ada:***@h"),
    "a question mark in it": ("redis://ada:s3cret?s3cret@h", "redis://ada:***@h"),
    "percent signs in it": ("redis://:s3cret%40x@h", "redis://:***@h"),
    "many hosts": ("redis+cluster://ada:s3cret@a:1,b:2", "redis+cluster://ada:***@a:1,b:2"),
    "a path to a socket": ("unix://ada:s3cret@/run/redis.sock?db=1", "unix://ada:***@/run/redis.sock?db=1"),
    "a password among the options": ("redis://h/0?password=s3cret&db=1", "redis://h/0?password=***&db=1"),
    "one more in capitals": ("redis://h/0?db=1&PASSWORD=s3cret", "redis://h/0?db=1&PASSWORD=***"),
    "a key's password": ("rediss://h?ssl_password=s3cret", "rediss://h?ssl_password=***"),
    "an at sign in an option": ("redis://h?password=s3cret@s3cret", "redis://h?password=***"),
    "in both places": ("redis://u:s3cret@h?password=s3cret", "redis://u:***@h?password=***"),
    "no URL": ("s3cret", "***"),
    "nothing": ("", ""),
    "a login without a scheme": ("ada:s3cret@h", "***"),
    "what would be a setting's value elsewhere": ("redis://h?auth=s3cret", "redis://h?***"),
    "credentials that do not exist": ("redis://h?db=1&credential=s3cret", "redis://h?db=1&***"),
    "a Sentinel's password": (
        "redis+sentinel://a,b:2/main/3?sentinel_password=s3cret&sentinel_ssl=yes",
        "redis+sentinel://a,b:2/main/3?sentinel_password=***&sentinel_ssl=yes",
    ),
    "a name and a file": (
        "rediss://h?client_name=s3cret&ssl_keyfile=/s3cret",
        "rediss://h?client_name=***&ssl_keyfile=***",
    ),
    "a password in place of a number": ("redis://h?db=s3cret", "redis://h?db=***"),
    "a password in place of yes or no": ("rediss://h?ssl_check_hostname=s3cret", "rediss://h?ssl_check_hostname=***"),
    "a setting without a name": ("redis://h?s3cret", "redis://h?***"),
    "an & in a password": ("redis://h?password=s3cret&s3cret=s3cret", "redis://h?password=***&***"),
    "a # in a password": ("redis://:s3cret#s3cret@h", "redis://:***@h"),
    "a # in a setting": ("redis://h?password=s3cret#s3cret", "redis://h?password=***#***"),
    "a space in a setting": ("redis://h?password=s3cret s3cret", "redis://h?password=***"),
    "a name that is %-encoded": ("redis://h?pass%77ord=s3cret", "redis://h?***"),
    "a password that begins like a port": ("redis://:12/s3cret@h", "redis://:***@h"),
    "one with a user": ("redis://ada:12?s3cret@h", "redis://ada:***@h"),
    "a user with an empty password": ("redis://s3cret:@h", "redis://***@h"),
    "a user whose password is in a file": ("redis://ada@h?password_file=/s3c", "redis://ada@h?password_file=***"),
    "a user whose password is a setting": ("redis://ada@h?db=1&password=s3c", "redis://ada@h?db=1&password=***"),
    "a user alone, with a password for Sentinels": (
        "redis+sentinel://s3cret@h/main?sentinel_password=s3c",
        "redis+sentinel://***@h/main?sentinel_password=***",
    ),
    "a user alone, with an empty password": ("redis://s3cret@h?password=", "redis://***@h?password=***"),
    "a user alone with a question mark in it": ("redis://s3cret?s3cret@h", "redis://***@h"),
    "a comma in it, and no host": ("redis://ada:s3cret,s3cret", "redis://ada:***"),
    "at sign and slash": ("redis://ada:s3c@s3c/ret@h", "redis://ada:***@***"),
    "a host that was forgotten": ("redis://ada:s3cret", "redis://ada:***"),
    "a host that was forgotten, with a database": ("redis://ada:s3cret/0", "redis://ada:***/0"),
    "a database that is none": ("redis://h/s3cret", "redis://h/***"),
    "a Sentinel's database that is none": ("redis+sentinel://h/main/s3cret", "redis+sentinel://h/***"),
    "no port": ("redis://a:1,b:s3cret", "redis://a:1,b:***"),
    "IPv6": ("redis+cluster://ada:s3cret@[fd00::5]:1,[fd00::6]", "redis+cluster://ada:***@[fd00::5]:1,[fd00::6]"),
    "line breaks": ("redis://ada:s3c\nret@h\n", "redis://ada:***@h"),
    "an unknown scheme": ("valkey://ada:s3cret@h", "valkey://ada:***@h"),
    "a scheme alone": ("redis://", "redis://"),
}


@pytest.mark.parametrize("sentence", REDACTED)
def test_a_url_is_shown_without_its_password(sentence):
    url, shown = REDACTED[sentence]
    assert redacted(url) == shown
    assert "s3c" not in shown


@pytest.mark.parametrize("url", [url for url, _ in REDACTED.values()])
def test_whatever_comes_of_a_url_shows_no_password(url):
    try:
        shown = Store.from_url(url).label
    except InvalidArgument:
        shown = traceback.format_exc()
    shown = "\n".join(line for line in shown.splitlines() if not line.startswith("    "))  # without the source's lines
    assert "s3c" not in shown


BAD_URLS = {
    "another scheme": ("http://h", "must begin with one of: redis://, rediss://"),
    "no scheme": ("localhost:6379", "must begin with one of"),
    "nothing": ("", "must begin with one of"),
    "a port that is none": ("redis://h:port", "is not valid"),
    "a database that is none": ("redis://h?db=first", "is not valid"),
    "a Sentinel without a service": ("redis+sentinel://h:26379", "the name of the service that Sentinel watches"),
    "a Sentinel's database that is none": ("redis+sentinel://h:26379/main/first", "is not valid"),
    "another database": ("redis://h/first", "the number of a database"),
    "a host between brackets that is none": ("redis://[h]:1", "no IPv6 address"),
    "IPv6 without brackets, with a port": ("redis://::1:21000", r"in brackets: \[fd00::5\]:6379"),
    "IPv6 without brackets, with a zone": ("redis://fe80::1%25eth0:6379", r"in brackets: \[fd00::5\]:6379"),
    "IPv6 without brackets and all": ("redis://::", r"in brackets: \[fd00::5\]:6379"),
    "a host with two ports": ("redis://h:1:2", r"must be %-encoded"),
    "IPv6 without brackets": ("redis+cluster://fd00::5:6379", r"in brackets: \[fd00::5\]:6379"),
    "a host that is too long": (f"redis://{'x' * 64}", "cannot be one"),
    "a host with an empty part": ("redis+cluster://a..b", "cannot be one"),
    "a host with a space": ("redis://a%20b", "cannot be one"),
    "port 0": ("redis://h:0", "from 1 to 65535"),
    "a Cluster's port that is none": ("redis+cluster://a:x", "host and its port"),
    "several hosts for one server": ("redis://a:1,b:2", "redis\\+cluster"),
    "a database of a Cluster": ("redis+cluster://a/1", "database 0 alone"),
    "a socket without a path": ("unix://", "path of the socket"),
    "a socket behind two slashes": ("unix://run/valkey.sock", "three slashes"),
    "an @ in a setting": ("redis://h?password=p@ss", "@ behind the host"),
    "a # in a setting": ("redis://h?password=p#ss", "# is written as %23"),
    "a password twice": ("redis://:a@h?password=b", "password is given twice"),
    "a database twice": ("redis://h/1?db=2", "database is given twice"),
    "bytes that are no text": ("redis://:%FF@h", "no text in UTF-8"),
    "a Cluster without a host": ("redis+cluster://", "a host is missing"),
    "a host between commas that is none": ("redis+cluster://a:1,,b:2", "a host is missing"),
}


@pytest.mark.parametrize("sentence", BAD_URLS)
def test_a_url_that_cannot_be_used_is_refused(sentence):
    url, says = BAD_URLS[sentence]
    with pytest.raises(InvalidArgument, match=says):
        Store.from_url(url)


GOOD_URLS = [
    "redis://h",
    "redis://:pw@h:1/2?socket_keepalive=no",
    "redis://",
    " redis://h\n",
    "rediss://h",
    "unix:///run/redis.sock",
    "redis+cluster://a,b:2,[::1]:3",
    "rediss+cluster://user:p%40w@a",
    "redis+sentinel://a,b:26380/main",
    "rediss+sentinel://:pw@a/main/3",
]


def test_each_scheme_has_an_example():
    assert {url.strip().partition("://")[0] for url in GOOD_URLS} == set(SCHEMES)


@pytest.mark.parametrize("url", GOOD_URLS)
async def test_a_url_is_taken_and_nothing_is_connected_yet(url):
    store = Store.from_url(url)
    assert store.cluster is ("cluster" in url)
    assert store.publish == ("SPUBLISH" if store.cluster else "PUBLISH")
    await store.close()


async def test_a_unix_socket_and_a_database(start_server, connect, tmp_path):
    server = start_server("--unixsocket", str(tmp_path / "s"))
    store = connect(f"unix://{tmp_path}/s?db=3")
    await set_link(store, SERVICE, UID, 1)
    async with Redis(port=server.port, db=3) as raw:
        assert await raw.exists(SERVICE.link(UID))


# Scripts that a server has lost


async def test_a_script_is_sent_again_when_the_server_has_lost_it(store, raw):
    for pod in range(3):
        await raw.script_flush()
        await set_link(store, SERVICE, UID, pod)
    assert (await get_link(store, SERVICE, UID)).ordinal == 2


async def test_a_script_is_sent_once_and_run_by_its_hash_from_then_on(store, raw):
    await raw.script_flush()
    await set_link(store, SERVICE, UID, 1)
    await raw.config_resetstat()
    await set_link(store, SERVICE, UID, 2)
    counted = await raw.info("commandstats")
    assert counted["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in counted


async def test_scripts_that_were_lost_in_a_pipeline_are_sent_again_each_reply_in_its_place(store, raw):
    await set_link(store, SERVICE, "bob", 7)
    await raw.rpush(SERVICE.link("list"), "x")
    await raw.script_flush()
    getting = script("statefulGetLink")
    calls = [
        set_link_call(SERVICE, UID, 1),
        Call(getting, (SERVICE.link("bob"), SERVICE.index(SERVICE.bucket("bob"))), ("bob",)),
        Call(getting, (SERVICE.link("list"), SERVICE.index(SERVICE.bucket("list"))), ("list",)),
        set_link_call(SERVICE, UID, 2),
    ]
    first, bob, listed, second = await store.run_many(calls)
    assert first[0] == -1
    assert bob[0] == 7
    assert isinstance(listed, StoreRejected)
    assert second[0] == 1
    await raw.config_resetstat()
    await store.run_many(calls)
    assert "cmdstat_eval" not in await raw.info("commandstats")


async def test_in_a_pipeline_a_lost_script_runs_once_a_call(store, raw):
    await raw.script_flush()
    replies = await store.run_many([set_link_call(SERVICE, UID, pod) for pod in range(50)])
    assert [previous for previous, _ in replies] == [-1, *range(49)]


async def test_no_calls_no_replies(store):
    assert await store.run_many([]) == []
    assert await store.pipeline([]) == []


# What can go wrong, and what it is called


async def test_a_server_that_is_not_there(connect):
    store = connect("redis://127.0.0.1:1")
    for attempt in attempts(store):
        with pytest.raises(StoreUnavailable, match=r"^redis://127\.0\.0\.1:1: "):
            await attempt


def attempts(store):
    """Each way to speak to the store."""
    yield get_link(store, SERVICE, UID)
    yield store.run_many([set_link_call(SERVICE, UID, 1)])
    yield store.command("PING")
    yield scanned(store)


async def scanned(store):
    return [buckets async for buckets in linked_uids(store, SERVICE)]


async def test_a_server_that_does_not_answer_fails_within_the_timeout(start_server, connect):
    server = start_server()
    store = connect(server.url, timeout_seconds=0.2)
    await set_link(store, SERVICE, UID, 1)
    server.pause()
    for attempt in attempts(store):
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await attempt
        assert time.monotonic() - start < 1.0
    server.resume()
    assert (await get_link(store, SERVICE, UID)).ordinal == 1


async def test_many_calls_to_a_server_that_does_not_answer_all_fail_and_none_hangs(start_server, connect):
    server = start_server()
    store = connect(server.url, timeout_seconds=0.2, max_connections=4)
    await set_link(store, SERVICE, UID, 1)
    server.pause()
    start = time.monotonic()
    results = await asyncio.gather(*(get_link(store, SERVICE, UID) for _ in range(40)), return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    assert time.monotonic() - start < 2.0
    server.resume()
    assert (await get_link(store, SERVICE, UID)).ordinal == 1


async def test_more_calls_at_once_than_connections_wait_their_turn(server, raw, connect):
    store = connect(server.url, max_connections=3)
    results = await asyncio.gather(*(set_link(store, SERVICE, f"user-{n}", n % 7) for n in range(200)))
    assert len(results) == 200
    clients = [client for client in await raw.client_list() if "evalsha" in client["cmd"]]
    assert 1 <= len(clients) <= 3


async def test_a_call_for_which_no_connection_becomes_free_says_nothing_of_the_server(server, connect):
    store = connect(server.url, max_connections=1, timeout_seconds=0.2)
    pool = store._client.connection_pool
    taken = await pool.get_connection()
    for call in (set_link(store, SERVICE, UID, 1), store.command("PING")):
        with pytest.raises(StoreBusy, match="too many calls are under way") as told:
            await call
        assert not told.value.maybe_written
    await pool.release(taken)
    assert (await set_link(store, SERVICE, UID, 1)).previous is None


async def test_a_server_that_went_away_and_came_back_is_used_again(start_server, connect):
    server = start_server()
    store = connect(server.url)
    await set_link(store, SERVICE, UID, 1)
    server.stop()
    with pytest.raises(StoreUnavailable):
        await get_link(store, SERVICE, UID)
    server.start()
    assert await get_link(store, SERVICE, UID) is None


async def test_a_store_can_be_used_after_it_was_closed(store):
    await set_link(store, SERVICE, UID, 1)
    await store.close()
    assert (await get_link(store, SERVICE, UID)).ordinal == 1


async def test_a_call_that_was_given_up_leaves_its_reply_to_nobody_else(start_server, connect):
    server = start_server()
    store = connect(server.url, timeout_seconds=5, max_connections=2)
    for number in range(8):
        await set_link(store, SERVICE, f"user-{number}", number)
    server.pause()
    given_up = [asyncio.create_task(get_link(store, SERVICE, f"user-{number}")) for number in range(4)]
    await asyncio.wait(given_up, timeout=0.05)
    for task in given_up:
        task.cancel()
    await asyncio.wait(given_up)
    assert all(task.cancelled() for task in given_up)
    server.resume()
    links = await asyncio.gather(*(get_link(store, SERVICE, f"user-{number}") for number in range(8)))
    assert [link.ordinal for link in links] == list(range(8))


LOGINS = {
    "no password": ("", "redis://"),
    "a wrong password": (":wrong-pw@", "redis://:***@"),
    "a wrong user": ("nobody:pw@", "redis://nobody:***@"),
}


@pytest.mark.parametrize("sentence", LOGINS)
async def test_a_wrong_login_is_told_from_a_server_that_is_down(sentence, start_server, connect):
    login, shown = LOGINS[sentence]
    server = start_server(password="right-pw")
    store = connect(f"redis://{login}127.0.0.1:{server.port}")
    for attempt in attempts(store):
        with pytest.raises(AuthenticationFailed) as caught:
            await attempt
        assert str(caught.value).startswith(shown)
        assert "wrong-pw" not in str(caught.value)
    right = connect(f"redis://:right-pw@127.0.0.1:{server.port}")
    await set_link(right, SERVICE, UID, 1)


async def test_a_user_without_the_permission(start_server, connect):
    server = start_server()
    await connect(server.url).command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+ping")
    store = connect(f"redis://reader:pw@127.0.0.1:{server.port}")
    assert await store.command("PING")
    with pytest.raises(AuthenticationFailed, match=r"NOPERM|permission"):
        await set_link(store, SERVICE, UID, 1)
    (reply,) = await store.run_many([set_link_call(SERVICE, UID, 1)])
    assert isinstance(reply, AuthenticationFailed)


async def test_a_server_without_memory_refuses_and_nothing_is_written(start_server, connect):
    server = start_server("--maxmemory-policy", "noeviction")
    store = connect(server.url)
    await set_link(store, SERVICE, UID, 1)
    await store.command("CONFIG", "SET", "maxmemory", "1")
    for uid in (UID, "bob"):
        with pytest.raises(StoreRejected, match="maxmemory"):
            await set_link(store, SERVICE, uid, 2)
    (reply,) = await store.run_many([set_link_call(SERVICE, "bob", 2)])
    assert isinstance(reply, StoreRejected)
    await store.command("CONFIG", "SET", "maxmemory", "0")
    assert (await get_link(store, SERVICE, UID)).ordinal == 1
    assert await store.command("DBSIZE") == 3


async def test_a_replica_refuses_to_be_written(start_server, connect):
    primary, replica = start_server(), start_server()
    store = connect(replica.url)
    await set_link(store, SERVICE, UID, 1)
    await store.command("REPLICAOF", "127.0.0.1", str(primary.port))
    with pytest.raises(StoreUnavailable, match=r"(?i)read.?only") as caught:
        await set_link(store, SERVICE, UID, 2)
    assert not caught.value.maybe_written


async def test_a_server_that_is_loading_is_unavailable(start_server, connect, eventually):
    server = start_server("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
    store = connect(server.url)
    for number in range(40):
        await store.command("SET", f"key-{number}", "x" * 10_000)
    await store.command("CONFIG", "SET", "key-load-delay", "100000")
    reloading = asyncio.create_task(store.command("DEBUG", "RELOAD"))
    other = connect(server.url)

    async def is_loading():
        try:
            await get_link(other, SERVICE, UID)
        except StoreUnavailable as error:
            return "LOADING" in str(error).upper()
        return False

    assert await eventually(is_loading)
    reloading.cancel()
    await asyncio.wait([reloading])


async def test_every_error_of_ours_has_one_base(store, raw):
    await raw.rpush(SERVICE.link(UID), "x")
    with pytest.raises(StatefulRouteError):
        await get_link(store, SERVICE, UID)


# Sentinel


@pytest.fixture
async def watched(start_server, start_sentinel, connect, eventually):
    """A server, and the URL by which a Sentinel is asked for it; both are up."""
    server = start_server()
    url = f"redis+sentinel://127.0.0.1:{start_sentinel(server)}/main"
    store = connect(url)

    async def answers():
        try:
            return await store.command("PING")
        except StoreUnavailable:
            return None

    await eventually(answers)
    return server, url


async def test_a_sentinel_names_the_server(watched, connect):
    server, url = watched
    store = connect(url, max_connections=4)
    await set_link(store, SERVICE, UID, 1)
    assert (await get_link(connect(server.url), SERVICE, UID)).ordinal == 1
    links = await asyncio.gather(*(get_link(store, SERVICE, UID) for _ in range(50)))
    assert {link.ordinal for link in links} == {1}


async def test_a_service_that_the_sentinel_does_not_know_is_unavailable(watched, connect):
    _, url = watched
    with pytest.raises(StoreUnavailable):
        await get_link(connect(url.replace("/main", "/other")), SERVICE, UID)


@pytest.mark.parametrize("kind", [Store, PatientStore])
async def test_a_cluster_of_which_no_node_answers_is_given_up_in_time(kind):
    with ExitStack() as deaf:
        ports = []
        for _ in range(3):
            listening = deaf.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(listening.getsockname()[1])
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        store = kind.from_url(url, StoreOptions(timeout_seconds=2, deadline_seconds=1))
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="within 1 s") as caught:
            await set_link(store, SERVICE, UID, 1)
        assert time.monotonic() - started < 2, "not one node after the other"
        assert not caught.value.maybe_written
        await store.close()


async def test_a_connection_that_listens_is_ended_as_any_other_while_it_connects(server):
    """Another call finds a new primary just then: what the one that listens meets is an error of connections."""
    store = Store.from_url(server.url)
    await store.command("PING")
    connection = store.own_connection(None)
    introduce = connection.on_connect_check_health

    async def introduce_too_late(*words, **options):
        asyncio.get_running_loop().call_soon(store._client.connection_pool.doubt)  # before its first command goes out
        await introduce(*words, **options)

    connection.on_connect_check_health = introduce_too_late
    try:
        with pytest.raises(FAILURES):
            await connection.connect()
    finally:
        await connection.disconnect(nowait=True)
        await store.close()
