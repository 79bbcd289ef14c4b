"""Finds out whom to connect to: the primary that Sentinels watch, or a node of a Cluster that knows the slots.

All that can tell are asked at once, and the newest word is believed. redis-py's own clients ask one after the other:
one that is gone or silent takes the whole time of a call, and of the next call, too.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from time import monotonic
from typing import Any

from redis import exceptions as rx
from redis.asyncio.connection import Connection, SSLConnection

from stateful_route.domain.address import host_port
from stateful_route.domain.witnesses import Word, believed, patience
from stateful_route.store.causes import cause_of
from stateful_route.store.failures import FAILURES, NO_CLUSTER, is_denied
from stateful_route.store.marks import connecting, nothing_sent, of_no_server
from stateful_route.store.runtime import Lock, hear, heeding_deadline
from stateful_route.store.sockets import NOT_ALLOWED, IsSentinel, facts_of, is_sentinels

log = logging.getLogger(__name__)

DOWN = {"s_down", "o_down"}
"""Flags of a primary that a Sentinel cannot reach, or that most of them cannot."""

Place = tuple[str, int]
"""Host and port."""


SENTINEL_LOOK_SECONDS = 1.0
"""How often Sentinels are asked at most whether the primary is still the same: in a planned swap the former one takes
writes for seconds, and loses them."""


class Asking:
    """Asks servers one question at a time, over connections that are kept for the next one while all is well."""

    def __init__(self, settings: Mapping[str, Any], own: Collection[str] = ()) -> None:
        """Nothing is connected yet.

        Args:
            settings: Of redis-py's connections besides host and port; ``ssl`` True: with TLS.
            own: Those of them that the URL has for Sentinels alone, as ``sentinel_ssl_ca_certs`` ….
        """
        self._own = own
        self._settings = {name: value for name, value in settings.items() if name != "ssl"}
        self._connection_class = heeding_deadline(SSLConnection if settings.get("ssl") else Connection)
        self._kept: dict[Place, Any] = {}
        """Those that are not in use."""

    async def ask(self, place: Place, *words: str) -> Any:
        """The reply of a server, as bytes and lists of bytes.

        Raises:
            redis-py's errors, OSError: it does not answer in time, or refuses.
        """
        connection = self._kept.pop(place, None)
        if connection is not None:
            try:
                return await self._asked(place, connection, *words)
            except FAILURES as error:
                log.debug("%s has closed the connection: %s", host_port(*place), error)
        return await self._asked(place, self._connection_class(host=place[0], port=place[1], **self._settings), *words)

    async def close(self) -> None:
        """Close all connections; more may be asked afterwards."""
        while self._kept:
            _, connection = self._kept.popitem()
            await connection.disconnect(nowait=True)

    async def _asked(self, place: Place, connection: Any, *words: str) -> Any:
        try:
            with connecting(connection, self._own):
                await connection.connect()
                await connection.send_command(*words)
                reply = await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._kept[place] = connection
        return reply


class Sentinels:
    """A set of Sentinels, and the name by which they know the primary and its replicas."""

    def __init__(self, places: Sequence[Place], service: str, asking: Asking) -> None:
        """Nothing is connected yet; ``service``: what the primary is called."""
        self._places = list(places)
        self._service = service
        self._asking = asking
        self._turn = Lock()
        self._told: Place | Exception | None = None
        self._asked_at = -1.0
        """When the question was begun whose answer that is."""

    @property
    def last(self) -> Place | None:
        """What was told last; None: nothing yet, or nobody could tell."""
        return None if isinstance(self._told, Exception) else self._told

    async def close(self) -> None:
        """Close the connections to them; they can be asked again afterwards."""
        await self._asking.close()

    async def primary(self) -> Place:
        """Where the primary is; who asks while others are being answered is given the next answer with all who wait.

        Raises:
            redis-py's AuthenticationError: none has told, and one wants a user or a password.
            redis-py's ConnectionError: none has told.
        """
        came = monotonic()
        async with self._turn:
            if self._told is None or self._asked_at < came:
                asked_at = monotonic()
                try:
                    self._told = await self._ask_all()
                except FAILURES as error:
                    self._told = error
                self._asked_at = asked_at
            if isinstance(self._told, Exception):
                raise self._told
            return self._told

    async def _ask_all(self) -> Place:
        jobs = [lambda place=place: self._ask(place) for place in self._places]
        words = await hear(jobs, lambda said: patience(said, len(jobs)))
        best = believed(words)
        if best is None or best.place is None:
            raise _nobody(words, f"no Sentinel tells where the primary of {self._service!r} is: ")
        self._places.sort(key=lambda place: host_port(*place) != best.witness)  # it is the first to be asked next time
        return best.place

    async def _ask(self, place: Place) -> Word:
        """Where the primary is by one of them; its other words tell how new that is, but name the former one longer."""
        try:
            address = await self._asking.ask(place, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            if not address:
                return Word(host_port(*place), why=f"{host_port(*place)} knows no primary of that name")
            about = await self._about(place)
            return _word_of_sentinel(host_port(*place), address, about)
        except FAILURES as error:
            return _failed(place, error, "Sentinel")
        except ValueError:
            return Word(host_port(*place), why=f"{host_port(*place)} does not answer as a Sentinel does")

    async def _about(self, place: Place) -> Any:
        try:
            return await self._asking.ask(place, "SENTINEL", "MASTER", self._service)
        except NOT_ALLOWED:
            return []


class Seeds:
    """The nodes of a Cluster that a URL names: they are asked again whenever it is to be found anew."""

    def __init__(self, places: Sequence[Place], asking: Asking) -> None:
        """Nothing is connected yet."""
        self._places = list(places)
        self._asking = asking

    async def best(self, known: Iterable[Place]) -> Place:
        """A node that answers, the one with the newest view of the Cluster; ``known``: nodes besides the URL's.

        Raises:
            redis-py's AuthenticationError: none answers, and one wants a user or a password.
            redis-py's ConnectionError: none answers.
        """
        places = list(dict.fromkeys([*self._places, *known]))
        jobs = [lambda place=place: self._ask(place) for place in places]
        words = await hear(jobs, lambda said: patience(said, len(jobs)))
        await self._asking.close()
        best = believed(words)
        if best is None or best.place is None:
            raise _nobody(words, "no node of the Cluster answers: " if len(words) > 1 else "")
        return best.place

    async def _ask(self, place: Place) -> Word:
        try:
            reply = await self._asking.ask(place, "CLUSTER", "INFO")
        except rx.ClusterDownError as error:
            return _failed(place, error)
        except NOT_ALLOWED as error:
            if "cluster support disabled" in str(error):
                return Word(host_port(*place), why=f"{host_port(*place)} {NO_CLUSTER}, use redis://")
            return await self._without_info(place)
        except FAILURES as error:
            return _failed(place, error)
        about = facts_of(reply)
        epoch = about.get("cluster_current_epoch", "")
        sound = about.get("cluster_state") == "ok" and epoch.isdigit()
        return Word(host_port(*place), place, int(epoch) if sound else -1)

    async def _without_info(self, place: Place) -> Word:
        """The word of a server that does not tell about its Cluster: the user may not ask, or it is no node of one."""
        try:
            if is_sentinels(await self._asking.ask(place, "ROLE")):
                return Word(host_port(*place), why=f"{host_port(*place)}: {IsSentinel()}")
        except FAILURES as error:
            log.debug("%s does not tell its role: %s", host_port(*place), error)
        return Word(host_port(*place), place)


@cache
def led(base: Any) -> type:
    """The class of redis-py's connections that goes where ``sentinels``, one of its arguments, say."""
    return type(f"Led{base.__name__}", (_Led, base), {})


