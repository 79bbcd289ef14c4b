"""Of several servers the one that failed is told, and what speaks another language is told what it is."""

import asyncio
import inspect
import re
import ssl
from contextlib import ExitStack, contextmanager, suppress

import pytest
from redis import Redis

from stateful_route.domain.errors import AuthenticationFailed, StoreRejected, StoreUnavailable, UnfitServer
from stateful_route.store import connection, connection_sync
from stateful_route.store.keys import META, Service
from stateful_route.store.layout import check_layout
from stateful_route.store.links import set_link_call
from support.certificates import authority
from support.tcp_proxy import TcpProxy

PATIENCE = connection.StoreOptions(timeout_seconds=0.5, deadline_seconds=2)
SERVICE = Service("games", "room")
TWINS = pytest.mark.parametrize("twin", [connection, connection_sync])
PASSWORD = "s3cret"


async def done(call, *words):
    """What a method of either twin gives; a synchronous one runs in a thread, beside the proxies of a test."""
    made = await asyncio.to_thread(call, *words)
    return await made if inspect.isawaitable(made) else made


async def complaint(twin, url, kind, attempt):
    """What the error says behind the store's label; ``attempt``: what is done with the store."""
    store = twin.Store.from_url(url, PATIENCE)
    try:
        with pytest.raises(kind) as caught:
            await done(attempt, store)
    finally:
        await done(store.close)
    assert type(caught.value) is kind
    assert "s3cret" not in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    return str(caught.value).removeprefix(f"{store.label}: ")


def reading(store):
    return store.command("GET", "x")


def writing(store):
    return store.run(set_link_call(SERVICE, "ada", 1))


ATTEMPTS = pytest.mark.parametrize("attempt", [reading, writing])


@contextmanager
def user(port, *rights):
    """A user ``ada`` with the password ``pw`` and these rights, on one server."""
    with Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "ada", "reset", "on", ">pw", *rights)
        try:
            yield
        finally:
            admin.execute_command("ACL", "DELUSER", "ada")


@pytest.fixture
def watched(start_server, start_sentinel):
    """A server with a password, and the port of a Sentinel that knows it."""
    server = start_server(password=PASSWORD)
    return server, start_sentinel(server, f"sentinel auth-pass main {PASSWORD}")


@pytest.fixture
async def sentinel_answers(watched, eventually):
    """The same, as soon as the Sentinel answers."""
    _, port = watched

    async def answers():
        with suppress(OSError), Redis(port=port, socket_timeout=1) as client:
            return client.ping()

    await eventually(answers)
    return watched


@TWINS
@ATTEMPTS
@pytest.mark.parametrize("login", ["", ":wr0ng@", "ada:wr0ng@"])
async def test_behind_sentinels_the_server_that_refuses_a_login_is_told(twin, attempt, login, sentinel_answers):
    server, port = sentinel_answers
    said = await complaint(twin, f"redis+sentinel://{login}127.0.0.1:{port}/main", AuthenticationFailed, attempt)
    words = "wrong user or password" if login else "it wants a password"
    assert said == f"127.0.0.1:{server.port}: {words}"


@TWINS
async def test_a_sentinel_that_is_given_a_password_and_has_none_says_so(twin, sentinel_answers):
    _, port = sentinel_answers
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{port}/main?sentinel_password=wr0ng"
    said = await complaint(twin, url, AuthenticationFailed, reading)
    assert said == (
        "no Sentinel tells where the primary of 'main' is: "
        f"127.0.0.1:{port}: Sentinel wants no password, and was given one"
    )


@TWINS
async def test_a_server_that_is_given_a_password_and_has_none_says_so(twin, start_server):
    said = await complaint(twin, f"redis://:wr0ng@127.0.0.1:{start_server().port}", AuthenticationFailed, reading)
    assert said == "it wants no password, and was given one"


@TWINS
@ATTEMPTS
@pytest.mark.parametrize("path", ["", "/0", "/3", "?client_name=rooms"])
async def test_a_sentinel_that_is_taken_for_a_server_says_what_it_is(twin, attempt, path, sentinel_answers):
    _, port = sentinel_answers
    said = await complaint(twin, f"redis://127.0.0.1:{port}{path}", UnfitServer, attempt)
    assert said == "it is a Sentinel, use redis+sentinel://"


@TWINS
@ATTEMPTS
async def test_a_sentinel_that_is_taken_for_a_node_of_a_cluster_says_what_it_is(twin, attempt, sentinel_answers):
    _, port = sentinel_answers
    said = await complaint(twin, f"redis+cluster://127.0.0.1:{port}", UnfitServer, attempt)
    assert said == f"127.0.0.1:{port}: it is a Sentinel, use redis+sentinel://"


