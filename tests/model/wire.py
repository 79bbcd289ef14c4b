"""The way from the actors to the real server: each request is answered at once, unless the test does something to it.

Below the library's store stands a client whose connections are these: all that the library does with its connections
runs unmodified. One round trip blocks the loop, so no virtual time passes in it; the way there and back takes the
cable's latency, in which others do what they do.
"""

import asyncio
import enum
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as rx
from redis.asyncio import Redis
from redis.connection import UnixDomainSocketConnection

from model.clock import WALL_START, ServerClock, VirtualLoop
from stateful_route.resources import shipped
from stateful_route.store.scripts import READS_ONLY, script

Command = tuple[Any, ...]

READING_COMMANDS = {
    "GET",
    "MGET",
    "HGET",
    "HGETALL",
    "HKEYS",
    "XLEN",
    "XRANGE",
    "PEXPIRETIME",
    "ZSCORE",
    "COMMAND INFO",
    "ROLE",
    "PING",
}

CALLBACKS: dict[str, Callable[..., Any]] = dict(Redis(protocol=2).response_callbacks)


POLLS = (["statefulGetService"], ["statefulGetServiceSince"])

CONNECT_SECONDS = 2.0
"""After so long who cannot connect gives up."""


class Fate(enum.Enum):
    """What becomes of a request that writes."""

    LOST = "does not arrive"
    UNANSWERED = "is carried out, its reply is lost"
    HELD = "is held up on its way"
    LATE = "is carried out, its reply is held up"


class Cable:
    """What connects one actor with the store.

    Attributes:
        up: It passes something.
        refuses: Where not, that is said at once; else nobody answers.
        deaf: What the store tells by itself does not come through.
        blind: So many more looks at the states are lost.
        fates: What becomes of the next requests that write; those behind them pass.
        breaks_after: A script after which it breaks, before the reply has passed; None: none.
    """

    def __init__(self, name: str, latency: float) -> None:
        self.name = name
        self.latency = latency
        self.up = True
        self.refuses = False
        self.deaf = False
        self.blind = 0
        self.fates: deque[Fate] = deque()
        self.breaks_after: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.ears: list[_Ear] = []

    def cut(self, *, refuses: bool = False) -> None:
        """Nothing passes any more; what listens is told."""
        self.up, self.refuses = False, refuses
        for ear in list(self.ears):
            ear.broke()

    def mend(self) -> None:
        """All passes again, also what was held up."""
        self.up = True
        self.deaf = False
        self.blind = 0
        self.breaks_after = None
        self.fates.clear()
        self.open()

    def hold(self) -> None:
        """What is held up from now on waits for `open`."""
        self.gate.clear()

    def open(self) -> None:
        """What was held up passes."""
        self.gate.set()

    async def demand(self) -> None:
        """Raise what redis-py raises where nobody can be reached: nothing was sent."""
        if not self.up:
            await asyncio.sleep(self.latency if self.refuses else CONNECT_SECONDS)
        if not self.up:
            error = rx.TimeoutError("nobody answers")
            error.nothing_sent = True  # type: ignore[attr-defined]
            raise error


Watcher = Callable[[Cable, "Request"], None]


