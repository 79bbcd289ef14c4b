"""A login that is read from files whenever a connection is made."""

import asyncio
import os
import shutil

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.errors import AuthenticationFailed
from stateful_route.store import connection, connection_sync
from stateful_route.store.credentials import MAX_BYTES
from stateful_route.store.urls import reads_login
from support.twins import Threaded

USER, FIRST, SECOND = "app", "f1rst", "sec0nd"


@pytest.fixture
def file(tmp_path):
    """Where the password is."""
    path = tmp_path / "password"
    path.write_text(FIRST)
    return path


@pytest.fixture
def locked(kind):
    """A server that wants the first password."""
    with EmbeddedStore(kind, password=FIRST) as running:
        yield running


@pytest.fixture(params=["asynchronous", "synchronous"])
async def open_store(request):
    """Makes a store of a URL, closed with the test."""
    opened = []

    def make(url):
        if request.param == "synchronous":
            store = Threaded(connection_sync.Store.from_url(url), connection.Store)
        else:
            store = connection.Store.from_url(url)
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.close()


CONTENTS = {
    "without the end of a line": FIRST.encode(),
    "with it": FIRST.encode() + b"\n",
    "with that of Windows": FIRST.encode() + b"\r\n",
}


@pytest.mark.parametrize("content", CONTENTS)
async def test_a_password_is_taken_from_its_file(locked, open_store, file, content):
    file.write_bytes(CONTENTS[content])
    assert await open_store(f"redis://127.0.0.1:{locked.port}?password_file={file}").command("PING")


async def test_a_password_that_is_no_text_is_sent_as_the_bytes_that_it_is(server, raw, open_store, file):
    file.write_bytes(b"p\xff \n")
    await raw.execute_command("ACL", "SETUSER", USER, "on", b">p\xff ", "+@all", "~*", "&*")
    try:
        assert await open_store(f"redis://{USER}@127.0.0.1:{server.port}?password_file={file}").command("PING")
    finally:
        await raw.execute_command("ACL", "DELUSER", USER)


async def test_a_new_user_and_password_are_used_by_the_next_connection(server, raw, open_store, file, tmp_path):
    name = tmp_path / "username"
    store = open_store(f"redis://127.0.0.1:{server.port}?username_file={name}&password_file={file}")
    for user, password in ((USER, FIRST), ("other", SECOND)):
        await raw.execute_command("ACL", "SETUSER", user, "on", f">{password}", "+@all", "~*", "&*")
        name.write_text(f"{user}\n")
        file.write_text(f"{password}\n")
        assert await store.command("ACL", "WHOAMI") == user.encode()
        await raw.execute_command("ACL", "DELUSER", user)  # which ends its connections


async def test_a_cluster_is_reached_by_the_password_that_its_file_has_now(cluster, open_store, file):
    for node in cluster.nodes:
        node.execute_command("ACL", "SETUSER", USER, "on", f">{SECOND}", "+@all", "~*", "&*")
    store = open_store(f"redis+cluster://{USER}@127.0.0.1:{cluster.servers[0].port}?password_file={file}")
    with pytest.raises(AuthenticationFailed, match="wrong user or password"):
        await store.ask("PING")
    file.write_text(SECOND)
    assert await store.ask("PING")


SPOILT = {
    "absent": (lambda _: None, "No such file or directory"),
    "a folder": (lambda file: file.mkdir(), "it is no regular file"),
    "a pipe, which would never end": (os.mkfifo, "it is no regular file"),
    "empty": (lambda file: file.write_text("\n"), "it is empty"),
    "too long": (lambda file: file.write_text("x" * (MAX_BYTES + 1)), "it is longer than"),
}


@pytest.mark.parametrize("sentence", SPOILT)
async def test_a_file_that_cannot_be_used_is_named_and_looked_at_again(locked, open_store, file, sentence):
    spoil, why = SPOILT[sentence]
    file.unlink()
    spoil(file)
    store = open_store(f"redis://127.0.0.1:{locked.port}?password_file={file}")
    with pytest.raises(AuthenticationFailed, match=f"the file of password_file cannot be used: {file}: {why}") as told:
        await store.command("SET", "a", "b")
    assert not told.value.maybe_written
    assert "xx" not in str(told.value)
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    file.write_text(FIRST)
    assert await store.command("SET", "a", "b")


async def test_a_file_of_sentinels_is_named_as_theirs(server, start_sentinel, eventually, open_store, tmp_path):
    port = start_sentinel(server)
    await eventually(lambda: listens(port))
    store = open_store(f"redis+sentinel://127.0.0.1:{port}/main?sentinel_password_file={tmp_path}/absent")
    with pytest.raises(AuthenticationFailed, match=f"the file of sentinel_password_file cannot be used: {tmp_path}"):
        await store.command("PING")


async def listens(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


READS = {
    "redis://h": False,
    "redis://ada:pw@h?client_name=password_file": False,
    "redis://h?password_file=/f": True,
    "redis://h?password%5Ffile=/f": True,
    "redis+cluster://h?username_file=/f": True,
    "redis+sentinel://h/m?sentinel_password_file=/f": True,
    "redis://h?password_file=f": False,
    "no URL": False,
}


@pytest.mark.parametrize("url", READS)
def test_whether_a_login_is_read_from_files(url):
    assert reads_login(url) is READS[url]
