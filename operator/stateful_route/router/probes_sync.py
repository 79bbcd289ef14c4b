# Generated from probes.py by tools/twins.py: change that one, then run: make twins
"""Health probes: whether a pod answers by HTTP, TCP or gRPC, or how old its state record is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from stateful_route.domain.address import host_port
from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.health import ProbeResult
from stateful_route.domain.option_checks import check_period
from stateful_route.router.probes import (
    HEALTH_CHECK,
    HEALTHY_STATUS,
    PROBE_SECONDS,
    _failed,
    _health_request,
    _health_status,
    _is_answered,
    _request,
    _status,
    check_port,
    where,
)
from stateful_route.router.wire_sync import exchange, grpc_module, unary


class Probe(Protocol):
    """Looks whether what runs on a host serves."""

    def probe(self, host: str) -> ProbeResult:
        """Look once; ``host`` is a name or an address, with or without a port behind it (``[fd00::1]:80``).

        What is amiss is told in the result, and raises nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """A GET, as the kubelet does: 200 to 399 is healthy, redirects are not followed, no certificate is verified.

    Attributes:
        port: Where; None: where the address says.
        path: With its query, if it has one.
        scheme: ``HTTP`` or ``HTTPS``.
        headers: Sent besides the usual ones; a ``Host`` among them replaces the pod's.
        timeout_seconds: For the whole probe, looking up the name included.

    Raises:
        InvalidArgument: a port, scheme or header that is none.
    """

    port: int | None = None
    path: str = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = PROBE_SECONDS

    def __post_init__(self) -> None:
        check_port(self.port)
        check_period(self.timeout_seconds, "timeout_seconds")
        if self.scheme not in {"HTTP", "HTTPS"}:
            raise InvalidArgument(f"the scheme of a probe is HTTP or HTTPS, not {self.scheme!r}")
        _request("host", self.path, self.headers)

    def probe(self, host: str) -> ProbeResult:
        """Look once; see `Probe`."""
        began = time.monotonic()
        try:
            name, port = where(host, self.port)
            request = _request(host_port(name, port), self.path, self.headers)
            tls = self.scheme == "HTTPS"
            answer = exchange(name, port, request, _is_answered, tls=tls, seconds=self.timeout_seconds)
        except (OSError, ValueError) as error:
            return _failed(error, began, self.timeout_seconds)
        status = _status(answer)
        why = "no answer in HTTP" if status is None else f"HTTP {status}"
        return ProbeResult(status in HEALTHY_STATUS, time.monotonic() - began, why)


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A connection, which is closed at once: whoever accepts it is healthy.

    Attributes:
        port: Where; None: where the address says.
        timeout_seconds: For the whole probe, looking up the name included.
    """

    port: int | None = None
    timeout_seconds: float = PROBE_SECONDS

    def __post_init__(self) -> None:
        check_port(self.port)
        check_period(self.timeout_seconds, "timeout_seconds")

    def probe(self, host: str) -> ProbeResult:
        """Look once; see `Probe`."""
        began = time.monotonic()
        try:
            name, port = where(host, self.port)
            exchange(name, port, b"", lambda _: True, tls=False, seconds=self.timeout_seconds)
        except (OSError, ValueError) as error:
            return _failed(error, began, self.timeout_seconds)
        return ProbeResult(healthy=True, seconds=time.monotonic() - began, why="connected")


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """The call ``grpc.health.v1.Health/Check``, in plain text as the kubelet does it: SERVING is healthy.

    Attributes:
        port: Where; None: where the address says.
        service: The name that is asked about; empty: the server as a whole.
        timeout_seconds: For the whole probe, looking up the name included.

    Raises:
        ExtraMissing: grpcio is not installed.
    """

    port: int | None = None
    service: str = ""
    timeout_seconds: float = PROBE_SECONDS

    def __post_init__(self) -> None:
        check_port(self.port)
        check_period(self.timeout_seconds, "timeout_seconds")
        grpc_module()

    def probe(self, host: str) -> ProbeResult:
        """Look once; see `Probe`."""
        began = time.monotonic()
        try:
            name, port = where(host, self.port)
            reply = unary(name, port, HEALTH_CHECK, _health_request(self.service), seconds=self.timeout_seconds)
            word = _health_status(reply)
        except (OSError, ValueError) as error:
            return _failed(error, began, self.timeout_seconds)
        return ProbeResult(word == "SERVING", time.monotonic() - began, word)
