"""Passwords that are rotated, and certificates that are renewed, while all connections are made anew."""

import shutil
import ssl
import time
from contextlib import AsyncExitStack

import pytest

from support.certificates import authority, renew
from support.topologies.cluster import six_nodes
from support.topologies.sentinel import Sentinels, three_sentinels
from support.topologies.vip import vip

FIRST, SECOND = ">f1rst", ">sec0nd"
WITHDRAWN_SECONDS = 0.7


@pytest.fixture(params=["one address", "Sentinel", "Cluster"])
async def guarded(request, kind, tmp_path):
    """A topology, and a user by whom all clients log in."""
    async with AsyncExitStack() as stack:
        if request.param == "Sentinel":
            running = stack.enter_context(three_sentinels(kind, tmp_path))
        elif request.param == "Cluster":
            running = stack.enter_context(six_nodes(kind))
        else:
            running = await stack.enter_async_context(vip(kind))
        running.ask_all("ACL", "SETUSER", "app", "on", FIRST, "~*", "&*", "+@all")
        running.login = f"app:{FIRST[1:]}@"
        yield running


async def test_all_work_on_when_a_second_password_is_added_and_connections_are_cut(guarded, all_recover):
    def rotate():
        guarded.ask_all("ACL", "SETUSER", "app", SECOND)
        guarded.cut()

    await all_recover(guarded, rotate)


async def test_all_work_again_when_their_password_was_withdrawn_too_early_and_is_given_back(guarded, all_recover):
    def withdraw_for_a_while():
        guarded.ask_all("ACL", "SETUSER", "app", SECOND, f"<{FIRST[1:]}")
        guarded.cut()
        time.sleep(WITHDRAWN_SECONDS)
        guarded.ask_all("ACL", "SETUSER", "app", FIRST)

    await all_recover(guarded, withdraw_for_a_while)


@pytest.fixture
def login_files(guarded, tmp_path):
    """The password of the clients is in files, as a Secret's volume has it; gives them: one, or two with Sentinels."""
    guarded.login = "app@"
    named = {"password_file": tmp_path / "password"}
    if isinstance(guarded, Sentinels):
        named["sentinel_password_file"] = tmp_path / "sentinel-password"
        for sentinel in guarded.sentinels:
            sentinel.ask("ACL", "SETUSER", "app", "on", FIRST, "~*", "&*", "+@all")
    guarded.settings = "?" + "&".join(f"{name}={path}" for name, path in named.items())
    if isinstance(guarded, Sentinels):
        guarded.settings += "&sentinel_username=app"
    for path in named.values():
        path.write_text(f"{FIRST[1:]}\n")
    return list(named.values())


async def test_all_work_on_when_the_password_in_their_file_is_rotated(guarded, login_files, all_recover):
    """Added, written to the files, and the old one withdrawn: a connection made from then on needs the new one."""
    asked = [guarded.ask_all, *(one.ask for one in getattr(guarded, "sentinels", []))]

    def rotate():
        for ask in asked:
            ask("ACL", "SETUSER", "app", SECOND)
        for path in login_files:
            replace(path, f"{SECOND[1:]}\n")
        for ask in asked:
            ask("ACL", "SETUSER", "app", f"<{FIRST[1:]}")
            ask("CLIENT", "KILL", "USER", "app")

    await all_recover(guarded, rotate)


def replace(path, text):
    """As a Secret's volume does it: whoever opens the file reads the old text or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


@pytest.fixture
def files(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates")
    return authority(tmp_path / "first")


@pytest.fixture
async def wanting(kind, files, tmp_path):
    """An address that wants a certificate of each client; the clients' files; and how to want others from now on."""
    clients = authority(tmp_path / "clients")
    current = {}

    def want(signed_by):
        current["context"] = context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=signed_by.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(files.certificate, files.key)
        return context

    context = want(clients)
    context.sni_callback = lambda session, *_: setattr(session, "context", current["context"])
    async with vip(kind, context) as running:
        named = {"ssl_ca_certs": files.ca, "ssl_certfile": clients.certificate, "ssl_keyfile": clients.key}
        running.settings = "?" + "&".join(f"{name}={path}" for name, path in named.items())
        yield running, clients, want


@pytest.fixture
async def shown(kind, files):
    """An address that speaks TLS, as a terminator before the servers does, and the context that shows its files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    async with vip(kind, context) as running:
        running.settings = f"?ssl_ca_certs={files.ca}"
        yield running, context


async def test_all_work_on_when_the_certificate_is_renewed_by_its_authority(shown, files, all_recover):
    address, context = shown
    renew(files)

    def show_the_new_one():
        context.load_cert_chain(files.certificate, files.key)
        address.cut()

    await all_recover(address, show_the_new_one)


async def test_all_work_on_when_another_authority_has_signed_and_its_file_is_replaced(
    shown, files, tmp_path, all_recover
):
    address, context = shown
    other = authority(tmp_path / "other")

    def replace_both():
        shutil.copy(other.ca, files.ca)
        context.load_cert_chain(other.certificate, other.key)
        address.cut()

    await all_recover(address, replace_both)


async def test_all_work_on_when_their_own_certificates_are_renewed_and_the_old_ones_are_refused(
    wanting, tmp_path, all_recover
):
    address, clients, want = wanting
    other = authority(tmp_path / "other-clients")

    def renew_the_clients():
        shutil.copy(other.certificate, clients.certificate)
        shutil.copy(other.key, clients.key)
        want(other)
        address.cut()

    await all_recover(address, renew_the_clients)
