"""What each server of a store says of itself: version, persistence, memory, clock."""

import time
from collections.abc import Mapping
from typing import Any

from stateful_route.domain.address import host_port
from stateful_route.domain.diagnosis import ServerFacts
from stateful_route.domain.epoch import clock_ms
from stateful_route.domain.errors import StoreRejected
from stateful_route.store.connection import Store

SETTINGS = ("save", "appendonly", "maxmemory-policy", "min-replicas-to-write")
CLOCK_READINGS = 3
"""The one with the shortest round trip counts."""


async def survey(store: Store) -> list[ServerFacts]:
    """The facts of each server; what a managed service does not let us ask is None.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    return [await _facts(store, node) for node in await store.nodes()]


async def _facts(store: Store, node: str | None) -> ServerFacts:
    info = await _allowed(store, node, "INFO") or {}
    settings: dict[str, str] = {}
    for name in SETTINGS:
        found = await _allowed(store, node, "CONFIG GET", name) or {}
        settings |= {_text(key): _text(value) for key, value in found.items()}
    skew, error = await _skew(store, node)
    brand = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    number = info.get("valkey_version") or info.get("redis_version")
    failed = [info.get(name, "ok") for name in ("rdb_last_bgsave_status", "aof_last_write_status")]
    aof = settings.get("appendonly") or {1: "yes", 0: "no"}.get(info.get("aof_enabled", -1))
    replicas_to_write = settings.get("min-replicas-to-write", "")
    return ServerFacts(
        name=host_port(*node.rsplit(":", 1)) if node else store.label,
        version=f"{brand} {number}" if number else "?",
        replica=info.get("role") in {"slave", "replica"},
        saves=bool(settings["save"]) if "save" in settings else None,
        appends=None if aof is None else aof == "yes",
        write_failed=any(word != "ok" for word in failed),
        memory_limit=_number(info, "maxmemory"),
        memory_used=_number(info, "used_memory"),
        policy=settings.get("maxmemory-policy") or info.get("maxmemory_policy"),
        replicas=int(info.get("connected_slaves", 0)),
        replicas_to_write=int(replicas_to_write) if replicas_to_write.isdigit() else None,
        skew_seconds=skew,
        skew_error_seconds=error,
    )


async def _skew(store: Store, node: str | None) -> tuple[float | None, float]:
    """Its clock minus ours, None if what answers is no clock, and how far off that may be; seconds."""
    best: tuple[float | None, float] = (None, float("inf"))
    for _ in range(CLOCK_READINGS):
        began = time.time()
        now = clock_ms(await _allowed(store, node, "TIME"))
        ended = time.time()
        if now is None:
            return None, 0.0
        error = max(0.0, ended - began) / 2
        if error < best[1]:
            best = (now / 1000 - (began + ended) / 2, error)
    return best


async def _allowed(store: Store, node: str | None, *words: str) -> Any:
    """The reply to a command; None: the server has refused it."""
    try:
        return await store.ask_node(node, *words)
    except StoreRejected:
        return None


def _number(info: Mapping[str, Any], name: str) -> int | None:
    """What INFO says; None: it does not."""
    return int(info[name]) if name in info else None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
