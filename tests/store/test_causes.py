"""Messages of failures: the cause that the server or the socket gave, in words that differ, and no object of Python."""

import inspect
import re
import socket
from contextlib import ExitStack

import pytest
from redis import exceptions as rx

from stateful_route.domain.errors import AuthenticationFailed, StoreUnavailable, UnfitServer
from stateful_route.store import connection, connection_sync
from stateful_route.store.causes import cause_of
from stateful_route.store.failures import as_ours

PASSWORD = "s3cret"
PATIENCE = connection.StoreOptions(timeout_seconds=0.3, deadline_seconds=2)


@pytest.fixture
def places(start_server, tmp_path):
    """What the URLs below name: a server with a password, one that never answers, a file that is no certificate."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        nonsense = tmp_path / "ca.pem"
        nonsense.write_text("nonsense")
        yield {
            "server": f"127.0.0.1:{start_server(password=PASSWORD).port}",
            "deaf": f"127.0.0.1:{deaf.getsockname()[1]}",
            "nobody": "127.0.0.1:1",
            "nonsense": nonsense,
        }


async def done(call, *words):
    """What a method of either twin gives."""
    made = call(*words)
    return await made if inspect.isawaitable(made) else made


async def complaint(twin, url):
    """The error of a command, and what its message says behind the store's label."""
    store = twin.Store.from_url(url, PATIENCE)
    try:
        with pytest.raises((StoreUnavailable, AuthenticationFailed, UnfitServer)) as caught:
            await done(store.command, "GET", "x")
    finally:
        await done(store.close)
    label, _, said = str(caught.value).partition(f"{store.label}: ")
    assert not label
    return caught.value, said


NO_NAME = "[fe80::1%25nosuch]:1"
"""An address whose interface does not exist: looking it up fails without asking any DNS."""

CAUSES = {
    "nobody listens": ("redis://{nobody}", StoreUnavailable, "connection refused"),
    "nobody listens, with TLS": ("rediss://{nobody}", StoreUnavailable, "connection refused"),
    "nobody listens at a default host": ("redis://localhost:1", StoreUnavailable, "connection refused"),
    "no node of a Cluster listens": (
        "redis+cluster://{nobody},127.0.0.1:2",
        StoreUnavailable,
        r"no node of the Cluster answers: 127\.0\.0\.1:[12]: connection refused; \S+:[12]: connection refused",
    ),
    "no reply": ("redis://{deaf}", StoreUnavailable, r"timed out \(no reply in time\)"),
    "no reply to a TLS client": ("rediss://{deaf}", StoreUnavailable, r"timed out \(no connection in time\)"),
    "no reply of a Cluster": ("redis+cluster://{deaf}", StoreUnavailable, r"\S+: timed out \(no reply in time\)"),
    "a name that does not resolve": (
        f"redis://{NO_NAME}",
        StoreUnavailable,
        r"\S+ the host's name does not resolve .*",
    ),
    "a Cluster's name": (f"redis+cluster://{NO_NAME}", StoreUnavailable, r"\S+ the host's name does not resolve .*"),
    "no password": ("redis://{server}", AuthenticationFailed, "it wants a password"),
    "no password for a Cluster": ("redis+cluster://{server}", AuthenticationFailed, r"\S+: it wants a password"),
    "a wrong password": ("redis://:wr0ng@{server}", AuthenticationFailed, "wrong user or password"),
    "a wrong user": ("redis://ada:wr0ng@{server}", AuthenticationFailed, "wrong user or password"),
    "a wrong password for a Cluster": (
        "redis+cluster://:wr0ng@{server}",
        AuthenticationFailed,
        r"\S+: wrong user or password",
    ),
    "one server taken for a Cluster": (
        f"redis+cluster://:{PASSWORD}@{{server}}",
        UnfitServer,
        r"\S+ is no node of a Redis Cluster, use redis://",
    ),
    "no socket": ("unix:///nowhere/s.sock", StoreUnavailable, "there is no such socket"),
    "no file of certificates": (
        "rediss://{server}?ssl_ca_certs=/nowhere/ca.pem",
        StoreUnavailable,
        r"TLS: the file of ssl_ca_certs cannot be read \(No such file or directory\)",
    ),
    "a file without certificates": (
        "rediss://{server}?ssl_ca_certs={nonsense}",
        StoreUnavailable,
        r"TLS: the file of ssl_ca_certs is not what it should be \(no certificate .*\)",
    ),
    "a file that is no key": (
        "rediss://{server}?ssl_certfile={nonsense}",
        StoreUnavailable,
        r"TLS: the file of ssl_certfile is not what it should be \(PEM lib\)",
    ),
    "ciphers that do not exist": (
        "rediss://{server}?ssl_ciphers=nonsense",
        StoreUnavailable,
        r"TLS: No cipher can be selected\.",
    ),
}


