"""Settings of a store's URL: each has a type, and what has none is refused by name."""

import shutil
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from stateful_route.domain.errors import InvalidArgument, StoreUnavailable
from stateful_route.store import connection, connection_sync
from stateful_route.store.credentials import LoginFiles
from stateful_route.store.url_settings import NOT_ON_A_CLUSTER, RESERVED, SETTINGS, read_settings
from stateful_route.store.urls import DEFAULT_PORT, DEFAULT_SENTINEL_PORT, SCHEMES, UrlError, url_parts
from support.certificates import authority
from support.tcp_proxy import TcpProxy

STORES = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "stores.md"

VALUES = {
    "db": ("3", 3),
    "username": ("ada", "ada"),
    "password": ("p%40s%2Bs", "p@s+s"),
    "username_file": ("/run/login/username", LoginFiles({"username_file": "/run/login/username"})),
    "password_file": ("/run/login/pass%20word", LoginFiles({"password_file": "/run/login/pass word"})),
    "client_name": ("rooms", "rooms"),
    "socket_keepalive": ("no", False),
    "ssl_ca_certs": ("/etc/tls/ca.pem", "/etc/tls/ca.pem"),
    "ssl_ca_path": ("/etc/tls", "/etc/tls"),
    "ssl_ca_data": ("PEM", "PEM"),
    "ssl_certfile": ("/etc/tls/me.pem", "/etc/tls/me.pem"),
    "ssl_keyfile": ("/etc/tls/me.key&ssl_certfile=/etc/tls/me.pem", "/etc/tls/me.key"),
    "ssl_password": ("pw", "pw"),
    "ssl_cert_reqs": ("None", "none"),
    "ssl_check_hostname": ("false", False),
    "ssl_min_version": ("1.3", ssl.TLSVersion.TLSv1_3),
    "ssl_ciphers": ("ECDHE%2BAESGCM", "ECDHE+AESGCM"),
    "ssl_include_verify_flags": ("VERIFY_X509_STRICT", [ssl.VERIFY_X509_STRICT]),
    "ssl_exclude_verify_flags": (
        "[VERIFY_X509_STRICT,VERIFY_X509_PARTIAL_CHAIN]",
        [ssl.VERIFY_X509_STRICT, ssl.VERIFY_X509_PARTIAL_CHAIN],
    ),
}
DATA = [name for name in SETTINGS if not name.startswith("sentinel_")]


def test_each_setting_has_an_example():
    assert set(VALUES) == set(DATA)


@pytest.mark.parametrize("twin", [connection, connection_sync])
@pytest.mark.parametrize("name", DATA)
async def test_a_setting_reaches_the_connections_as_its_type(name, twin):
    text, value = VALUES[name]
    store = twin.Store.from_url(f"rediss://h?{name}={text}")
    made = store.own_connection(None)
    reached = "credential_provider" if isinstance(value, LoginFiles) else name
    assert store._client.connection_pool.connection_kwargs[reached] == value
    if hasattr(made, name):
        assert getattr(made, name) == value


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("twin", [connection, connection_sync])
@pytest.mark.parametrize("name", SETTINGS)
async def test_what_the_table_lets_in_redis_py_takes_at_each_kind_of_store(name, scheme, twin):
    text = VALUES[name.removeprefix("sentinel_")][0] if name != "sentinel_ssl" else "yes"
    url = {"unix": "unix:///run/s", "redis": "redis://a", "rediss": "rediss://a"}.get(scheme, f"{scheme}://a")
    if scheme.endswith("sentinel"):
        url += "/main"
    if name.startswith("sentinel_"):
        text = text.replace("&ssl_", "&sentinel_ssl_")
    try:
        read_settings(f"{name}={text}", scheme)
    except UrlError:
        with pytest.raises(InvalidArgument, match=name):
            twin.Store.from_url(f"{url}?{name}={text}")
    else:
        twin.Store.from_url(f"{url}?{name}={text}")


BOOLEANS = {"true": True, "Yes": True, "1": True, "FALSE": False, "no": False, "0": False}


@pytest.mark.parametrize("text", BOOLEANS)
def test_a_boolean_is_no_text(text):
    query = f"ssl_check_hostname={text}&socket_keepalive={text}"
    for url in ("rediss://h", "rediss+cluster://h", "rediss+sentinel://h/main"):
        settings = url_parts(f"{url}?{query}", DEFAULT_PORT).query
        assert settings["ssl_check_hostname"] is settings["socket_keepalive"] is BOOLEANS[text]


