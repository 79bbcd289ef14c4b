"""Repair of the reverse index: what has expired leaves it, what foreign clients linked without us enters it."""

import logging

from stateful_route.domain.errors import AuthenticationFailed, StoreRejected
from stateful_route.store.connection import Store
from stateful_route.store.counts import kept_counts
from stateful_route.store.index import Repaired, repair_service
from stateful_route.store.keys import Service
from stateful_route.store.migrate import trim_moves

log = logging.getLogger(__name__)


async def has_entries(store: Store, service: Service) -> bool:
    """Whether a walk over the index may find anything: the scripts that keep the counts know of none if not.

    A client of an earlier version may have entered some without the counts.
    """
    return await kept_counts(store, service) != {}


async def repair_index(store: Store, service: Service) -> Repaired:
    """Walk the index: drop entries whose link is gone, correct those that name another pod; let the moves age."""
    repaired = await repair_service(store, service, foreign=False)
    note_repaired(store, service, repaired)
    await age_moves(store, service)
    return repaired


async def adopt_foreign(store: Store, service: Service) -> Repaired:
    """Look at all keys of the store for links of the service that are not in the index, and enter them."""
    repaired = await repair_service(store, service, foreign=True, index=False)
    note_repaired(store, service, repaired)
    return repaired


async def age_moves(store: Store, service: Service) -> None:
    """Drop what was told of moves long ago."""
    try:
        await trim_moves(store, service)
    except (AuthenticationFailed, StoreRejected) as error:  # an ACL of an earlier version
        log.warning("the moves of %s cannot be trimmed: %s", service, error)


def note_repaired(store: Store, service: Service, repaired: Repaired) -> None:
    """Log and count what was mended."""
    facts = {name: getattr(repaired, name) for name in ("expired", "moved", "found", "broken")}
    if any(facts.values()):
        log.info("index repaired", extra={"service": str(service), **facts})
    for kind, count in facts.items():
        if count:
            store.meter.drift_repaired(service, kind, count)