class _Led:
    def __init__(self, *args: Any, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sentinels = sentinels

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        connection: Any = self
        if not connection.is_connected:
            with nothing_sent(), of_no_server():
                connection.host, connection.port = await self._sentinels.primary()
        await super().connect_check_health(*args, **options)  # type: ignore[misc]


def _nobody(words: Sequence[Word], what: str) -> rx.ConnectionError:
    """The error when nobody has said anything of use; an AuthenticationError is one of connecting, too."""
    error = rx.AuthenticationError if any(word.denied for word in words) else rx.ConnectionError
    return error(what + "; ".join(word.why for word in words))


def _failed(place: Place, error: Exception, who: str = "it") -> Word:
    """The word of a server that has not answered, or has refused."""
    witness = host_port(*place)
    why = cause_of(error).removeprefix(f"{witness}: ").replace("it wants", f"{who} wants")
    return Word(witness, why=f"{witness}: {why}", denied=is_denied(error))


def _word_of_sentinel(witness: str, address: Sequence[Any], about: Any) -> Word:
    """What a Sentinel has said: host and port, and names and values in turn."""
    host, port = map(_text, address)
    texts = [_text(item) for item in about] if isinstance(about, Sequence) else []
    known = dict(zip(texts[::2], texts[1::2], strict=False))
    if (host, port) == (known.get("ip"), known.get("port")) and DOWN & set(known.get("flags", "").split(",")):
        why = f"{witness} cannot reach the primary so far, {host_port(host, port)}"
        return Word(witness, why=why, vacant=True)
    return Word(witness, (host, int(port)), int(known.get("config-epoch", -1)))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
