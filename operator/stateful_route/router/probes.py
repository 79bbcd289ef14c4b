"""Health probes: whether a pod answers by HTTP, TCP or gRPC, or how old its state record is."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import quote

from stateful_route.domain.address import host_port, split_address
from stateful_route.domain.aliveness import Author, PodView
from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.health import NOT_ASKED, ProbeResult
from stateful_route.domain.option_checks import check_age, check_period
from stateful_route.router.wire import exchange, grpc_module, unary

PROBE_SECONDS = 5.0
"""How long a probe may take in all (reference §9)."""

MAX_RESPONSE_BYTES = 16 * 1024
"""What is read of an answer at most; the kubelet reads 10 KiB of the body."""

HEALTHY_STATUS = range(200, 400)
"""As for the kubelet; a redirect is an answer, and is not followed."""

MAX_PORT = 65535
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""The words of ``HealthCheckResponse.ServingStatus``, by their numbers."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_PATH_SAFE = "/%?&=:@!$'()*+,;~[]"


class Probe(Protocol):
    """Looks whether what runs on a host serves."""

    async def probe(self, host: str) -> ProbeResult:
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

    async def probe(self, host: str) -> ProbeResult:
        """Look once; see `Probe`."""
        began = time.monotonic()
        try:
            name, port = where(host, self.port)
            request = _request(host_port(name, port), self.path, self.headers)
            tls = self.scheme == "HTTPS"
            answer = await exchange(name, port, request, _is_answered, tls=tls, seconds=self.timeout_seconds)
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

    async def probe(self, host: str) -> ProbeResult:
        """Look once; see `Probe`."""
        began = time.monotonic()
        try:
            name, port = where(host, self.port)
            await exchange(name, port, b"", lambda _: True, tls=False, seconds=self.timeout_seconds)
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

    async def probe(self, host: str) -> ProbeResult:
        """Look once; see `Probe`."""
        began = time.monotonic()
        try:
            name, port = where(host, self.port)
            reply = await unary(name, port, HEALTH_CHECK, _health_request(self.service), seconds=self.timeout_seconds)
            word = _health_status(reply)
        except (OSError, ValueError) as error:
            return _failed(error, began, self.timeout_seconds)
        return ProbeResult(word == "SERVING", time.monotonic() - began, word)


@dataclass(frozen=True, slots=True)
class RecordAgeProbe:
    """Judges a pod by its own state record: healthy while that is younger than ``max_age_seconds``.

    It asks nobody; whoever has read the states has all that it takes. A pod that publishes nothing is not healthy.
    """

    max_age_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_age(self.max_age_seconds, "max_age_seconds")

    def judged(self, view: PodView | None, since_seconds: float = 0.0) -> ProbeResult:
        """What the record says that was read so many seconds ago; None: the pod has none."""
        state = view.state if view is not None else None
        if view is None or state is None or state.author is Author.OPERATOR or view.age_seconds is None:
            return ProbeResult(healthy=False, seconds=NOT_ASKED, why="publishes no state")
        age = view.age_seconds + since_seconds
        return ProbeResult(age < self.max_age_seconds, NOT_ASKED, f"state is {age:.1f} s old")


def where(address: str, port: int | None) -> tuple[str, int]:
    """Host and port of an address; ``port``, if there is one, is the one that counts.

    Raises:
        ValueError: there is neither.
    """
    host, own_port = split_address(address)
    if port is None:
        port = own_port
    if port is None:
        raise ValueError(f"no port in the address {address!r}")
    return host, port


def check_port(port: int | None) -> None:
    """See that it is a port, or None; raises `InvalidArgument`."""
    if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= MAX_PORT):
        raise InvalidArgument(f"a port is a number from 1 to {MAX_PORT}, not {port!r}")


def _failed(error: Exception, began: float, timeout_seconds: float) -> ProbeResult:
    why = f"no answer within {timeout_seconds:g} s" if isinstance(error, TimeoutError) else _spoken(error)
    return ProbeResult(healthy=False, seconds=time.monotonic() - began, why=why)


def _spoken(error: Exception) -> str:
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__


def _request(host: str, path: str, headers: Mapping[str, str]) -> bytes:
    usual = {"Host": host, "User-Agent": "stateful-route", "Accept": "*/*", "Connection": "close"}
    given = {name.title(): value for name, value in headers.items()}
    lines = [f"GET {quote('/' + path.removeprefix('/'), safe=_PATH_SAFE)} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**usual, **given}.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise InvalidArgument("a probe's header must be one line")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidArgument("a probe's header must be of Latin-1 letters") from None


def _final_head(received: bytes) -> tuple[int, bytes, bytes] | None:
    """Status, head and what follows it of the first answer that is not provisional (1xx); None: not there (yet)."""
    while True:
        head, parted, rest = received.partition(b"\r\n\r\n")
        match = _STATUS.match(head + b"\r")
        if not parted or match is None:
            return None
        status = int(match[1])
        if not 100 <= status < HEALTHY_STATUS.start or status == 101:  # noqa: PLR2004  101: what follows is not HTTP
            return status, head, rest
        received = rest


def _status(received: bytes) -> int | None:
    final = _final_head(received)
    return None if final is None else final[0]


def _is_answered(received: bytes) -> bool:
    """All has been read that tells how the pod is, and what it sends along, unless that is too much."""
    if len(received) >= MAX_RESPONSE_BYTES or received[:5] != b"HTTP/"[: len(received)]:
        return True
    final = _final_head(received)
    if final is None:
        return False
    status, head, body = final
    if status in {101, 204, 304}:
        return True
    if _CHUNKED.search(head):
        return body.endswith(b"0\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def _health_request(service: str) -> bytes:
    """``HealthCheckRequest``: one text, field 1."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:  # noqa: PLR2004  seven bits a byte
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _health_status(reply: bytes) -> str:
    """The word in a ``HealthCheckResponse``: one number, field 1; absent: 0. Raises ValueError for anything else."""
    if not reply:
        return SERVING[0]
    if len(reply) != 2 or reply[0] != 0x08 or reply[1] >= len(SERVING):  # noqa: PLR2004  tag and value
        raise ValueError(f"no HealthCheckResponse: {reply[:20]!r}")
    return SERVING[reply[1]]