@pytest.mark.parametrize("twin", [connection, connection_sync])
@pytest.mark.parametrize("sentence", CAUSES)
async def test_a_failure_names_its_cause(sentence, twin, places):
    url, kind, says = CAUSES[sentence]
    error, said = await complaint(twin, url.format_map(places))
    assert type(error) is kind
    assert re.fullmatch(says, said)
    assert "wr0ng" not in str(error)


@pytest.mark.parametrize("twin", [connection, connection_sync])
async def test_a_connection_that_the_server_ends_is_told_so(twin, start_server):
    server = start_server()
    store = twin.Store.from_url(server.url, PATIENCE)
    assert await done(store.command, "PING")
    server.stop()
    with pytest.raises(StoreUnavailable) as caught:
        await done(store.command, "PING")
    assert re.search(r": (it closed the connection|Connection reset by peer|connection refused)", str(caught.value))
    assert "(104" not in str(caught.value)
    await done(store.close)


async def test_a_sentinel_that_refuses_leaves_no_dump_of_objects(places):
    for twin in (connection, connection_sync):
        for place in ("nobody", "server"):
            error, said = await complaint(twin, f"redis+sentinel://{places[place]}/main")
            assert "<" not in said
            assert "object at" not in said
            assert "redis." not in said
            assert isinstance(error, (StoreUnavailable, AuthenticationFailed))


SAID = {
    "a text of our own": (rx.ConnectionError("Sentinel h:26379 wants a password"), "Sentinel h:26379 wants a password"),
    "a text of our own with a server's word": (
        rx.AuthenticationError("Sentinel h:26379: Authentication required."),
        "Sentinel h:26379: Authentication required.",
    ),
    "a server's word": (rx.ResponseError("OOM command not allowed"), "OOM command not allowed"),
    "a text with a < in it": (rx.ResponseError("ERR value < 3 and > 1"), "ERR value < 3 and > 1"),
    "nothing": (rx.ConnectionError(), "ConnectionError"),
    "too few slots": (
        rx.RedisClusterException("All slots are not covered after query all startup_nodes. 5 of 16384 covered..."),
        "only 5 of its 16384 slots are served",
    ),
    "a slot without a node": (
        rx.SlotNotCoveredError('Slot "3" not covered by the cluster. "require_full_coverage=True"'),
        "no node serves the slot of the key",
    ),
    "several addresses, all refused": (
        OSError(
            "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), "
            "[Errno 111] Connect call failed ('127.0.0.1', 1)"
        ),
        "connection refused",
    ),
    "a refusal whose socket's error is lost": (
        rx.ConnectionError("Error 111 connecting to 127.0.0.1:6380. Connect call failed ('127.0.0.1', 6380)."),
        "127.0.0.1:6380: connection refused",
    ),
    "a name whose resolver's error is lost": (
        rx.ConnectionError("Error -2 connecting to h:6380. Name or service not known."),
        "h:6380: the host's name does not resolve (Name or service not known)",
    ),
    "a certificate whose TLS error is lost": (
        rx.ConnectionError(
            "Error 1 connecting to h:6380. "
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)."
        ),
        "h:6380: TLS: certificate verify failed: certificate has expired",
    ),
    "a node of a Cluster": (
        rx.MovedError("3999 127.0.0.1:6381"),
        "it is a node of a Redis Cluster, use redis+cluster://",
    ),
    "an object": (
        rx.ConnectionError("closed <redis.asyncio.connection.Connection(host=h,password=s3cret)>"),
        "closed",
    ),
}


@pytest.mark.parametrize("sentence", SAID)
def test_what_was_said_is_told_in_words_for_people(sentence):
    error, words = SAID[sentence]
    assert cause_of(error) == words


@pytest.mark.parametrize("kind", [rx.ConnectionError, rx.TimeoutError, rx.AuthenticationError])
def test_a_text_of_our_own_passes_as_it_is(kind):
    error = kind("Sentinel h:26379: wrong password")
    assert str(as_ours(error, "redis+sentinel://h/main")) == "redis+sentinel://h/main: Sentinel h:26379: wrong password"


def test_the_servers_address_is_told_where_the_label_does_not_name_it():
    error = rx.TimeoutError("Timeout reading from 127.0.0.1:6380")
    said = "timed out (no reply in time)"
    assert cause_of(error, "redis://127.0.0.1:6380/0") == said
    for label in (
        "redis+sentinel://127.0.0.1:26379/main",
        "redis+cluster://127.0.0.1:6380,127.0.0.1:1",
        "",
        "redis://h",
    ):
        assert cause_of(error, label) == f"127.0.0.1:6380: {said}"
    assert cause_of(rx.TimeoutError("Timeout reading from ::1:6380")).startswith("[::1]:6380: ")
