"""Addresses: an IPv6 address stands in brackets before its port, and nowhere else."""

from urllib.parse import urlsplit

import pytest

from stateful_route.domain.address import host_port, split_address, with_port

ADDRESSES = {
    "10.0.0.7:80": ("10.0.0.7", 80),
    "pod-0.room:80": ("pod-0.room", 80),
    "[fd00:10:244::5]:7777": ("fd00:10:244::5", 7777),
    "[::]:1": ("::", 1),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_host_and_port_make_an_address_and_come_back(address):
    host, port = ADDRESSES[address]
    assert host_port(host, port) == address
    assert split_address(address) == (host, port)
    url = urlsplit(f"http://{address}/")
    assert (url.hostname, url.port) == (host, port)


@pytest.mark.parametrize("address", ["10.0.0.7", "pod-0", "fd00::5", "fd00:10:244::5:7777", "::", "::1", ""])
def test_an_address_without_a_port(address):
    assert split_address(address) == (address, None)


def test_brackets_are_taken_off_and_not_put_on_twice():
    assert split_address("[fd00::5]") == ("fd00::5", None)
    assert host_port("[fd00::5]", 80) == "[fd00::5]:80"


def test_a_port_is_put_behind_an_address_that_has_none():
    assert with_port("fd00::5", 80) == "[fd00::5]:80"
    assert with_port("[fd00::5]:7777", 80) == "[fd00::5]:7777"
    assert with_port("pod-0:7777", 80) == "pod-0:7777"
    assert with_port("fd00::5", None) == "fd00::5"
