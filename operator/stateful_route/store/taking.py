"""How a pod takes a uid, so that no two processes ever have the same epoch of one uid: takeLink, in Python."""

from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from stateful_route.domain.names import check_ordinal
from stateful_route.store.connection import Store
from stateful_route.store.counts import NO_EFFECT, Effect
from stateful_route.store.keys import Service
from stateful_route.store.links import Request, answered, check_epoch
from stateful_route.store.scripts import Call, script


class Which(StrEnum):
    """Which link a pod may take; the words are the script's."""

    ANY = "any"
    """Also one that another pod has for good."""
    UNOWNED = "unowned"
    """None that another pod has for good."""
    NAMED = "named"
    """Only one that names the pod."""
    SAME = "same"
    """Only one that names the pod since just the epoch that is given; it gets a new epoch."""


class TakeOutcome(IntEnum):
    """What became of the attempt; the numbers are the script's."""

    REFUSED = 0
    TAKEN = 1
    STANDING = 2
    """The link names the pod for good, since an epoch that was given to somebody else: to another life of the pod, or
    by whoever moved the link here. Nothing was changed."""


class Taken(NamedTuple):
    """What the attempt to take a link did.

    Attributes:
        outcome: See there.
        ordinal: The pod that the link names now; None: there is no link.
        epoch: Its epoch now; None: there is no link, or a foreign client made it.
        previous: The pod that it named before; None: there was no link.
    """

    outcome: TakeOutcome
    ordinal: int | None
    epoch: int | None
    previous: int | None

    @property
    def displaced(self) -> int | None:
        """The pod that has lost the uid to the one that took it; None: none has."""
        taken = self.outcome is TakeOutcome.TAKEN and self.previous != self.ordinal
        return self.previous if taken else None


class Bid(NamedTuple):
    """What a pod wants of a link.

    Attributes:
        which: Which link it may take.
        epoch: Since when it has the uid; None: it does not.
        persistent: The link has no time to live afterwards; False: a link that names the pod keeps what it has.
    """

    which: Which
    epoch: int | None = None
    persistent: bool = True


def take_link_request(service: Service, uid: str, ordinal: int, bid: Bid) -> Request[Taken]:
    """`take_link`, for a pipeline."""
    held = -1 if bid.epoch is None else check_epoch(bid.epoch)
    args = (uid, service.name, check_ordinal(ordinal), held, bid.which, int(bid.persistent))
    call = Call(script("takeLink"), service.uid_keys(uid), args, (service.counts,))
    return Request(call, _taken, _takes)


async def take_link(store: Store, service: Service, uid: str, ordinal: int, bid: Bid) -> Taken:
    """Take ``uid`` for the pod, or make sure that the pod has it; an epoch that is given here is given to nobody else.

    Raises:
        InvalidArgument, StoreUnavailable, StoreRejected: see there.
    """
    return await answered(store, take_link_request(service, uid, ordinal, bid))


def _takes(reply: Any) -> Effect:
    outcome, ordinal, _, previous = reply
    return Effect.relinked(previous, ordinal) if outcome == TakeOutcome.TAKEN else NO_EFFECT


def _taken(reply: Any) -> Taken:
    outcome, *rest = reply
    ordinal, epoch, previous = (None if value < 0 else value for value in rest)
    return Taken(TakeOutcome(outcome), ordinal, epoch, previous)
