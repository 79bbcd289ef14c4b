"""Addresses of pods and servers as texts: ``host:port``, an IPv6 address in brackets before its port."""

import re
from ipaddress import IPv6Address

_IP_IN_A_TEXT = re.compile(r"(?<!\[)\{ip\}(?=[:/])|(?<=//)\{ip\}")


def host_port(host: str, port: int | str) -> str:
    """``host:port``; an IPv6 address gets brackets, unless it has them: ``[fd00::5]:7777``."""
    return f"[{host}]:{port}" if is_ipv6(host) else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int | None]:
    """Host, without brackets, and port of an address; None: it has no port, as ``fd00::5`` has none."""
    host, _, port = address.rpartition(":")
    if not host or is_ipv6(address) or not (port.isascii() and port.isdigit()):
        return _without_brackets(address), None
    return _without_brackets(host), int(port)


def with_port(address: str, port: int | None) -> str:
    """The address with this port behind it, where it has none of its own; None: the address as it is."""
    _, own_port = split_address(address)
    return address if port is None or own_port is not None else host_port(address, port)


def template_for(template: str, ip: str) -> str:
    """The template of a pod's address, with brackets around ``{ip}`` where an IPv6 address needs them.

    That is before a port and in a URL. Brackets that the template has already stay the only ones.
    """
    return _IP_IN_A_TEXT.sub("[{ip}]", template) if is_ipv6(ip) else template


def is_ipv6(host: str) -> bool:
    """Whether a host is an IPv6 address without brackets."""
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
