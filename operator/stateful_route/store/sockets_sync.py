# Generated from sockets.py by tools/twins.py: change that one, then run: make twins
"""Connections that mark their errors (see `marks`), and that know which server they lead to."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.address import host_port
from stateful_route.domain.trust import Standing
from stateful_route.store.marks import address_of, connecting, note_server, nothing_sent
from stateful_route.store.sockets import (
    NOT_ALLOWED,
    IsSentinel,
    NotPrimary,
    facts_of,
    is_sentinels,
    primary_of,
)


@cache
def telling(base: Any) -> type:
    """The class of redis-py's connections that also marks errors: with the server, and whether a command was sent."""
    return type(f"Telling{base.__name__}", (_Telling, base), {})


@cache
def introduced(base: Any, *, primary: bool) -> type:
    """The class of redis-py's connections that also knows which server it leads to.

    ``primary``: it must be one that takes writes; connecting to a read-only replica fails.
    """
    return type(f"Introduced{base.__name__}", (_Introduced, base), {"primary": primary})


class _Telling:
    def connect_check_health(self, *args: Any, **options: Any) -> None:
        tls: Any = getattr(self, "ssl_context", None)
        if tls is not None:
            tls.context = None  # redis-py keeps it: certificates that were renewed are read anew
        with connecting(self):
            super().connect_check_health(*args, **options)  # type: ignore[misc]

    def check_health(self) -> None:
        with nothing_sent():
            super().check_health()  # type: ignore[misc]

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        try:
            super().send_packed_command(*args, **options)  # type: ignore[misc]
        except Exception as error:
            note_server(error, self)
            raise

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except Exception as error:
            note_server(error, self)
            raise


class _Introduced:
    primary = False
    server = ""
    """The run id of the server that it leads to; its address where that is not told."""
    standing: Standing | None = None
    """What a pool has noted of it; None: it was not in use yet since it was connected."""

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        try:
            super().on_connect_check_health(*args, **options)  # type: ignore[misc]
        except rx.ResponseError as error:
            if "unknown command" in str(error).lower():  # SELECT, where the URL has a database
                self.see_primary()
            raise
        self.standing = None
        questions = [("INFO", "server"), ("ROLE",)] if self.primary else [("INFO", "server")]
        about, *role = self.asked_each(questions)
        self.server = facts_of(about).get("run_id") or self.address
        self._see(*role)

    def see_primary(self) -> None:
        """Ask the server for its role.

        Raises:
            NotPrimary: it is a read-only replica. One that may not be asked, or does not know the question, passes.
            IsSentinel: it stores nothing.
        """
        self._see(self.asked("ROLE"))

    def _see(self, role: Any = None) -> None:
        if is_sentinels(role):
            raise IsSentinel
        primary = primary_of(role)
        if primary is not None:
            raise NotPrimary(
                f"{self.address} is a read-only replica of {host_port(*primary)}: a failover is under way, or this is "
                "the wrong address: use the primary's, or redis+sentinel://"
            )

    @property
    def address(self) -> str:
        """Where it leads, as host and port or as a path."""
        return address_of(self)

    def asked(self, *words: str) -> Any:
        """The reply; None where the server does not know the question, or the user may not ask."""
        (reply,) = self.asked_each([words])
        return reply

    def asked_each(self, questions: Sequence[Sequence[str]]) -> list[Any]:
        """The same of several questions, in one round trip."""
        connection: Any = self
        for words in questions:
            connection.send_command(*words, check_health=False)
        replies = []
        for _ in questions:
            try:
                replies.append(connection.read_response())
            except NOT_ALLOWED:
                replies.append(None)
        return replies
