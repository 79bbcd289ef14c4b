"""A Cluster of three primaries, each with a replica."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.crc import key_slot

from stateful_route.devcluster.embedded_store import StoreServer
from stateful_route.store.keys import tags
from support.redis_cluster import thirds
from support.topologies.movable import MANAGED_AT, MovableStore, plain_client
from support.topologies.topology import Topology, takes_writes, wait_until
from support.topologies.vip import follows

SETTINGS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "700",
    "appendonly": "yes",
    "repl-diskless-sync-delay": "0",
}
NAME = "node-0.store.test"
MOVE_SECONDS = 5.0
MIGRATE_MS = 1000
OPEN_SECONDS = 1.8
"""Longer than a call may take."""
MOST_SLOTS = 40


@dataclass
class SixNodes(Topology):
    """Three primaries and their replicas, in the same order; something happens to the first and to its replica.

    Attributes:
        names: Where the name of the first node leads to, kept up to date; None: the URL has addresses.
    """

    nodes: list[MovableStore]
    names: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self._away: list[MovableStore] = []
        self._successor: MovableStore | None = None
        """Who shall have the first node's slots."""

    @property
    def url(self) -> str:
        if self.names is not None:
            return f"redis+cluster://{NAME}:{self.nodes[0].port}"
        return f"redis+cluster://{self.login}{','.join(node.address for node in self.nodes[:3])}{self.settings}"

    def straight_url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.answering())

    @property
    def primary_port(self) -> int:
        return self.nodes[0].port

    def marker(self) -> str:
        return marker(0)

    def serves(self) -> bool:
        present = self.answering()
        if not all(node.ask("CLUSTER INFO")["cluster_state"] == "ok" for node in present):
            return False
        owners = [self._owners(node) for node in present]
        if any(known != owners[0] for known in owners) or len(owners[0]) != 3:
            return False
        if self._successor is not None and owners[0][0] != (self._successor.host, self._successor.port):
            return False
        return all(takes_writes(*owner, marker(part)) for part, owner in enumerate(owners[0]))

    def answering(self) -> list[MovableStore]:
        return [node for node in self.nodes if node not in self._away]

    def kill(self) -> None:
        """A primary is lost; its replica takes over by itself."""
        self._lose(self.nodes[0])
        self.nodes[0].kill()

    def freeze(self) -> None:
        """A primary answers no more; its replica takes over by itself."""
        self._lose(self.nodes[0])
        self.nodes[0].pause()

    def thaw(self) -> None:
        """The frozen primary comes back, and finds that it is a replica now."""
        self.nodes[0].resume()
        wait_until(lambda: follows(self.nodes[0]), "the former primary is a replica")
        self._away.clear()

    def swap(self) -> None:
        """A planned failover of the first primary; it lives on as a replica."""
        self._successor = self.nodes[3]
        self._successor.ask("CLUSTER", "FAILOVER")

    def move_at_once(self) -> None:
        """All nodes are replaced at the same time, with what they have on disk; people introduce them to each other."""
        for node in reversed(self.nodes):  # the replicas first: nobody shall take over
            node.stop()
        for place, node in enumerate(self.nodes):
            self._move(place, node)
        introduce(self.nodes)

    def move_one_by_one(self) -> None:
        """A rolling replacement: each node finds the others where it last saw them, and tells them where it is."""
        for place, node in enumerate(self.nodes):
            self._move(place, node)
            wait_until(lambda: self.serves() and all(map(knows_all, self.nodes)), f"node {place} is back")

    def move_slots_key_by_key(self) -> None:
        """Slots in use of the first primary move to the second, and back, as ``--cluster reshard`` does it.

        All of them stay for a while as they are before their first key moves: open, with all keys still there.
        """
        with self._primaries() as (first, second, third):
            slots = slots_in_use(first, thirds()[0])[:MOST_SLOTS]
            for giver, taker, there in ((first, second, self.nodes[1]), (second, first, self.nodes[0])):
                open_slots(slots, giver, taker)
                time.sleep(OPEN_SECONDS)
                for slot in slots:
                    while keys := giver.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
                        giver.execute_command("MIGRATE", there.host, there.port, "", 0, MIGRATE_MS, "KEYS", *keys)
                close_slots(slots, taker, (taker, giver, third))

    def move_slots_at_once(self) -> None:
        """All slots but one of the first primary move to the second, and back."""
        first, last = thirds()[0].start, thirds()[0].stop - 2  # who has no slot left becomes a replica
        for giver, taker in ((0, 1), (1, 0)):
            with self._primaries() as clients:
                goal = clients[taker].execute_command("CLUSTER MYID")
                clients[giver].execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", goal)
                wait_until(lambda giver=giver, clients=clients: has_ended(clients[giver]), "the slots have moved")

    def _lose(self, node: MovableStore) -> None:
        self._away.append(node)
        self._successor = self.nodes[3]

    def _move(self, place: int, node: MovableStore) -> None:
        node.move(f"127.0.2.{place + 1}")
        if self.names is not None:
            self.names[NAME] = self.nodes[0].host

    @staticmethod
    def _owners(node: MovableStore) -> list[tuple[str, int]]:
        """Who has the first slot of each third, by the word of a node."""
        ranges = node.ask("CLUSTER SLOTS")
        firsts = [third.start for third in thirds()]
        return [(owner[0], owner[1]) for first in firsts for a, b, owner, *_ in ranges if a <= first <= b]

    @contextmanager
    def _primaries(self) -> Iterator[list[redis.Redis]]:
        with ExitStack() as stack:
            yield [stack.enter_context(plain_client(MANAGED_AT, node.port, MOVE_SECONDS)) for node in self.nodes[:3]]