class Request:
    """Some commands that are carried out together; ``scripts``: the names of those among them."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.scripts = [name for command in commands if (name := script_name(command))]
        self.writes = any(_writes(command) for command in commands)
        self.links = any(isinstance(word, str) and ":lk:" in word for command in commands for word in command)


class Network:
    """The server, its clock, and who hears what it tells.

    Attributes:
        shift: How far the server's clock is ahead of the world's, seconds.
        watcher: Is called after each request that has written something about links.
    """

    def __init__(self, socket: str, clock: ServerClock) -> None:
        self._clock = clock
        self._line = UnixDomainSocketConnection(path=socket, protocol=2, socket_timeout=10)
        self._told = UnixDomainSocketConnection(path=socket, protocol=2, socket_timeout=10)
        self._channel = ""
        self._known: dict[Command, Any] = {}
        self.loop: VirtualLoop
        self.shift = 0
        self.ears: list[_Ear] = []
        self.watcher: Watcher = lambda _cable, _request: None

    def begin(self, loop: VirtualLoop, channel: str) -> None:
        """Serve another world, with an empty store."""
        self.loop, self.shift, self.ears = loop, 0, []
        self.ask(("FLUSHALL",))
        if self._channel != channel:
            self._told.send_command("SUBSCRIBE", channel)
            self._told.read_response()
            self._channel = channel
        self._heard()

    def close(self) -> None:
        """Close both connections."""
        self._line.disconnect()
        self._told.disconnect()

    @property
    def now_ms(self) -> int:
        """The server's clock."""
        return round((WALL_START + self.loop.time() + self.shift) * 1000)

    def ask(self, *commands: Command) -> list[Any]:
        """The replies of the server, each a value or an error, for the test itself."""
        if any(_writes(command) for command in commands):
            self._known.clear()
        self._clock.set(self.now_ms)
        self._line.send_packed_command(self._line.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(self._line.read_response())
            except rx.ResponseError as error:
                replies.append(error)
        return replies

    def carry_out(self, cable: Cable, request: Request) -> list[Any]:
        """As `ask`, for an actor: it is seen, and others are told what the server tells."""
        replies = self._answered(request)
        if request.writes:
            if request.links:
                self.watcher(cable, request)
            for message in self._heard():
                for ear in self.ears:
                    ear.tell(message)
        if cable.breaks_after in request.scripts:
            cable.cut()
            raise rx.ConnectionError("broke after " + str(cable.breaks_after))
        return replies

    def _answered(self, request: Request) -> list[Any]:
        """As `ask`; all read the states again and again: while nobody writes, that is answered as before but the time.

        Nothing else is in that reply that changes by itself.
        """
        if request.scripts not in POLLS or len(request.commands) != 1:
            return self.ask(*request.commands)
        words = request.commands[0]
        if words not in self._known:
            (reply,) = self.ask(words)
            if isinstance(reply, Exception):
                return [reply]
            self._known[words] = reply
        return [[self.now_ms, *self._known[words][1:]] if self._known[words] else []]

    async def exchange(self, cable: Cable, commands: Sequence[Command]) -> list[Any]:
        """As `carry_out`, over the cable."""
        request = Request(commands)
        fate = cable.fates.popleft() if cable.fates and request.writes else None
        if cable.blind and request.scripts in POLLS:
            cable.blind -= 1
            raise rx.ConnectionError("lost on its way")
        if fate is Fate.LOST:
            raise rx.ConnectionError("lost on its way")
        if fate is Fate.HELD:
            cable.hold()
            return await asyncio.shield(self.loop.create_task(self._late(cable, request)))
        await asyncio.sleep(cable.latency)
        if not cable.up:
            raise rx.ConnectionError("cut off before it has arrived")
        replies = self.carry_out(cable, request)
        if fate is Fate.UNANSWERED:
            raise rx.ConnectionError("the reply was lost")
        if fate is Fate.LATE:
            cable.hold()
            await cable.gate.wait()
        await asyncio.sleep(cable.latency)
        if not cable.up:
            raise rx.ConnectionError("cut off before the reply")
        return replies

    async def _late(self, cable: Cable, request: Request) -> list[Any]:
        """It is carried out whenever it arrives, whether or not anybody still waits for it."""
        await cable.gate.wait()
        try:
            return self.carry_out(cable, request)
        except rx.ConnectionError as error:
            return [error] * len(request.commands)

    def _heard(self) -> list[list[bytes]]:
        """What the server has told so far."""
        self._told.send_command("PING")
        messages = []
        while True:
            reply: Any = self._told.read_response()
            if reply[0] == b"pong":
                return messages
            messages.append(reply)


class WireClient:
    """Stands for redis-py's client, in one actor's store."""

    def __init__(self, network: Network, cable: Cable) -> None:
        self._network, self._cable = network, cable
        self.connection_pool = _Pool(network, cable)

    async def execute_command(self, *words: Any, **_options: Any) -> Any:
        """One command, its reply as redis-py gives it."""
        await self._cable.demand()
        (reply,) = await self._network.exchange(self._cable, [words])
        if isinstance(reply, Exception):
            raise reply
        callback = CALLBACKS.get(words[0])
        return reply if callback is None else callback(reply)

    async def aclose(self) -> None:
        """There is nothing to be closed."""


class _Pool:
    def __init__(self, network: Network, cable: Cable) -> None:
        self._network, self._cable = network, cable
        self.connection_kwargs: dict[str, Any] = {}

    def apart(self) -> "_Ear":
        return _Ear(self._network, self._cable)

    def doubt(self) -> None:
        """There is one server."""

    async def get_connection(self) -> "_Connection":
        await self._cable.demand()
        return _Connection(self._network, self._cable)

    async def release(self, connection: "_Connection") -> None:
        """It was for one request."""


class _Connection:
    """For one round trip."""

    def __init__(self, network: Network, cable: Cable) -> None:
        self._network, self._cable = network, cable
        self._replies: deque[Any] = deque()
        self.socket_timeout: float | None = None
        self.host, self.port = cable.name, 0

    def pack_commands(self, commands: Sequence[Command]) -> Sequence[Command]:
        return commands

    async def send_packed_command(self, commands: Sequence[Command]) -> None:
        self._replies.extend(await self._network.exchange(self._cable, commands))

    async def read_response(self, **_options: Any) -> Any:
        reply = self._replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, **_options: Any) -> None:
        """Nothing is left on it."""


class _Ear:
    """A connection that is subscribed."""

    def __init__(self, network: Network, cable: Cable) -> None:
        self._network, self._cable = network, cable
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self.health_check_interval = 0

    async def connect(self) -> None:
        await self._cable.demand()
        self._cable.ears.append(self)

    async def send_command(self, *words: str) -> None:
        await self._cable.demand()
        if words[0] == "PING":
            self._later([b"pong", b""])
        else:
            self._later([b"subscribe", words[1].encode(), 1])
            if self not in self._network.ears:
                self._network.ears.append(self)

    async def read_response(self, **_options: Any) -> Any:
        reply = await self._queue.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, **_options: Any) -> None:
        for ears in (self._cable.ears, self._network.ears):
            if self in ears:
                ears.remove(self)

    def tell(self, message: list[bytes]) -> None:
        """The server tells something by itself."""
        if self._cable.up and not self._cable.deaf:
            self._later(message)

    def broke(self) -> None:
        """The connection is over."""
        self._queue.put_nowait(rx.ConnectionError("cut off"))

    def _later(self, message: Any) -> None:
        self._network.loop.call_later(self._cable.latency, self._queue.put_nowait, message)


def _sha(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


NAMES = {
    script(name).sha: name
    for path in shipped("lua").iterdir()
    if (name := path.name[: -len(".lua")]) + ".lua" == path.name
}
"""Hash of a script → its name."""


def script_name(command: Command) -> str | None:
    """The name of the script that a command runs; None: it is a plain command."""
    if command[0] == "EVALSHA":
        return NAMES.get(command[1], "unknown")
    return NAMES.get(_sha(command[1]), "unknown") if command[0] == "EVAL" else None


def _writes(command: Command) -> bool:
    name = script_name(command)
    return command[0] not in READING_COMMANDS if name is None else name not in READS_ONLY
