"""The synchronous twin of `runtime`, written by hand: threads, and deadlines that each wait for a server looks at."""

import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from stateful_route.domain.address import is_ipv6

T = TypeVar("T")

_ends = threading.local()


class Lock:
    """Lets one thread at a time into the body of a ``with``; who waits for it heeds the `deadline` around the wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        seconds = remaining(math.inf)
        if not self._lock.acquire(timeout=-1 if math.isinf(seconds) else seconds):
            raise TimeoutError("the deadline has passed")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def sleep(seconds: float) -> None:
    """Wait so long.

    Raises:
        TimeoutError: the `deadline` around it would pass meanwhile.
    """
    end = getattr(_ends, "nearest", None)
    if end is not None and time.monotonic() + seconds >= end:
        raise TimeoutError
    time.sleep(seconds)


def remaining(seconds: float) -> float:
    """So many seconds, or what the `deadline` around it has left, if that is less.

    Raises:
        TimeoutError: it has nothing left.
    """
    end = getattr(_ends, "nearest", None)
    if end is None:
        return seconds
    left: float = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return min(seconds, left)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let nothing be waited for in the body of a ``with`` after so many seconds.

    `sleep` raises `TimeoutError` then, and a connection of `heeding_deadline` fails with it.
    """
    outer = getattr(_ends, "nearest", None)
    end = time.monotonic() + seconds
    _ends.nearest = end if outer is None else min(end, outer)
    try:
        yield
    finally:
        _ends.nearest = outer


def together(work: Iterable[T]) -> list[T]:
    """The results of things that were done one after the other."""
    return list(work)


def hear(jobs: Sequence[Callable[[], T]], patience: Callable[[Sequence[T]], float]) -> list[T]:
    """Do things at the same time, each in a thread of its own, until enough is known; the others are left to end.

    Args:
        jobs: What to do; each ends by itself. What one raises is raised here.
        patience: Says, given the results so far, for how many more seconds others are waited for; asked anew with each.

    Returns:
        The results in the order in which they came.

    Raises:
        TimeoutError: the `deadline` around it has passed.
    """
    results: queue.SimpleQueue[tuple[list[T], Exception | None]] = queue.SimpleQueue()
    end = getattr(_ends, "nearest", None)

    def do(job: Callable[[], T]) -> None:
        _ends.nearest = end
        try:
            results.put(([job()], None))
        except Exception as error:  # noqa: BLE001  it shows in the caller's thread
            results.put(([], error))

    for job in jobs:
        threading.Thread(target=do, args=(job,), name="stateful-route ask", daemon=True).start()
    heard: list[T] = []
    while len(heard) < len(jobs) and (seconds := patience(heard)) > 0:
        wait = remaining(seconds)
        try:
            one, error = results.get(timeout=None if math.isinf(wait) else wait)
        except queue.Empty:
            if math.isinf(seconds):  # so it was the deadline
                raise TimeoutError("the deadline has passed") from None
            break
        if error is not None:
            raise error
        heard += one
    return heard


class Aside:
    """Does something in the background, one at a time; nobody waits for it."""

    def __init__(self, name: str) -> None:
        self._name = f"stateful-route {name}"
        self._thread: threading.Thread | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begin, unless it is being done already; the job may not raise, and ends by itself."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=job, name=self._name, daemon=True)
            thread.start()
            self._thread = thread  # once it can be joined

    def wait(self, seconds: float) -> None:
        """Wait, at most so long, until it is done."""
        if (thread := self._thread) is not None:
            thread.join(remaining(seconds))

    def stop(self) -> None:
        """Wait for it no more: a thread cannot be cancelled, its job ends by itself."""
        self._thread = None


@cache
def heeding_deadline(base: Any) -> Any:
    """The class of redis-py's connections that waits no longer than the `deadline` around it."""
    return type(f"Punctual{base.__name__}", (_Punctual, base), {})


class _Punctual:
    punctual = True

    def _connect(self) -> Any:
        """Connect to the first address of the host that answers, each of them in its part of the time.

        As redis-py does it, which waits for the DNS, each address and the handshake of TLS as long as they take.
        """
        connection: Any = self
        if not hasattr(connection, "socket_keepalive_options"):  # a socket of this machine
            return super()._connect()  # type: ignore[misc]
        plain = _dialled(connection, _addresses(connection.host, connection.port))
        wrap = getattr(connection, "_wrap_socket_with_ssl", None)
        if wrap is None:
            return plain
        try:
            plain.settimeout(remaining(connection.socket_connect_timeout))
            spoken = wrap(plain)
            spoken.settimeout(connection.socket_timeout)
        except BaseException:
            plain.close()
            raise
        return spoken

    def read_response(self, *args: Any, **options: Any) -> Any:
        own = self.socket_timeout  # type: ignore[attr-defined]
        left = remaining(math.inf if own is None else own)
        if left != own and "timeout" not in options and not math.isinf(left):
            options["timeout"] = left
        return super().read_response(*args, **options)  # type: ignore[misc]


def _addresses(host: str, port: int) -> list[Any]:
    """What a host's name resolves to; a DNS that does not answer is not waited for beyond the deadline."""

    def ask() -> list[Any]:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)

    if is_ipv6(host) or host.replace(".", "").isdigit():
        return ask()
    (found,) = hear([ask], lambda heard: 0 if heard else math.inf)
    return found


def _dialled(connection: Any, addresses: Sequence[Any]) -> socket.socket:
    failed: OSError = OSError("the name has no address")
    for left, (family, kind, proto, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        dialling = _PunctualSocket(family, kind, proto)
        try:
            dialling.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if connection.socket_keepalive:
                dialling.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in connection.socket_keepalive_options.items():
                    dialling.setsockopt(socket.IPPROTO_TCP, name, value)
            dialling.settimeout(remaining(connection.socket_connect_timeout) / left)
            dialling.connect(address)
            dialling.settimeout(connection.socket_timeout)
        except OSError as error:
            failed = error
            dialling.close()
        else:
            return dialling
    raise failed


class _PunctualSocket(socket.socket):
    """Waits no longer than the `deadline` around it, also for a reply that comes in small pieces."""

    def recv(self, *args: Any) -> bytes:
        with self._in_time():
            return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        with self._in_time():
            return super().recv_into(*args)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        usual = self.gettimeout()
        seconds = remaining(math.inf if usual is None else usual)
        if seconds == usual or math.isinf(seconds):
            yield
            return
        self.settimeout(seconds)
        try:
            yield
        finally:
            if self.fileno() >= 0:
                self.settimeout(usual)


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Threads are not cancelled: nothing to heed."""
    yield