def marker(part: int) -> str:
    """A key in the first slot of a third."""
    return MARKERS[part]


MARKERS = [next(f"sf:{{{tag}}}marker" for tag in tags() if key_slot(tag.encode()) in third) for third in thirds()]


def slots_in_use(node: redis.Redis, among: Sequence[int]) -> list[int]:
    """Of some slots, those in which a node has keys; those with the states of services first."""
    keys = sorted(node.scan_iter(count=1000), key=lambda key: ":state:" not in key)
    return [slot for slot in dict.fromkeys(key_slot(key.encode()) for key in keys) if slot in among]


def open_slots(slots: Sequence[int], giver: redis.Redis, taker: redis.Redis) -> None:
    """Their keys may be on both sides from now on."""
    ids = {node: node.execute_command("CLUSTER MYID") for node in (giver, taker)}
    for slot in slots:
        taker.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[giver])
        giver.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[taker])


def close_slots(slots: Sequence[int], taker: redis.Redis, primaries: Sequence[redis.Redis]) -> None:
    """They have moved."""
    owner = taker.execute_command("CLUSTER MYID")
    for slot in slots:
        for node in primaries:
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", owner)


def has_ended(node: redis.Redis) -> bool:
    """Whether the last move of slots at once is over; it must not have failed."""
    migration, *_ = node.execute_command("CLUSTER GETSLOTMIGRATIONS")
    about = dict(zip(migration[::2], migration[1::2], strict=True)) if isinstance(migration, list) else migration
    assert about["state"] not in {"failed", "cancelled"}, about
    return bool(about["state"] == "success")


def introduce(nodes: Sequence[MovableStore]) -> None:
    """Tell each node where all others are."""
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.ask("CLUSTER", "MEET", other.host, other.port)


def knows_all(node: MovableStore) -> bool:
    """Whether it knows six nodes, none of which it takes for away."""
    known: dict[str, Any] = node.ask("CLUSTER NODES")
    return len(known) == 6 and not any("fail" in about["flags"] or "hand" in about["flags"] for about in known.values())


@contextmanager
def six_nodes(kind: StoreServer, names: dict[str, str] | None = None) -> Iterator[SixNodes]:
    """A Cluster that has come together."""
    words = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    with ExitStack() as stack:
        nodes = [stack.enter_context(MovableStore(kind, f"127.0.1.{place + 1}", *words)) for place in range(6)]
        for epoch, (node, slots) in enumerate(zip(nodes[:3], thirds(), strict=True), 1):
            node.ask("CLUSTER", "ADDSLOTSRANGE", slots.start, slots.stop - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        introduce(nodes)
        wait_until(lambda: all(map(knows_all, nodes)), "all know each other")
        for primary, replica in zip(nodes[:3], nodes[3:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER MYID"))
        wait_until(lambda: all(map(follows, nodes[3:])), "the replicas are connected")
        if names is not None:
            names[NAME] = nodes[0].host
        cluster = SixNodes(nodes, names)
        wait_until(lambda: cluster.serves() and all(map(knows_replicas, nodes)), "the Cluster is whole")
        yield cluster


def knows_replicas(node: MovableStore) -> bool:
    """Whether it knows that each primary has a replica."""
    return all(len(replicas) == 1 for _, _, _, *replicas in node.ask("CLUSTER SLOTS"))
