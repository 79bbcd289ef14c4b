"""What redis-py raises, in our terms: what kind of trouble it is, and whether anything may have been written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.errors import (
    AuthenticationFailed,
    Deposed,
    StatefulRouteError,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
    UnfitServer,
)
from stateful_route.store.causes import cause_of
from stateful_route.store.marks import was_sent
from stateful_route.store.sockets import IsSentinel, is_wrong_server

FAILURES = (rx.RedisError, rx.RedisClusterException, OSError)
"""All that redis-py raises for what a server or the way to it does."""

NO_PASSWORD_SET = ("called without any password configured", "no password is set")
"""In what a server says that is given a password and has none: since Redis 6.0, and before."""

NO_PERMISSION = ("ACL failure in script", "The user executing the script can't")
"""What a script is told whose user lacks a permission: by Redis 7.2 and Valkey, by Redis 7.0."""

UNABLE = (rx.BusyLoadingError, rx.ClusterError, rx.TryAgainError)
"""The server answered that it cannot serve now (LOADING, CLUSTERDOWN, MASTERDOWN, TRYAGAIN): it has done nothing.

A replica that is asked to write has done nothing either: the primary is elsewhere by now.
"""

NOT_NOW = ("BUSY ", "MASTERDOWN ", "NOREPLICAS ", "TTL exhausted")
"""How the same begins without a class of its own; the last is redis-py's, of a slot on the move.

NOREPLICAS passes by itself, when a replica is back or another primary has been promoted. Memory or a disk that is full
(OOM, MISCONF) does not: somebody has to act, so that these are refusals.
"""

NOT_HERE = "non local key"
"""In what a script is told that touches a key which has just gone to another node of a Cluster."""

NO_CLUSTER = "is no node of a Redis Cluster"
"""What is said of a single server that was to be one."""

A_SENTINEL = str(IsSentinel())

NONE_FREE = "No connection available"
"""What redis-py's pools say when all connections stayed in use for as long as a call may wait for one."""

AT_FIRST_WRITE = ("OOM ", "READONLY ", "MISCONF ", "NOREPLICAS ", "WRONGTYPE ")
"""Refused before anything is written, also in a script: the server looks at its first write, our scripts at types."""


class Untimely(rx.RedisError):
    """A write was not sent, because nobody knows a deadline for it that is still to come."""


def as_ours(error: Exception, label: str, *, writes: bool = True) -> StatefulRouteError:
    """Our error for one of redis-py's; its message names the store, never a password.

    ``writes``: False when the command that failed only reads.
    """
    sent = was_sent(error)
    if isinstance(error, rx.RedisClusterException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # why no node could be asked for the slots
    text = str(error) or type(error).__name__
    message = f"{label}: {cause_of(error, label)}"
    half_way = writes and sent and _stopped_half_way(error, text)
    if is_denied(error):
        return AuthenticationFailed(message, maybe_written=half_way)
    if isinstance(error, Untimely) or text.startswith("DEPOSED "):
        return Deposed(message)
    if isinstance(error, UNABLE) or is_wrong_server(error) or text.startswith(NOT_NOW) or NOT_HERE in text:
        return StoreUnavailable(message, maybe_written=half_way and NOT_HERE in text)
    if isinstance(error, rx.MovedError) or text.startswith("MOVED ") or NO_CLUSTER in text or A_SENTINEL in text:
        return UnfitServer(message)
    if isinstance(error, (rx.ConnectionError, rx.TimeoutError, rx.RedisClusterException, OSError, TimeoutError)):
        kind = StoreBusy if text.startswith(NONE_FREE) else StoreUnavailable
        return kind(message, maybe_written=writes and sent)
    return StoreRejected(message, maybe_written=half_way)


def is_denied(error: Exception) -> bool:
    """Whether the server wants another user, password or permission."""
    if isinstance(error, (rx.AuthenticationError, rx.NoPermissionError, rx.AuthorizationError)):
        return True
    text = str(error)
    return text.startswith(("NOAUTH", "WRONGPASS")) or any(
        words in text for words in (*NO_PERMISSION, *NO_PASSWORD_SET)
    )


def says_no_permission(error: AuthenticationFailed) -> bool:
    """Whether the user has logged in, and lacks a permission for a command, a key or a channel."""
    if isinstance(error.__cause__, rx.NoPermissionError):
        return True
    return any(words in str(error) for words in ("permission", *NO_PERMISSION))


def raise_broken(replies: Sequence[Any], label: str) -> None:
    """Raise `StoreUnavailable` (or why a login failed) if a connection broke, under whichever of the commands."""
    for reply in replies:
        broken = isinstance(reply, (rx.ConnectionError, rx.TimeoutError, OSError))
        if broken or isinstance(reply, rx.RedisClusterException):
            raise as_ours(reply, label) from reply


def _stopped_half_way(error: Exception, text: str) -> bool:
    """Whether a command within a script failed, so that those before it may have written."""
    if isinstance(error, (rx.OutOfMemoryError, rx.ReadOnlyError)) or text.startswith(AT_FIRST_WRITE):
        return False
    if "SCRIPT KILL" in text:  # which the server refuses once a script has written
        return False
    return " script: " in text or "in script" in text or "non local key" in text


@contextmanager
def translated(label: str, *, writes: bool = True) -> Iterator[None]:
    """Turn redis-py's errors into ours, but for NOSCRIPT, which the callers above answer."""
    try:
        yield
    except rx.NoScriptError:
        raise
    except FAILURES as error:
        raise as_ours(error, label, writes=writes) from error