REFUSED = {
    "an unknown one": ("redis://h?auth=s3cret", "there is no setting 'auth'; there are: db, username, password"),
    "one of another case": ("redis://h?DB=1", "there is no setting 'DB'"),
    "one of redis-py's Cluster": ("redis+cluster://h?read_from_replicas=s3cret", "no setting 'read_from_replicas'"),
    "one of its Cluster's booleans": (
        "redis+cluster://h?dynamic_startup_nodes=no",
        "no setting 'dynamic_startup_nodes'",
    ),
    "what may be the rest of a password": ("redis://h?password=s3&s3cret=1", "of the name that follows password"),
    "one that is no name": ("redis://h?s3/cret=1", "no setting of that name"),
    "one without a value": ("redis://h?s3cret", "name=value"),
    "one with an empty value": ("redis://h?password=", "password takes a text"),
    "an & alone": ("redis://h?db=1&", "name=value"),
    "one twice": ("redis://h?db=1&db=2", "db is given twice"),
    "a number that is none": ("redis://h?db=s3cret", "db takes the number of a database"),
    "a number below 0": ("redis://h?db=-1", "db takes"),
    "a boolean that is none": ("rediss://h?ssl_check_hostname=s3cret", "ssl_check_hostname takes true, yes, 1, false"),
    "an empty boolean": ("redis://h?socket_keepalive=", "socket_keepalive takes true"),
    "a choice that is none": ("rediss://h?ssl_cert_reqs=s3cret", "takes required, optional or none"),
    "a version that is none": ("rediss://h?ssl_min_version=s3cret", "takes 1.2 or 1.3"),
    "a flag that is none": ("rediss://h?ssl_include_verify_flags=s3cret", "takes names of Python"),
    "a client's name with a space": ("redis://h?client_name=s3cret+s3cret", "client_name takes a text without spaces"),
    "TLS without TLS": ("redis://h?ssl_ca_certs=/s3cret", "needs TLS: begin the URL with rediss://"),
    "TLS without TLS at Sentinels": ("redis+sentinel://h/m?ssl_ca_certs=/s3cret", r"with rediss\+sentinel://"),
    "a Sentinel's at one server": ("redis://h?sentinel_password=s3cret", "for Sentinel alone"),
    "files for Sentinels without TLS": ("redis+sentinel://h/m?sentinel_ssl_ca_certs=/s3cret", "sentinel_ssl=true"),
    "a key without its certificate": ("rediss://h?ssl_keyfile=/s3cret", "needs ssl_certfile"),
    "a password and its file": ("redis://h?password=s3cret&password_file=/f", "the password is given twice"),
    "a password before the host and a file": (
        "redis://:s3cret@h?password_file=/f",
        "the password is given twice, before the host and by password_file",
    ),
    "a user and its file": ("redis+cluster://s3cret@h?username_file=/f", "the username is given twice"),
    "a Sentinel's password and its file": (
        "redis+sentinel://h/m?sentinel_password=s3cret&sentinel_password_file=/f",
        "the sentinel_password is given twice, as a setting and by sentinel_password_file",
    ),
    "a password in the place of its file": ("redis://h?password_file=s3cret", "password_file takes the path of a file"),
    "what may be the rest of a path": ("redis://h?password_file=/f&s3cret=1", "of the name that follows password_file"),
    "TLS by a setting": ("redis://h?ssl=true", "rediss://"),
    "a timeout": ("redis://h?socket_timeout=5", "StoreOptions.timeout_seconds"),
    "bytes that are no text": ("redis://h?password=%FF", "no text in UTF-8"),
    "a keepalive of a socket in a file": ("unix:///run/s?socket_keepalive=no", "cannot be set for unix://"),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_setting_is_refused_with_its_name_and_without_its_value(sentence):
    url, words = REFUSED[sentence]
    with pytest.raises(InvalidArgument, match=words) as caught:
        connection.Store.from_url(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("url", ["redis://h", "redis+cluster://h", "redis+sentinel://h/main"])
def test_what_would_change_how_the_library_works_is_refused(name, url):
    with pytest.raises(InvalidArgument, match=f"{name} cannot be set by a URL"):
        connection.Store.from_url(f"{url}?{name}=1")


@pytest.mark.parametrize("name", sorted(NOT_ON_A_CLUSTER))
def test_what_a_cluster_does_not_have_is_refused(name):
    with pytest.raises(InvalidArgument, match=f"{name} cannot be set for rediss.cluster"):
        connection.Store.from_url(f"rediss+cluster://h?{name}={VALUES[name][0]}")


def test_the_documentation_has_each_setting():
    text = STORES.read_text()
    assert [name for name in SETTINGS if f"`{name}`" not in text and not name.startswith("sentinel_ssl_")] == []


# Sentinels themselves


SENTINELS = {
    "nothing": ("redis+sentinel://h/main", {}),
    "the servers' password alone": ("redis+sentinel://:pw@h/main?client_name=x", {}),
    "a password": ("redis+sentinel://:pw@h/main?sentinel_password=s%26w", {"password": "s&w"}),
    "a user": (
        "redis+sentinel://h/main?sentinel_username=ada&sentinel_password=sw",
        {"username": "ada", "password": "sw"},
    ),
    "TLS": ("rediss+sentinel://h/main", {"ssl": True}),
    "TLS with files": (
        "rediss+sentinel://h/main?ssl_ca_certs=/ca&ssl_check_hostname=no",
        {"ssl": True, "ssl_ca_certs": "/ca", "ssl_check_hostname": False},
    ),
    "TLS with other files": (
        "rediss+sentinel://h/main?ssl_ca_certs=/ca&sentinel_ssl_ca_certs=/other&ssl_certfile=/c",
        {"ssl": True, "ssl_ca_certs": "/other", "ssl_certfile": "/c"},
    ),
    "a certificate of its own": (
        "rediss+sentinel://h/main?ssl_certfile=/c&ssl_keyfile=/k&sentinel_ssl_certfile=/both",
        {"ssl": True, "ssl_certfile": "/both"},
    ),
    "no TLS for Sentinels": ("rediss+sentinel://h/main?ssl_ca_certs=/ca&sentinel_ssl=no", {}),
    "TLS for Sentinels alone": (
        "redis+sentinel://h/main?sentinel_ssl=yes&sentinel_ssl_ca_certs=/ca",
        {"ssl": True, "ssl_ca_certs": "/ca"},
    ),
    "a password from a file": (
        "redis+sentinel://ada:pw@h/main?sentinel_password_file=/f&sentinel_username=sam",
        {"credential_provider": LoginFiles({"password_file": "/f"}, "sam", whose="sentinel_")},
    ),
    "another kind of store": ("rediss://h?ssl_ca_certs=/ca", {}),
}


@pytest.mark.parametrize("sentence", SENTINELS)
def test_how_sentinels_are_reached(sentence):
    url, expected = SENTINELS[sentence]
    parts = url_parts(url, DEFAULT_SENTINEL_PORT)
    assert parts.sentinel == expected
    assert not any(name.startswith("sentinel_") for name in {**parts.login, **parts.query})


async def test_a_sentinel_with_a_password_lets_in_who_has_it(server, start_sentinel):
    port = start_sentinel(server, "requirepass s&nt")
    url = f"redis+sentinel://127.0.0.1:{port}/main"
    for setting, right in (("", False), ("?sentinel_password=wrong", False), ("?sentinel_password=s%26nt", True)):
        arguments = url_parts(url + setting, DEFAULT_SENTINEL_PORT).sentinel
        async with Redis(host="127.0.0.1", port=port, **arguments) as sentinel:
            if right:
                assert await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
            else:
                with pytest.raises(AuthenticationError):
                    await sentinel.execute_command("PING")


@pytest.fixture
async def spoken_tls(tmp_path):
    """Puts TLS before a server, for one test: gives the port and the file of the authority."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates")
    files = authority(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with AsyncExitStack() as proxies:

        async def before(port):
            return (await proxies.enter_async_context(TcpProxy(port, tls=context))).port, files.ca

        yield before


async def test_who_is_not_to_check_the_name_does_not(spoken_tls, server, connect):
    port, ca = await spoken_tls(server.port)
    with pytest.raises(StoreUnavailable, match=r": TLS: certificate verify failed: (?i:self.signed|unable to get)"):
        await connect(f"rediss://127.0.0.1:{port}").command("PING")
    with pytest.raises(StoreUnavailable, match=r": TLS: certificate verify failed: (?i:hostname mismatch)"):
        await connect(f"rediss://localhost:{port}?ssl_ca_certs={ca}&ssl_check_hostname=yes").command("PING")
    assert await connect(f"rediss://localhost:{port}?ssl_ca_certs={ca}&ssl_check_hostname=no").command("PING")
    assert await connect(f"rediss://localhost:{port}?ssl_cert_reqs=none&ssl_min_version=1.3").command("PING")


async def test_a_sentinel_with_tls_is_asked_with_the_servers_files_or_its_own(spoken_tls, server, start_sentinel):
    port, ca = await spoken_tls(start_sentinel(server))
    for url in (
        f"rediss+sentinel://127.0.0.1:{port}/main?ssl_ca_certs={ca}",
        f"rediss+sentinel://127.0.0.1:{port}/main?ssl_ca_certs=/nowhere&sentinel_ssl_ca_certs={ca}",
        f"redis+sentinel://127.0.0.1:{port}/main?sentinel_ssl=1&sentinel_ssl_ca_certs={ca}",
    ):
        arguments = url_parts(url, DEFAULT_SENTINEL_PORT).sentinel
        async with Redis(host="127.0.0.1", port=port, **arguments) as sentinel:
            assert await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
