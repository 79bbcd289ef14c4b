"""Repair of the reverse index: what has expired leaves it, what foreign clients linked without us enters it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from stateful_route.store.connection import Store
from stateful_route.store.index import Bucket, Repaired, all_links, linked_uids, repair
from stateful_route.store.keys import Service

log = logging.getLogger(__name__)

SHARE = 0.2
"""At most this part of the time is spent in Redis, so that other callers are not held up."""


async def repair_index(store: Store, service: Service) -> Repaired:
    """Walk the index: drop entries whose link is gone, correct those that name another pod."""
    return await _repair(store, service, all_links(store, service))


async def adopt_foreign(store: Store, service: Service) -> Repaired:
    """Look at all keys of the store for links of the service that are not in the index, and enter them."""
    return await _repair(store, service, linked_uids(store, service))


async def _repair(store: Store, service: Service, walk: AsyncIterator[list[Bucket]]) -> Repaired:
    total = Repaired()
    while True:
        began = time.monotonic()
        buckets = await anext(walk, None)
        if buckets is None:
            break
        total += await repair(store, service, buckets)
        await asyncio.sleep((time.monotonic() - began) * (1 - SHARE) / SHARE)
    if total.expired or total.moved or total.found:
        log.info(
            "index repaired",
            extra={
                "service": str(service),
                "expired": total.expired,
                "moved": total.moved,
                "found": total.found,
            },
        )
    return total
