"""The synchronous twin of `line`, written by hand: a daemon thread reads."""

import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from redis import exceptions as rx

from stateful_route.drivers.line import CLOSED_MEANWHILE, LEAVING, MESSAGES

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How long the thread sleeps at most between two looks at the socket; a message or the end wakes it at once."""


class Line:
    """A connection and the thread that reads it; opened once, and over when it breaks."""

    def __init__(
        self,
        connection: Any,
        timeout_seconds: float,
        heard: Callable[[str, str], None],
        ended: Callable[["Line"], None],
    ) -> None:
        """A line that is not open yet; arguments as in `line.Line`, functions are called by the reading thread."""
        connection.health_check_interval = 0  # it would read an answer, and so does our thread
        self._connection = connection
        self._timeout = timeout_seconds
        self._heard = heard
        self._ended = ended
        self._asked: deque[Future[Any]] = deque()
        self._sending = threading.Lock()
        self._closed = False
        self._left: set[bytes] = set()
        """Channels that are being left, by our own wish."""
        self._reader: threading.Thread | None = None

    @property
    def open(self) -> bool:
        """It can be used."""
        return self._reader is not None and not self._closed

    def connect(self) -> None:
        """Open it; raises redis-py's errors."""
        self._connection.connect()
        self._reader = threading.Thread(target=self._read, name="stateful-route push", daemon=True)
        self._reader.start()

    def join(self, channel: str, *, sharded: bool) -> None:
        """Listen to a channel, too; raises redis-py's errors."""
        self._ask("SSUBSCRIBE" if sharded else "SUBSCRIBE", channel)

    def leave(self, channel: str, *, sharded: bool) -> None:
        """Listen to a channel no more; raises redis-py's errors."""
        self._left.add(channel.encode())
        try:
            self._ask("SUNSUBSCRIBE" if sharded else "UNSUBSCRIBE", channel)
        finally:
            self._left.discard(channel.encode())

    def ping(self) -> None:
        """See that the server answers; raises redis-py's errors."""
        self._ask("PING")

    def close(self) -> None:
        """End it."""
        self._closed = True
        plug = getattr(self._connection, "_sock", None)
        if plug is not None:
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)  # wakes the thread
        reader = self._reader
        if reader is not None and reader is not threading.current_thread():
            reader.join(self._timeout)

    def _ask(self, *words: str) -> None:
        answer: Future[Any] = Future()
        with self._sending:
            if not self.open:  # else redis-py would connect anew, and nobody would read
                raise rx.ConnectionError("the line is closed")
            self._asked.append(answer)
            self._send(*words)
        try:
            answer.result(self._timeout)
        except TimeoutError:
            raise rx.TimeoutError(f"no answer to {words[0]} within {self._timeout:g} s") from None

    def _send(self, *words: str) -> None:
        try:
            self._connection.send_command(*words)
        except CLOSED_MEANWHILE as error:
            raise rx.ConnectionError("the line was closed") from error

    def _read(self) -> None:
        why: Exception = rx.ConnectionError("the line was closed")
        try:
            while not self._closed:
                if not self._connection.can_read(timeout=LOOK_SECONDS):
                    continue
                try:
                    self._take(self._connection.read_response())
                except rx.ResponseError as refusal:
                    self._answer(refusal)
        except (rx.RedisError, OSError) as broken:
            why = broken
        except CLOSED_MEANWHILE as closed:
            why.__cause__ = closed
        finally:
            self._closed = True
            with self._sending:  # who is sending has entered what it waits for
                while self._asked:
                    self._answer(why)
                self._connection.disconnect()
            self._ended(self)

    def _take(self, reply: Any) -> None:
        kind, *rest = reply if isinstance(reply, list) else (reply,)
        if kind in MESSAGES:
            try:
                self._heard(rest[0].decode(), rest[1].decode(errors="replace"))
            except Exception:
                log.exception("a message could not be dealt with")
        elif kind in LEAVING and rest[0] not in self._left:  # the slot has moved to another node
            raise rx.ConnectionError("the server has ended a subscription")
        else:
            self._answer(reply)

    def _answer(self, reply: Any) -> None:
        if not self._asked:
            return
        answer = self._asked.popleft()
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
