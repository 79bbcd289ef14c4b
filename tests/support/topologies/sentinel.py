"""Three Sentinels, in processes of their own, and the primary and two replicas that they watch."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stateful_route.devcluster.embedded_store import StoreServer
from stateful_route.devcluster.ports import COMPONENT_PORTS, free_ports
from support.topologies.movable import MANAGED_AT, MovableStore, plain_client
from support.topologies.topology import TROUBLE, Topology, takes_writes, wait_until
from support.topologies.vip import follows

NAME = "main"
QUORUM = 2
HASTE = ("INFO-PERIOD", 300, "PING-PERIOD", 200, "PUBLISH-PERIOD", 300)
"""Milliseconds: what a Sentinel learns every second or ten it learns at once, so that a cell takes seconds."""
CUT_OFF_SECONDS = 1.5
DEAF = "deaf"
"""A user of the servers, and its password: a Sentinel that logs in so hears of no other Sentinel."""

Address = tuple[str, int]


class SentinelProcess:
    """One Sentinel, on a port of 127.0.0.1 that stays; `start` it with what it shall know."""

    def __init__(self, kind: StoreServer, settings: Path) -> None:
        self._kind = kind
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(COMPONENT_PORTS, 1)  # which no client is given while it is away

    def start(self, primary: Address, *, name: str = NAME, quorum: int = QUORUM, deaf: bool = False) -> None:
        """Start it to watch a primary. ``deaf``: it hears nothing of the other Sentinels, and tells them nothing."""
        self._settings.write_text(
            f"sentinel monitor {name} {primary[0]} {primary[1]} {quorum}\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 3000\n"
        )
        if deaf:
            with self._settings.open("a") as settings:
                settings.write(f"sentinel auth-user {name} {DEAF}\nsentinel auth-pass {name} {DEAF}\n")
                settings.write("user default on nopass ~* &* +@all -publish\n")  # as the others tell it directly
        words = [self._settings, "--sentinel", "--port", str(self.port), "--bind", MANAGED_AT]
        self._process = subprocess.Popen([self._kind.path, *words], stdout=subprocess.DEVNULL)
        wait_until(lambda: self.ask("PING"), "the Sentinel answers")
        self.ask("SENTINEL", "DEBUG", *HASTE)

    def watch(self, primary: Address) -> None:
        """Tell it that the primary is there now, as people do who have moved all servers."""
        self.ask("SENTINEL", "REMOVE", NAME)
        self.ask("SENTINEL", "MONITOR", NAME, *primary, QUORUM)
        self.ask("SENTINEL", "SET", NAME, "down-after-milliseconds", 500, "failover-timeout", 3000)

    def ask(self, *words: Any) -> Any:
        """The reply to one command."""
        with plain_client(MANAGED_AT, self.port) as client:
            return client.execute_command(*words)

    def primary(self) -> Address | None:
        """Whom it names; None: nobody, or it does not answer."""
        try:
            found = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        except TROUBLE:
            return None
        return None if found is None else (found[0], int(found[1]))

    def knows_all(self) -> bool:
        """Whether it knows both other Sentinels and two replicas that are up to date."""
        about = self.ask("SENTINEL", "MASTER", NAME)
        replicas = self.ask("SENTINEL", "REPLICAS", NAME)
        sound = [one for one in replicas if one["master-link-status"] == "ok" and one["flags"] == "slave"]
        return about["num-other-sentinels"] == "2" == about["num-slaves"] and len(sound) == 2

    def pause(self) -> None:
        """It takes connections and answers nothing (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """It is gone, its port refuses."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)


@dataclass
class Sentinels(Topology):
    """Three Sentinels; the first of the URL is the one that something happens to."""

    sentinels: list[SentinelProcess]
    servers: list[MovableStore]
    replicas = 2

    def __post_init__(self) -> None:
        self._primary = self.servers[0]
        self._frozen = False
        self._gone: Address | None = None
        """Where the primary was that the Sentinels shall name no more."""

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{self.login}{places}/{NAME}{self.settings}"

    def straight_url(self) -> str:
        host, port = self.sentinels[-1].primary() or self._address(self._primary)
        return f"redis://{host}:{port}"

    @property
    def primary_port(self) -> int:
        return self._primary.port

    def serves(self) -> bool:
        named = {one.primary() for one in self.sentinels[1:]}
        if len(named) != 1 or None in named or named == {self._gone}:
            return False
        (address,) = named
        return address is not None and takes_writes(*address)

    def answering(self) -> list[MovableStore]:
        return [server for server in self.servers if not (self._frozen and server is self._primary)]

    def at_rest(self) -> bool:
        """The former primary takes no writes: it is gone, frozen or a replica."""
        named = self.sentinels[-1].primary()
        return all(self._address(one) == named or not takes_writes(MANAGED_AT, one.port) for one in self.servers)

    def kill(self) -> None:
        """The primary is lost."""
        self._primary.kill()
        self._gone = self._address(self._primary)

    def freeze(self) -> None:
        """The primary answers no more."""
        self._primary.pause()
        self._frozen = True
        self._gone = self._address(self._primary)

    def thaw(self) -> None:
        """The frozen primary comes back, and is made a replica by the Sentinels."""
        self._primary.resume()
        self._frozen = False
        wait_until(self.at_rest, "the former primary is a replica")

    def swap(self) -> None:
        """A planned failover, asked of the last Sentinel; the former primary lives on."""
        self._gone = self._address(self._primary)
        self.sentinels[-1].ask("SENTINEL", "FAILOVER", NAME)

    def move_at_once(self) -> None:
        """All servers are replaced at the same time, with what they have on disk; people tell the Sentinels."""
        self._gone = self._address(self._primary)
        for server in self.servers:
            server.stop()
        for place, server in enumerate(self.servers):
            if server is not self._primary:
                server.remember("--replicaof", _moved(0), str(self._primary.port))
            server.move(_moved(place))
        for sentinel in self.sentinels:
            sentinel.watch(self._address(self._primary))

    def move_one_by_one(self) -> None:
        """A rolling replacement: first the replicas, then a planned failover, then the former primary."""
        first, *others = self.servers
        for place, server in enumerate(others, 1):
            server.move(_moved(place))
            wait_until(lambda server=server: follows(server), "the moved replica is connected")
            for sentinel in self.sentinels:  # which knows the address that is gone as one more replica
                sentinel.ask("SENTINEL", "RESET", NAME)
        wait_until(lambda: all(one.knows_all() for one in self.sentinels), "the Sentinels know the moved replicas")
        self.swap()
        wait_until(self.serves, "the planned failover")
        host, port = self.sentinels[-1].primary() or ("", 0)
        first.remember("--replicaof", host, str(port))
        first.move(_moved(0))

    def lose_sentinel(self) -> None:
        """The first Sentinel is gone, and a planned failover follows."""
        self.sentinels[0].kill()
        self.swap()

    def silence_sentinel(self) -> None:
        """The first Sentinel takes connections and answers nothing, and a planned failover follows."""
        self.sentinels[0].pause()
        self.swap()

    def mislead_sentinel(self) -> None:
        """The first Sentinel, cut off from the others and with an old configuration, names the former primary."""
        former = self._address(self._primary)
        self._swap_without(self.sentinels[0])
        self._start_stale(former)

    def mislead_sentinel_to_the_frozen(self) -> None:
        """The same, and the former primary takes connections and answers nothing."""
        former = self._address(self._primary)
        self.sentinels[0].kill()
        self.freeze()
        wait_until(self.serves, "a replica is promoted")
        self._start_stale(former)

    def confuse_sentinel(self) -> None:
        """The first Sentinel comes back and watches something else: it knows no such service."""
        former, first = self._address(self._primary), self.sentinels[0]
        self._swap_without(first)
        first.start(former, name="other", quorum=9)
        self.cut()  # all clients must ask again where the primary is

    def lose_sentinel_and_primary(self) -> None:
        """The node of the first Sentinel and the primary is lost."""
        self.sentinels[0].kill()
        self.kill()

    def _swap_without(self, sentinel: SentinelProcess) -> None:
        sentinel.kill()
        self.swap()
        wait_until(self.serves, "the planned failover")

    def _start_stale(self, former: Address) -> None:
        self.ask_all("ACL", "SETUSER", DEAF, "on", f">{DEAF}", "~*", "&*", "+@all", "-publish", "-subscribe")
        self.sentinels[0].start(former, deaf=True)
        assert self.sentinels[0].primary() == former, "it is stale"
        self.cut()  # all clients must ask again where the primary is

    def mislead_sentinel_to_a_primary(self) -> None:
        """The same, and the former primary is cut off with the Sentinel: for a while nobody makes it a replica."""
        former, server = self._address(self._primary), self._primary
        server.ask("ACL", "SETUSER", "default", "-replicaof", "-slaveof")  # the user of the other Sentinels
        self._swap_without(self.sentinels[0])
        self._start_stale(former)
        time.sleep(CUT_OFF_SECONDS)
        server.ask("ACL", "SETUSER", "default", "+@all")

    def still_misleads(self) -> None:
        """The first Sentinel has still learnt nothing; for the end of a cell, and then the frozen one comes back."""
        assert self.sentinels[0].primary() == self._gone, "it is stale"
        if self._frozen:
            self.thaw()

    @staticmethod
    def _address(server: MovableStore) -> Address:
        return server.host, server.port


def _moved(place: int) -> str:
    return f"127.0.2.{place + 1}"


@contextmanager
def three_sentinels(kind: StoreServer, folder: Path) -> Iterator[Sentinels]:
    """A primary, two replicas and three Sentinels that know each other."""
    with ExitStack() as stack:
        servers: list[MovableStore] = []
        for place in range(3):
            server = MovableStore(
                kind, f"127.0.1.{place + 1}", "--repl-diskless-sync-delay", "0", "--appendonly", "yes"
            )
            if servers:
                server.remember("--replicaof", servers[0].host, str(servers[0].port))
            servers.append(stack.enter_context(server))
        sentinels = [SentinelProcess(kind, folder / f"sentinel-{place}.conf") for place in range(3)]
        for sentinel in sentinels:
            stack.callback(sentinel.kill)
            sentinel.start((servers[0].host, servers[0].port))
        wait_until(lambda: all(one.knows_all() for one in sentinels), "the Sentinels know each other and the replicas")
        yield Sentinels(sentinels, servers)