@TWINS
@ATTEMPTS
async def test_a_database_that_does_not_exist_is_told(twin, attempt, start_server):
    url = f"redis://127.0.0.1:{start_server().port}/99"
    assert await complaint(twin, url, StoreRejected, attempt) == "it has no database of that number"


@TWINS
async def test_of_a_cluster_the_node_that_lacks_the_user_is_told(twin, cluster):
    owner = cluster.owner(SERVICE.link("ada"))
    where = f"127.0.0.1:{owner.connection_pool.connection_kwargs['port']}"
    others = [server for server in cluster.servers if not where.endswith(f":{server.port}")]
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in others)
    rights = ("~*", "&*", "+@all")
    with user(others[0].port, *rights), user(others[1].port, *rights):
        for url in (f"redis+cluster://ada:pw@{hosts}", f"redis+cluster://ada:pw@{hosts.partition(',')[0]}"):
            assert await complaint(twin, url, AuthenticationFailed, writing) == f"{where}: wrong user or password"


@TWINS
async def test_of_a_cluster_the_node_that_refuses_is_told(twin, cluster):
    owner = cluster.owner(SERVICE.link("ada"))
    where = f"127.0.0.1:{owner.connection_pool.connection_kwargs['port']}"
    memory = owner.config_get("maxmemory")["maxmemory"]
    owner.config_set("maxmemory", 1)
    try:
        said = await complaint(twin, cluster.url, StoreRejected, writing)
        assert re.match(rf"{where}: .*maxmemory", said)
        assert said.count(where) == 1
    finally:
        owner.config_set("maxmemory", memory)


@TWINS
@ATTEMPTS
async def test_of_a_cluster_the_node_that_stands_still_is_told(twin, attempt, cluster):
    server = next(
        one for one in cluster.servers if cluster.owner("x").connection_pool.connection_kwargs["port"] == one.port
    )
    store = twin.Store.from_url(cluster.url, PATIENCE)
    uid = next(f"u{n}" for n in range(99) if cluster.owner(SERVICE.link(f"u{n}")) is cluster.owner("x"))
    call = (lambda: store.run(set_link_call(SERVICE, uid, 1))) if attempt is writing else (lambda: reading(store))
    await done(call)
    server.pause()
    try:
        with pytest.raises(StoreUnavailable) as caught:
            await done(call)
    finally:
        server.resume()
        await done(store.close)
    said = str(caught.value).removeprefix(f"{store.label}: ")
    plain = attempt is reading and twin is connection_sync  # redis-py may tell of another try there, without a server
    assert re.match(rf"127\.0\.0\.1:{server.port}: {'|timed out' if plain else ''}", said)


@TWINS
async def test_too_few_replicas_is_a_reason_to_try_again(twin, start_server):
    server = start_server()
    with Redis(port=server.port) as admin:
        admin.config_set("min-replicas-to-write", 1)
    for attempt in (writing, lambda store: store.command("SET", "x", "1")):
        store = twin.Store.from_url(server.url, PATIENCE)
        with pytest.raises(
            StoreUnavailable, match=r"too few replicas are up to date \(min-replicas-to-write\)"
        ) as caught:
            await done(attempt, store)
        assert not caught.value.maybe_written
        await done(store.close)


async def test_writes_go_on_as_soon_as_enough_replicas_are_there(start_server, connect):
    server = start_server()
    store = connect(server.url)
    with Redis(port=server.port) as admin:
        admin.config_set("min-replicas-to-write", 1)
        with pytest.raises(StoreUnavailable):
            await store.run(set_link_call(SERVICE, "ada", 1))
        admin.config_set("min-replicas-to-write", 0)
    assert await store.run(set_link_call(SERVICE, "ada", 1)) is not None


@pytest.fixture
def certificates(tmp_path):
    return authority(tmp_path / "tls")


@TWINS
@ATTEMPTS
async def test_a_port_that_speaks_tls_is_told_to_a_plain_client(twin, attempt, start_server, certificates):
    speaking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    speaking.load_cert_chain(certificates.certificate, certificates.key)
    async with TcpProxy(start_server().port, tls=speaking) as proxy:
        where = f"127.0.0.1:{proxy.port}"
        words = "it closed the connection without an answer; if it speaks TLS, begin the URL with rediss"
        for url, before in {
            f"redis://{where}": "",
            f"redis+cluster://{where}": f"{where}: ",
            f"redis+sentinel://{where}/main": f"no Sentinel tells where the primary of 'main' is: {where}: ",
        }.items():
            assert await complaint(twin, url, StoreUnavailable, attempt) == before + words


@TWINS
@ATTEMPTS
async def test_servers_without_tls_behind_sentinels_are_told(twin, attempt, sentinel_answers, certificates):
    server, port = sentinel_answers
    url = f"rediss+sentinel://127.0.0.1:{port}/main?ssl_ca_certs={certificates.ca}&sentinel_ssl=no"
    said = await complaint(twin, url, StoreUnavailable, attempt)
    assert said.startswith(f"127.0.0.1:{server.port}: ")
    assert said.count(str(server.port)) == 1


