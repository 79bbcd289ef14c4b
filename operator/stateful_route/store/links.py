"""The links themselves: one function per script; nothing else knows the order of its keys and arguments."""

from typing import NamedTuple

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import check_ordinal
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script

PERSISTENT = -1
"""As seconds to live: the link has none, it stays until somebody removes it."""


MAX_SECONDS = 2**31 - 1
"""68 years; a longer time to live is a mistake in its unit."""


class Link(NamedTuple):
    """The pod that a uid is linked to, and the epoch since when."""

    ordinal: int
    epoch: int


class Relinked(NamedTuple):
    """What setting a link did: the pod before (None: there was no link) and the link's epoch now."""

    previous: int | None
    epoch: int


def set_link_call(service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Call:
    """The script call behind `set_link`, for use in a pipeline; it replies ``[previous or -1, epoch]``."""
    return Call(script("statefulSetLink"), service.uid_keys(uid), _set_args(service, uid, ordinal, seconds))


async def set_link(store: Store, service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Relinked:
    """Link ``uid`` to the pod, whatever it is linked to now; one round trip.

    Raises:
        InvalidArgument, StoreUnavailable, StoreRejected: see there.
    """
    previous, epoch = await store.run(set_link_call(service, uid, ordinal, seconds))
    return Relinked(None if previous < 0 else previous, epoch)


async def set_link_if_absent(store: Store, service: Service, uid: str, ordinal: int, seconds: int) -> Link:
    """Link ``uid`` to the pod unless it is linked already; the link that stands afterwards.

    Raises:
        StoreRejected: a foreign client has put something there that is no pod index; it is left untouched.
    """
    args = _set_args(service, uid, ordinal, seconds)
    return Link(*await store.run(Call(script("statefulSetLinkIfAbsent"), service.uid_keys(uid), args)))


async def get_link(store: Store, service: Service, uid: str) -> Link | None:
    """The link of ``uid``, temporary or persistent, or None; the epoch is -1 for a foreign client's link."""
    link, _, index = service.uid_keys(uid)
    ordinal, epoch = await store.run(Call(script("statefulGetLink"), (link, index), (uid,)))
    return None if ordinal < 0 else Link(ordinal, epoch)


def _set_args(service: Service, uid: str, ordinal: int, seconds: int) -> tuple[str, str, int, int]:
    if seconds != PERSISTENT and (not isinstance(seconds, int) or not 0 < seconds <= MAX_SECONDS):
        raise InvalidArgument(
            f"a link lives a whole number of seconds from 1 to {MAX_SECONDS}, or {PERSISTENT} for ever, not {seconds!r}"
        )
    return uid, service.name, check_ordinal(ordinal), seconds
