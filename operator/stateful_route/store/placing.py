"""Links with a limit: made where there is room; "full" is said once what has expired is counted out."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from time import monotonic

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.domain.renewal import Renewal
from stateful_route.store.batch import Replies, answered_each
from stateful_route.store.connection import Store
from stateful_route.store.counts import NoRoom, take_room
from stateful_route.store.index import recount
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates, Placed, answered, compute_link_if_absent_request
from stateful_route.store.runtime import sleep

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 0.02
"""While somebody else counts."""


async def place(
    opened: Callable[[], Awaitable[Store]], service: Service, uid: str, candidates: Candidates, renewal: Renewal | int
) -> Placed:
    """As `links.compute_link_if_absent`; where it says that nobody has counted, that is done, and it is asked again.

    On a Redis Cluster room is taken before a link is made that falls under a limit.
    `NoRoom.UNCOUNTED` is never given. ``opened`` gives the store, once the request is known to be sound.

    Raises:
        InvalidArgument: a uid that cannot be stored; nothing was sent.
        StoreRejected: as there.
        StoreUnavailable: see there; also when others have been counting for the whole of the store's deadline.
    """
    request = compute_link_if_absent_request(service, uid, candidates, renewal)
    store = await opened()
    until = monotonic() + store.options.deadline_seconds
    while True:
        placed = await answered(store, request)
        if placed is NoRoom.UNCOUNTED and store.cluster:
            placed = await _placed_in_room(store, service, uid, candidates, renewal)
        if placed is not NoRoom.UNCOUNTED:
            return placed
        began = monotonic()
        if began >= until:
            raise StoreUnavailable(
                f"{store.label}: the links of {service} are still being counted, to keep to the limit of its pods"
            )
        counting = store.aside(str(service.counts))
        counting.start(partial(_count, store, service))  # it goes on for those who ask later
        await counting.wait(until - began)
        if monotonic() - began < ASK_AGAIN_SECONDS:
            await sleep(ASK_AGAIN_SECONDS)


async def _count(store: Store, service: Service) -> None:
    try:
        await recount(store, service)
    except StatefulRouteError as error:
        log.debug("the links of %s were not counted: %s", service, error)


async def place_each(
    opened: Callable[[], Awaitable[Store]],
    service: Service,
    uids: Iterable[str],
    candidates: Callable[[str], Candidates],
    renewal: Renewal | int,
) -> Replies[Placed]:
    """As `place`, for many uids: all in one round trip, then one by one those of which room must be counted or taken.

    ``candidates`` says who may take a uid; ``opened`` gives the store, once all requests are known to be sound.
    """
    replies = await answered_each(
        opened, uids, lambda uid, nth: compute_link_if_absent_request(service, uid, candidates(uid), renewal, nth)
    )
    done, failed = dict(replies.done), dict(replies.failed)
    for uid, placed in replies.done.items():
        if placed is NoRoom.UNCOUNTED:
            try:
                done[uid] = await place(opened, service, uid, candidates(uid), renewal)
            except StatefulRouteError as error:
                del done[uid]
                failed[uid] = error
    return Replies(done, failed)


async def _placed_in_room(
    store: Store, service: Service, uid: str, candidates: Candidates, renewal: Renewal | int
) -> Placed:
    """The link, on a Redis Cluster, by two steps: room for it on the best pod that has any, and then itself."""
    room = await take_room(store, service, candidates.limit, [(ordinal, 1) for ordinal in candidates.ranked()], 1)
    if isinstance(room, NoRoom):
        return room
    (ordinal,) = [ordinal for ordinal, given in room.items() if given]
    there = replace(candidates, loads={ordinal: 0.0}, limit=0)
    return await answered(store, compute_link_if_absent_request(service, uid, there, renewal, taken=ordinal))
