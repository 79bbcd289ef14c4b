"""A real Redis Cluster of three servers, each with a third of the slots."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from redis.crc import key_slot

from support.waiting import PATIENCE_SECONDS

SLOTS = 16384


@dataclass(frozen=True)
class Cluster:
    """Three servers, each with a third of the slots, and a plain client for each."""

    servers: list
    nodes: list[redis.Redis]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def owner(self, key: str) -> redis.Redis:
        """The node that has the key's slot."""
        return next(node for node, slots in zip(self.nodes, thirds(), strict=True) if key_slot(key.encode()) in slots)

    def all_keys(self) -> set[str]:
        return {key for node in self.nodes for key in node.scan_iter()}


def thirds() -> list[range]:
    bounds = [SLOTS * part // 3 for part in range(4)]
    return [range(bounds[part], bounds[part + 1]) for part in range(3)]


def is_complete(node: redis.Redis) -> bool:
    info = node.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"


@contextmanager
def three_nodes(start_server: Callable[..., object]) -> Iterator[Cluster]:
    """Three servers that have come together; whoever started them ends them."""
    servers = [start_server("--cluster-enabled", "yes") for _ in range(3)]
    nodes = [redis.Redis(port=server.port, decode_responses=True) for server in servers]
    for node, slots in zip(nodes, thirds(), strict=True):
        node.execute_command("CLUSTER", "ADDSLOTS", *slots)
        node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", nodes.index(node) + 1)
    for server in servers[1:]:
        nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(is_complete(node) for node in nodes):
        assert time.monotonic() < deadline, "the cluster does not come together"
        time.sleep(0.02)
    yield Cluster(servers, nodes)
    for node in nodes:
        node.close()
