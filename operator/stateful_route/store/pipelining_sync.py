"""The synchronous twin of `pipelining`, written by hand: a thread waits for each of its calls, so nothing is shared."""

from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.failures import FAILURES
from stateful_route.store.scripts import Call


class Pipelining:
    """Sends each call by itself."""

    def __init__(
        self,
        send: Callable[[Sequence[Call]], list[Any]],
        _seconds: float,
        _late: Callable[[Call, bool], StatefulRouteError],
    ) -> None:
        """``send`` takes calls in one round trip, and gives a reply or an error of ours for each; raises nothing.

        A reply that is awaited is awaited up to the connection's own timeout.
        """
        self._send = send

    def run(self, call: Call) -> Any:
        """The reply to one call.

        Raises:
            StoreUnavailable, StoreRejected: this call's own error.
        """
        (reply,) = self._send([call])
        if isinstance(reply, StatefulRouteError):
            raise reply
        return reply

    def close(self) -> None:
        """Nothing waits."""


def exchange(pool: Any, commands: Sequence[tuple[Any, ...]], _timeout_seconds: float) -> list[Any]:
    """Send commands to one server in one round trip; each reply is a value or redis-py's error.

    The timeout is the connection's own. Where it breaks, the replies that came before stand.
    """
    replies: list[Any] = []
    try:
        connection = pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            while len(replies) < len(commands):
                try:
                    replies.append(connection.read_response())
                except rx.ResponseError as error:
                    replies.append(error)
        except BaseException:
            connection.disconnect()  # replies may still be on their way, which are nobody else's
            raise
        finally:
            pool.release(connection)
    except FAILURES as error:
        return replies + [error] * (len(commands) - len(replies))
    return replies
