"""The synchronous twin of `pipelining`, written by hand: a thread waits for each of its calls, so nothing is shared."""

from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.failures import FAILURES
from stateful_route.store.runtime_sync import deadline
from stateful_route.store.scripts import Call
from stateful_route.store.sockets import is_wrong_server


class Pipelining:
    """Sends each call by itself."""

    def __init__(
        self,
        send: Callable[[Sequence[Call]], list[Any]],
        seconds: float,
        late: Callable[[Call, bool], StatefulRouteError],
    ) -> None:
        """The calls to one server.

        Args:
            send: Takes calls in one round trip, and gives a reply or an error of ours for each; raises nothing.
            seconds: How long a caller waits at most.
            late: The error of one who has waited so long, and whether its call was sent.
        """
        self._send = send
        self._seconds = seconds
        self._late = late

    def run(self, call: Call) -> Any:
        """The reply to one call.

        Raises:
            StoreUnavailable, StoreRejected: this call's own error.
        """
        try:
            with deadline(self._seconds):
                (reply,) = self._send([call])
        except TimeoutError:
            raise self._late(call, True) from None
        if isinstance(reply, StatefulRouteError):
            raise reply
        return reply

    def close(self) -> None:
        """Nothing waits."""


def exchange(pool: Any, commands: Sequence[tuple[Any, ...]], _timeout_seconds: float) -> list[Any]:
    """Send commands to one server in one round trip; each reply is a value or redis-py's error.

    The timeout is the connection's own. Where it breaks, the replies that came before stand. A server that says that
    it is not the primary (any more) is left.
    """
    replies: list[Any] = []
    wrong = False
    try:
        connection = pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            while len(replies) < len(commands):
                try:
                    replies.append(connection.read_response())
                except rx.ResponseError as error:
                    replies.append(error)
                    wrong = wrong or is_wrong_server(error)
            if wrong:
                pool.doubt()
                connection.disconnect()
        except BaseException:
            connection.disconnect()  # replies may still be on their way, which are nobody else's
            raise
        finally:
            pool.release(connection)
    except FAILURES as error:
        return replies + [error] * (len(commands) - len(replies))
    return replies