FAULTY = {
    "ssl_ca_certs={nowhere}": r"the file of ssl_ca_certs cannot be read \(No such file or directory\)",
    "ssl_ca_certs={folder}": r"the file of ssl_ca_certs cannot be read \(Is a directory\)",
    "ssl_ca_certs={nonsense}": r"the file of ssl_ca_certs is not what it should be \(.+\)",
    "ssl_certfile={nowhere}": r"the file of ssl_certfile cannot be read \(No such file or directory\)",
    "ssl_certfile={nonsense}": r"the file of ssl_certfile is not what it should be \(.+\)",
    "ssl_certfile={certificate}&ssl_keyfile={nowhere}": r"the file of ssl_keyfile cannot be read \(No such file .*\)",
    "ssl_certfile={certificate}&ssl_keyfile={nonsense}": r"the file of ssl_keyfile is not what it should be \(.+\)",
    "ssl_certfile={certificate}&ssl_keyfile={other_key}": r"the file of ssl_keyfile is not what it should be \(.+\)",
    "ssl_certfile={certificate}&ssl_keyfile={key}&ssl_ca_certs={nowhere}": "the file of ssl_ca_certs cannot be read .*",
}


@pytest.fixture
def files(certificates, tmp_path):
    (tmp_path / "nonsense.pem").write_text("nonsense")
    return {
        "nowhere": tmp_path / "nowhere.pem",
        "folder": tmp_path,
        "nonsense": tmp_path / "nonsense.pem",
        "certificate": certificates.certificate,
        "key": certificates.key,
        "other_key": authority(tmp_path / "other").key,
    }


@TWINS
@pytest.mark.parametrize("settings", FAULTY)
async def test_the_setting_whose_file_tls_cannot_use_is_told(twin, settings, start_server, files):
    url = f"rediss://127.0.0.1:{start_server().port}?{settings.format_map(files)}"
    assert re.fullmatch("TLS: " + FAULTY[settings], await complaint(twin, url, StoreUnavailable, reading))


@TWINS
async def test_the_setting_of_sentinels_is_told_by_its_name(twin, sentinel_answers, files):
    _, port = sentinel_answers
    url = f"rediss+sentinel://127.0.0.1:{port}/main?ssl_ca_certs={{}}"
    first = url.format(files["nowhere"])
    said = await complaint(twin, first, StoreUnavailable, reading)
    assert ": TLS: the file of ssl_ca_certs cannot be read" in said
    second = url.format(files["certificate"]) + f"&sentinel_ssl_ca_certs={files['nowhere']}"
    said = await complaint(twin, second, StoreUnavailable, reading)
    assert ": TLS: the file of sentinel_ssl_ca_certs cannot be read" in said


RIGHTS = ("~sf:{games:*", "%R~sf:meta", "&*", "+@all", "(~sf:meta +eval +evalsha)")


async def test_who_may_not_write_the_layout_version_is_told_what_to_do(start_server, connect):
    server = start_server()
    with user(server.port, *RIGHTS):
        store = connect(f"redis://ada:pw@127.0.0.1:{server.port}")
        with pytest.raises(AuthenticationFailed, match=r"valkey-cli HSETNX sf:meta layout 1$") as caught:
            await check_layout(store)
        assert not caught.value.maybe_written
        with Redis(port=server.port) as admin:
            admin.execute_command(*re.search("HSETNX.*", str(caught.value))[0].split())
        await check_layout(store)


async def test_on_a_cluster_the_command_follows_to_the_node(cluster, connect):
    with ExitStack() as users:
        for server in cluster.servers:
            users.enter_context(user(server.port, *RIGHTS))
        cluster.owner(META).delete(META)
        store = connect(cluster.url.replace("://", "://ada:pw@"))
        with pytest.raises(AuthenticationFailed, match=r"valkey-cli -c HSETNX sf:meta layout 1$"):
            await check_layout(store)


async def test_who_may_not_read_the_layout_version_is_told_which_key(start_server, connect):
    server = start_server()
    store = connect(f"redis://ada:pw@127.0.0.1:{server.port}")
    with user(server.port, "~sf:{games:*", "&*", "+@all"), pytest.raises(AuthenticationFailed) as caught:
        await check_layout(store)
    assert str(caught.value).endswith("allow HGET and the key sf:meta")


async def test_a_wrong_password_is_not_taken_for_a_missing_permission(start_server, connect):
    store = connect(f"redis://:wr0ng@127.0.0.1:{start_server(password=PASSWORD).port}")
    with pytest.raises(AuthenticationFailed, match=r"wrong user or password$"):
        await check_layout(store)
