"""What an error of a connection carries besides its text: whether a command was sent, to which server, and by what TLS.

An error keeps the first mark of each kind: whoever is nearest to the connection knows best.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from stateful_route.domain.address import host_port
from stateful_route.store.tls_files import TlsFiles, tls_files


class Greeting(NamedTuple):
    """How a connection was being made.

    Attributes:
        tcp: By TCP, not by a socket of this machine.
        tls: The files of TLS; None: without TLS.
    """

    tcp: bool
    tls: TlsFiles | None


@contextmanager
def nothing_sent() -> Iterator[None]:
    """Mark an error that is raised within: no command was sent."""
    try:
        yield
    except Exception as error:
        error.nothing_sent = True  # type: ignore[attr-defined]
        raise


def was_sent(error: BaseException) -> bool:
    """False if it is certain that the failed command was not sent."""
    return not getattr(error, "nothing_sent", False)


@contextmanager
def connecting(connection: Any, own: Collection[str] = ()) -> Iterator[None]:
    """Mark an error that is raised within: no command was sent, the connection was still being made.

    Args:
        connection: One of redis-py's.
        own: The settings of it that the URL has for Sentinels alone, without their ``sentinel_``.
    """
    try:
        with nothing_sent():
            yield
    except Exception as error:
        note_server(error, connection)
        if server_of(error) and not hasattr(error, "greeting"):
            error.greeting = Greeting(hasattr(connection, "host"), tls_files(connection, own))  # type: ignore[attr-defined]
        raise


@contextmanager
def of_no_server() -> Iterator[None]:
    """Mark an error that is raised within: its text names whom it is about."""
    try:
        yield
    except Exception as error:
        error.server = ""  # type: ignore[attr-defined]
        raise


def note_server(error: BaseException, connection: Any) -> None:
    """Mark an error: it is about the server to which one of redis-py's connections leads."""
    if not hasattr(error, "server"):
        error.server = address_of(connection)  # type: ignore[attr-defined]


def server_of(error: BaseException) -> str:
    """The address of the server that an error is about, see `address_of`; empty: not known, or its text says it."""
    return getattr(error, "server", "")


def greeting_of(error: BaseException) -> Greeting | None:
    """How the connection was being made when the error was raised; None: it had been made, or it is not known."""
    return getattr(error, "greeting", None)


def take_over(error: BaseException, former: BaseException) -> None:
    """Give an error the marks of another one, whose place it takes."""
    for mark in ("nothing_sent", "server", "greeting"):
        if hasattr(former, mark):
            setattr(error, mark, getattr(former, mark))


def address_of(connection: Any) -> str:
    """Where one of redis-py's connections leads, as host and port or as a path."""
    return str(connection.path if hasattr(connection, "path") else host_port(connection.host, connection.port))
