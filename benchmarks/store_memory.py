"""What a link costs in the server's memory, with the index and without."""

from benchmarks.figures import Figure
from stateful_route.store.connection import Store
from stateful_route.store.keys import BUCKETS, Service

VALKEY_BYTES = 240
REDIS_BYTES = 260
KEYS_PER_TRIP = 1024


async def with_index(store: Store, service: Service, base: int, links: int) -> list[Figure]:
    """Bytes a link in all, and those of its index entry by MEMORY USAGE of each bucket."""
    used = await used_bytes(store) - base
    index = 0
    for start in range(0, BUCKETS, KEYS_PER_TRIP):
        buckets = range(start, start + KEYS_PER_TRIP)
        replies = await store.pipeline([("MEMORY USAGE", service.index(bucket), "SAMPLES", 0) for bucket in buckets])
        index += sum(reply or 0 for reply in replies)
    goal = VALKEY_BYTES if await _is_valkey(store) else REDIS_BYTES
    return [
        Figure("a link in all", f"{used / links:.0f} bytes", f"≤ {goal}", used / links <= goal),
        Figure("without the index", f"{(used - index) / links:.0f} bytes"),
    ]


async def used_bytes(store: Store) -> int:
    """``used_memory`` of all primaries."""
    return sum(int(info["used_memory"]) for info in await infos(store, "memory"))


async def infos(store: Store, section: str) -> list[dict[str, str]]:
    """A section of INFO of each primary."""
    reply = await on_primaries(store, "INFO", section)
    return list(reply)


async def on_primaries(store: Store, *words: object) -> list:  # type: ignore[type-arg]
    """What each primary replies to a command."""
    client = store._client  # noqa: SLF001  no call of the store's own asks each server
    if not store.cluster:
        return [await client.execute_command(*words)]
    await client.initialize()
    return [await client.execute_command(*words, target_nodes=node) for node in client.get_primaries()]


async def _is_valkey(store: Store) -> bool:
    (server, *_) = await infos(store, "server")
    return server.get("server_name") == "valkey" or "valkey_version" in server
