"""Connections to the API server, and the login that is shown on them: both change while the process runs."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import aiohttp

from stateful_route.kube.login import Login, NoLogin

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Between two readings at least: a plugin costs a process, and may ask a person."""
AT_ONCE = 100
"""Requests; watches are not limited."""
LONG_LINE = 2**21
"""Letters that may wait to be read."""

UNUSABLE = (OSError, ValueError)
"""What certificates and keys raise that fit neither each other nor anything: somebody is just replacing them."""


class Reply(Protocol):
    """What the API server has answered."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def reason(self) -> str | None:
        """The words for it."""
        ...


R = TypeVar("R", bound=Reply)
Read = Callable[[], Awaitable[Login]]
Words = dict[str, Any]
"""What each request says besides its own: as of ``aiohttp.ClientSession.request``."""
Send = Callable[[aiohttp.ClientSession, str, Words], Awaitable[R]]
"""Sends a request once: by which session, to which server (``https://host:port``), with which words."""


class Connections:
    """Has requests sent with the present login, which is read anew when it is old, or was refused."""

    def __init__(self, login: Login, read: Read | None = None) -> None:
        """With a first login; ``read``: gives the present one, or raises `NoLogin`; None: there is no other."""
        self._login = login
        self._read = read
        self._sessions = _Sessions(login)
        self._reading: asyncio.Task[None] | None = None
        self._read_at = time.monotonic() - AGAIN_SECONDS  # the first may be long ago when it is refused
        self._unreadable: str | None = None
        self._refused: tuple[str, datetime] | None = None

    @property
    def problem(self) -> str | None:
        """Why the API server does not take the credentials, since when, and why there are no others; None: it does."""
        if self._refused is None:
            return None
        why, since = self._refused
        text = f"the API server refuses the credentials since {since:%Y-%m-%dT%H:%M:%SZ}: {why}"
        return f"{text}; others cannot be had: {self._unreadable}" if self._unreadable else text

    async def exchange(self, send: Send[R], *, watch: bool = False) -> R:
        """Have a request sent; with another login again where the first is refused (401): nothing was done then.

        Args:
            send: See there; what it gives has been read, unless it is a watch.
            watch: The answer goes on for long: it ends when other connections are needed.

        Raises:
            OSError, aiohttp.ClientError: no answer.
        """
        login = await self._present()
        try:
            reply = await self._sent(login, send, watch=watch)
        except aiohttp.ClientConnectorCertificateError:  # the authority may have changed, too
            other = await self._other(login)
            if other.same(login):
                raise
            reply = await self._sent(other, send, watch=watch)
        else:
            if reply.status == HTTPStatus.UNAUTHORIZED and not (other := await self._other(login)).same(login):
                reply = await self._sent(other, send, watch=watch)
        self._heard(reply)
        return reply

    async def close(self) -> None:
        """Close all connections."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._sessions.close()

    async def _present(self) -> Login:
        """The login that counts; it is read anew if it is old."""
        if time.time() >= self._login.read_again_at:
            await self._read_anew()
        return self._login

    async def _other(self, refused: Login) -> Login:
        """Another login than the one that was refused; the same if there is none at the moment."""
        if refused is self._login:
            await self._read_anew()
        return self._login

    async def _sent(self, login: Login, send: Send[R], *, watch: bool) -> R:
        words: Words = dict(login.words)
        if login.authorization is not None:
            words["headers"] = {"Authorization": login.authorization}
        async with self._sessions.used(watch=watch) as session:
            return await send(session, login.server, words)

    def _heard(self, reply: Reply) -> None:
        if reply.status == HTTPStatus.UNAUTHORIZED and self._refused is None:
            self._refused = (reply.reason or str(reply.status), datetime.now(UTC))
            log.warning("the API server refuses the credentials", extra={"why": self.problem})
        elif reply.status < HTTPStatus.INTERNAL_SERVER_ERROR and reply.status != HTTPStatus.UNAUTHORIZED:
            if self._refused is not None:  # what a proxy in between says of itself is no answer to it
                log.info("the API server takes the credentials again")
            self._refused = None

    async def _read_anew(self) -> None:
        """Read it, or wait for whoever does; the reading goes on when this caller gives up earlier."""
        if self._read is None:
            return
        if self._reading is None or self._reading.done():
            if time.monotonic() < self._read_at + AGAIN_SECONDS:
                return
            self._reading = asyncio.create_task(self._take(self._read), name="read the credentials")
        await asyncio.shield(self._reading)

    async def _take(self, read: Read) -> None:
        try:
            login = await read()
            retired = self._sessions if login.connections != self._login.connections else None
            if retired is not None:
                self._sessions = _Sessions(login)
        except (NoLogin, *UNUSABLE) as error:
            if self._unreadable != str(error):
                log.warning("the credentials cannot be read anew", extra={"error": str(error)})
            self._unreadable = str(error)
            return
        finally:
            self._read_at = time.monotonic()
        self._unreadable = None
        former, self._login = self._login, login
        if not login.same(former):
            log.info("other credentials are used from now on")
        if retired is not None:
            await retired.retire()


class _Sessions:
    """The connections that a login's certificates are used for; retired, they are closed after the last request."""

    def __init__(self, login: Login) -> None:
        self._tls = _tls(login.configuration)
        self._open: dict[int, aiohttp.ClientSession] = {}
        self._users = 0
        self._retired = False

    @asynccontextmanager
    async def used(self, *, watch: bool) -> AsyncIterator[aiohttp.ClientSession]:
        """A session, open until the end of the block at least."""
        limit = 0 if watch else AT_ONCE
        if limit not in self._open:
            connector = aiohttp.TCPConnector(limit=limit, ssl=self._tls)
            self._open[limit] = aiohttp.ClientSession(connector=connector, trust_env=True, read_bufsize=LONG_LINE)
        self._users += 1
        try:
            yield self._open[limit]
        finally:
            self._users -= 1
            if self._retired and not self._users:
                await self.close()

    async def retire(self) -> None:
        """Nobody uses them any more, but who does so already."""
        self._retired = True
        if not self._users:
            await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for session in self._open.values():
            await session.close()


def _tls(configuration: Any) -> ssl.SSLContext:
    """What the configuration trusts, and the certificate that it shows.

    Raises:
        OSError, ValueError: they fit neither each other nor anything.
    """
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls
