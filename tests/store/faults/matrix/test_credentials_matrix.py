"""Passwords that are rotated, and certificates that are renewed, while all connections are made anew."""

import shutil
import ssl
import time
from contextlib import AsyncExitStack

import pytest

from support.certificates import authority, renew
from support.topologies.cluster import six_nodes
from support.topologies.sentinel import three_sentinels
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
def files(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates")
    return authority(tmp_path / "first")


@pytest.fixture
async def shown(kind, files):
    """An address that speaks TLS, as a terminator before the servers does, and the context that shows its files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    async with vip(kind, context) as running:
        running.ca = str(files.ca)
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
