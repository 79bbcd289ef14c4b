"""Connections that mark their errors (see `marks`), and that know which server they lead to."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.address import host_port
from stateful_route.domain.trust import Standing
from stateful_route.store.marks import address_of, connecting, note_server, nothing_sent

NOT_ALLOWED = (rx.ResponseError, rx.AuthorizationError)
"""What a server answers that does not know a command, or a user who may not use it."""


class NotPrimary(rx.ConnectionError):
    """The server is a read-only replica: the address leads to another one by now, or soon will."""


class IsSentinel(rx.ConnectionError):
    """The server is a Sentinel: it stores nothing, it tells where a primary is."""

    def __init__(self) -> None:
        super().__init__("it is a Sentinel, use redis+sentinel://")


WRONG_SERVER = (NotPrimary, rx.ReadOnlyError, rx.MasterDownError, rx.BusyLoadingError)


def is_wrong_server(reply: object) -> bool:
    """Whether a reply says that somebody else is the primary by now: then the connection is of no use any more."""
    return isinstance(reply, WRONG_SERVER) or (isinstance(reply, rx.ResponseError) and "READONLY " in str(reply))


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
    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        tls: Any = getattr(self, "ssl_context", None)
        if tls is not None:
            tls.context = None  # redis-py keeps it: certificates that were renewed are read anew
        with connecting(self):
            await super().connect_check_health(*args, **options)  # type: ignore[misc]

    async def check_health(self) -> None:
        with nothing_sent():
            await super().check_health()  # type: ignore[misc]

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]
        except Exception as error:
            note_server(error, self)
            raise

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except Exception as error:
            note_server(error, self)
            raise


class _Introduced:
    primary = False
    server = ""
    """The run id of the server that it leads to; its address where that is not told."""
    standing: Standing | None = None
    """What a pool has noted of it; None: it was not in use yet since it was connected."""

    async def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        try:
            await super().on_connect_check_health(*args, **options)  # type: ignore[misc]
        except rx.ResponseError as error:
            if "unknown command" in str(error).lower():  # SELECT, where the URL has a database
                await self.see_primary()
            raise
        self.standing = None
        questions = [("INFO", "server"), ("ROLE",)] if self.primary else [("INFO", "server")]
        about, *role = await self.asked_each(questions)
        self.server = facts_of(about).get("run_id") or self.address
        self._see(*role)

    async def see_primary(self) -> None:
        """Ask the server for its role.

        Raises:
            NotPrimary: it is a read-only replica. One that may not be asked, or does not know the question, passes.
            IsSentinel: it stores nothing.
        """
        self._see(await self.asked("ROLE"))

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

    async def asked(self, *words: str) -> Any:
        """The reply; None where the server does not know the question, or the user may not ask."""
        (reply,) = await self.asked_each([words])
        return reply

    async def asked_each(self, questions: Sequence[Sequence[str]]) -> list[Any]:
        """The same of several questions, in one round trip."""
        connection: Any = self
        for words in questions:
            await connection.send_command(*words, check_health=False)
        replies = []
        for _ in questions:
            try:
                replies.append(await connection.read_response())
            except NOT_ALLOWED:
                replies.append(None)
        return replies


def is_sentinels(role: Any) -> bool:
    """Whether a reply to ROLE is a Sentinel's."""
    return isinstance(role, list) and role[:1] == [b"sentinel"]


def primary_of(role: Any) -> tuple[str, int] | None:
    """The host and port of the primary, by a replica's reply to ROLE; None for any other reply."""
    match role:
        case [b"slave" | b"replica", bytes(host), int(port), *_]:
            return host.decode(errors="replace"), port
    return None


def facts_of(about: Any) -> dict[str, str]:
    """Name → value, of a reply to INFO or CLUSTER INFO; empty: there was none."""
    text = about.decode(errors="replace") if isinstance(about, bytes) else str(about or "")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
