"""The links themselves: one function per script; nothing else knows the order of its keys and arguments.

Each comes in two forms: ``…_request``, for a pipeline, and the function that sends it, one round trip.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import check_load, check_ordinal, check_uid, shown
from stateful_route.domain.renewal import Renewal
from stateful_route.store.connection import Store
from stateful_route.store.counts import NO_EFFECT, Effect, NoRoom, adjust
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script

T = TypeVar("T")

PERSISTENT = -1
"""As seconds to live: the link has none, it stays until somebody removes it."""


MAX_SECONDS = 2**31 - 1
"""68 years; a longer time to live is a mistake in its unit."""

MAX_EPOCH = 2**40 - 1

SERVICES_PER_CALL = 200


class Link(NamedTuple):
    """The pod that a uid is linked to, and the epoch since when."""

    ordinal: int
    epoch: int


class Relinked(NamedTuple):
    """What setting a link did: the pod before (None: there was no link) and the link's epoch now."""

    previous: int | None
    epoch: int


class Tried(NamedTuple):
    """What trying to set a link did: whether it was set, the link that stands now, and the pod before (None: none)."""

    done: bool
    ordinal: int
    epoch: int
    previous: int | None = None


class Removed(NamedTuple):
    """What removing a link did; it is as true as ``done``.

    Attributes:
        done: A link was removed or retained.
        ordinal: The pod that the link named; None: there was no link, or its value was no pod index.
        epoch: The epoch by which the removal can be told: the new one of a retained link, else the one that the removed
            link had; -1: it had none (a foreign client made it), or nothing was removed.
    """

    done: bool
    ordinal: int | None
    epoch: int

    def __bool__(self) -> bool:
        return self.done


@dataclass(frozen=True, slots=True)
class Computed:
    """The link that stands now, and the pod before: the same one for a link that was there, None where none was."""

    ordinal: int
    epoch: int
    previous: int | None
    lives_ms: int | None = field(default=None, compare=False)
    """How long the link lives if nobody uses it; None: for good."""
    doubted: bool = False
    """The link names one of the pods that the caller has doubted: nothing was changed; its epoch is -1 for none yet."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a caller knows of the pods, from its snapshot of their states.

    Attributes:
        loads: Pod index → load of the pods that take new uids; smaller is less.
        dead: Pods that serve nobody, or whose links move (``links: drain`` or ``move`` in the operator's record): a uid
            that is linked to one of them gets another pod at once. Not candidates, whatever ``loads`` says.
        doubted: Pods that are taken for dead by a caller that has not made sure of it: a uid that is linked to one of
            them stays, and the answer says so. Not candidates either.
        turn: Among the candidates of the lowest load, in the order of ``loads``, the ``turn``-th is chosen, round and
            round; in a batch each uid is one turn on.
        limit: How many links a pod may have that takes a uid; 0: any number. Full ones are left out, and those of a
            higher load take their place.
    """

    loads: Mapping[int, float]
    dead: frozenset[int] = frozenset()
    turn: int = 0
    doubted: frozenset[int] = frozenset()
    limit: int = 0

    _words: tuple[str, str, tuple[Any, ...]] = field(init=False, repr=False, compare=False)
    """As the script takes them; made once for all uids of a batch."""

    def __post_init__(self) -> None:
        for ordinal in (*self.loads, *self.dead, *self.doubted):
            check_ordinal(ordinal)
        for load in self.loads.values():
            check_load(load)
        if not isinstance(self.turn, int) or isinstance(self.turn, bool) or self.turn < 0:
            raise InvalidArgument(f"a turn is a number from 0, not {shown(self.turn)}")
        left = self.dead | self.doubted
        living = {ordinal: load for ordinal, load in self.loads.items() if ordinal not in left}
        lowest = min(living.values(), default=0)
        best = [ordinal for ordinal, load in living.items() if load == lowest]  # without a limit nobody else is chosen
        chosen = [word for pair in living.items() for word in pair] if self.limit > 0 else best
        object.__setattr__(self, "_words", (_listed(self.dead), _listed(self.doubted), tuple(chosen)))

    def words(self, later: int = 0) -> tuple[Any, ...]:
        """The script's arguments for a uid, so many turns later."""
        dead, doubted, chosen = self._words
        if not chosen:
            return dead, doubted, 0, 0
        if self.limit > 0:
            return dead, doubted, self.turn + later, self.limit, *chosen
        return dead, doubted, 0, 0, chosen[(self.turn + later) % len(chosen)], 0

    def ranked(self) -> list[int]:
        """The pods that may take a uid, the least loaded first; among those of the same load it is somebody's turn."""
        left = self.dead | self.doubted
        living = [(load, ordinal) for ordinal, load in self.loads.items() if ordinal not in left]
        lowest = min(living, default=(0.0, 0))[0]
        best = [ordinal for load, ordinal in living if load == lowest]
        first = self.turn % len(best) if best else 0
        return [*best[first:], *best[:first], *(ordinal for load, ordinal in sorted(living) if load != lowest)]


Placed = Computed | NoRoom | None
"""The link that stands now; or why there is none: `NoRoom`, or None when nobody may take the uid."""


class Request(NamedTuple, Generic[T]):
    """A script call, and what its reply means."""

    call: Call
    decoded: Callable[[Any], T]
    effect: Callable[[Any], Effect] = lambda _reply: NO_EFFECT
    """What the call has done to the counts of its service, by its reply."""


async def answered(store: Store, request: Request[T]) -> T:
    """Send a request and decode its reply; one round trip.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    reply = await store.run(request.call)
    for counts in request.call.counts:
        await adjust(store, counts, request.effect(reply))
    return request.decoded(reply)


# Setting


def set_link_request(service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Request[Relinked]:
    """`set_link`, for a pipeline."""
    call = _set_call("statefulSetLink", service, uid, ordinal, seconds)
    return Request(call, _relinked, lambda reply: Effect.relinked(reply[0], ordinal, _ms(seconds)))


def set_link_call(service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Call:
    """The script call behind `set_link`; it replies ``[previous or -1, epoch]``."""
    return set_link_request(service, uid, ordinal, seconds).call


async def set_link(store: Store, service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Relinked:
    """Link ``uid`` to the pod, whatever it is linked to now.

    Raises:
        InvalidArgument, StoreUnavailable, StoreRejected: see there.
    """
    return await answered(store, set_link_request(service, uid, ordinal, seconds))


def try_set_link_request(service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Request[Tried]:
    """`try_set_link`, for a pipeline."""
    call = _set_call("statefulTrySetLink", service, uid, ordinal, seconds)
    return Request(
        call, _tried, lambda reply: Effect.relinked(reply[3], ordinal, _ms(seconds)) if reply[0] else NO_EFFECT
    )


async def try_set_link(store: Store, service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Tried:
    """Link ``uid`` to the pod unless another pod has a persistent link to it; errors as `set_link`."""
    return await answered(store, try_set_link_request(service, uid, ordinal, seconds))


def set_link_if_absent_request(service: Service, uid: str, ordinal: int, seconds: int) -> Request[Link]:
    """`set_link_if_absent`, for a pipeline."""
    call = _set_call("statefulSetLinkIfAbsent", service, uid, ordinal, seconds)
    return Request(call, _link, lambda reply: Effect.relinked(-1, reply[0], _ms(seconds)) if reply[2] else NO_EFFECT)


async def set_link_if_absent(store: Store, service: Service, uid: str, ordinal: int, seconds: int) -> Link:
    """Link ``uid`` to the pod unless it is linked already; the link that stands afterwards.

    Raises:
        StoreRejected: a foreign client has put something there that is no pod index; it is left untouched.
    """
    return await answered(store, set_link_if_absent_request(service, uid, ordinal, seconds))


def compute_link_if_absent_request(
    service: Service, uid: str, candidates: Candidates, renewal: Renewal | int, later: int = 0, taken: int = -1
) -> Request[Placed]:
    """`compute_link_if_absent`, for a pipeline.

    Args:
        service: Of which service.
        uid: Whose link.
        candidates: Who may take the uid.
        renewal: As there.
        later: How many turns after the first uid.
        taken: The pod on which room was taken for the link (`counts.take_room`); -1: none.
    """
    if not isinstance(renewal, Renewal):
        renewal = Renewal.of(_check_seconds(renewal))
    args = (uid, service.name, _check_seconds(renewal.seconds), renewal.below_ms, *candidates.words(later))
    call = Call(script("statefulComputeLinkIfAbsent"), service.uid_keys(uid), args, (service.counts,))

    def effect(reply: Any) -> Effect:
        ordinal, _, before, lives, _ = reply
        given_back = Effect.relinked(taken, -1)
        new = ordinal >= 0 and ordinal != before
        return Effect.relinked(before, ordinal, lives).plus(given_back) if new else given_back

    return Request(call, _computed, effect)


async def compute_link_if_absent(
    store: Store, service: Service, uid: str, candidates: Candidates, renewal: Renewal | int
) -> Placed:
    """The link of ``uid``; one to a dead pod, or none, is first made one to the best candidate.

    ``renewal`` says how long the link lives that is made or renewed, and when one that is found is renewed; a number of
    seconds stands for `Renewal.of` that number.
    None when there is no candidate for a uid that needs one: nothing was changed. `NoRoom` when there are some, and all
    have reached their limit (see `placing.place`). Nor was anything changed where the link names a pod that is only
    doubted (`Computed.doubted`). Whoever moves a uid by it tells that, see `Announcer`.

    Raises:
        StoreRejected: a foreign client has put something there that is no pod index; it is left untouched.
    """
    return await answered(store, compute_link_if_absent_request(service, uid, candidates, renewal))


# Reading


def get_link_request(service: Service, uid: str) -> Request[Link | None]:
    """`get_link`, for a pipeline."""
    link, _, index = service.uid_keys(uid)
    return Request(Call(script("statefulGetLink"), (link, index), (uid,)), _link_or_none)


async def get_link(store: Store, service: Service, uid: str) -> Link | None:
    """The link of ``uid``, temporary or persistent, or None; the epoch is -1 for a foreign client's link.

    Raises:
        StoreRejected: a foreign client has put something there that is no pod index.
    """
    return await answered(store, get_link_request(service, uid))


def get_link_if_persist_request(service: Service, uid: str) -> Request[Link | None]:
    """`get_link_if_persist`, for a pipeline."""
    link, _, index = service.uid_keys(uid)
    return Request(Call(script("statefulGetLinkIfPersist"), (link, index), (uid,)), _link_or_none)


async def get_link_if_persist(store: Store, service: Service, uid: str) -> Link | None:
    """The link of ``uid`` if it has no time to live, else None; otherwise as `get_link`."""
    return await answered(store, get_link_if_persist_request(service, uid))


def check_whose(namespace: str, uid: str) -> str:
    """The key of all links of ``uid``; raises `InvalidArgument` for what cannot be stored."""
    return Service(namespace, "any").links(check_uid(uid))


async def get_link_service(store: Store, namespace: str, uid: str) -> dict[str, int]:
    """Service → pod index of all services that ``uid`` is linked to; fields whose link has expired are dropped.

    Two round trips: the services are read first, because a script declares all its keys. A service that is linked
    between the two is found by the next call. Fields that no service can be called, and links that hold no pod index,
    are left as they are and not given.
    """
    links = check_whose(namespace, uid)
    services = []
    for name in sorted(await store.command("HKEYS", links)):
        try:
            services.append(Service(namespace, name.decode()))
        except (InvalidArgument, UnicodeDecodeError):
            continue
    found = {}
    for start in range(0, len(services), SERVICES_PER_CALL):
        part = services[start : start + SERVICES_PER_CALL]
        keys = [links]
        for service in part:
            keys += (service.link(uid), service.index(service.bucket(uid)))
        args = (uid, *(service.name for service in part))
        call = Call(script("statefulGetLinkService"), keys, args, [service.counts for service in part])
        for service, ordinal in zip(part, await store.run(call), strict=True):
            if ordinal >= 0:
                found[service.name] = ordinal
    return found


def is_owner_request(service: Service, uid: str, ordinal: int, epoch: int) -> Request[bool]:
    """`is_owner`, for a pipeline."""
    args = (uid, service.name, check_ordinal(ordinal), check_epoch(epoch))
    return Request(Call(script("isOwner"), service.uid_keys(uid), args), bool)


async def is_owner(store: Store, service: Service, uid: str, ordinal: int, epoch: int) -> bool:
    """The fence: whether the pod still owns ``uid`` since ``epoch``; one that asks before it writes elsewhere is safe.

    False also for the epoch -1 of a foreign client's link, and for a link that is only retained.
    """
    return await answered(store, is_owner_request(service, uid, ordinal, epoch))


# Removing


def remove_link_request(service: Service, uid: str, keep_seconds: int = 0) -> Request[Removed]:
    """`remove_link`, for a pipeline; gives all that there is to tell of the link that was removed."""
    args = (uid, service.name, _check_keep(keep_seconds))
    call = Call(script("statefulRemoveLink"), service.uid_keys(uid), args, (service.counts,))
    return Request(call, _removed, lambda reply: _without(reply, keep_seconds))


async def remove_link(store: Store, service: Service, uid: str, keep_seconds: int = 0) -> bool:
    """Remove the link of ``uid``; whether there was one.

    With ``keep_seconds`` it is retained so long: late callers find the pod, nobody owns the uid (`is_owner`).
    """
    return (await answered(store, remove_link_request(service, uid, keep_seconds))).done


def remove_link_with_id_request(service: Service, uid: str, ordinal: int, keep_seconds: int = 0) -> Request[Removed]:
    """`remove_link_with_id`, for a pipeline; gives all that there is to tell of the link that was removed."""
    args = (uid, service.name, check_ordinal(ordinal), _check_keep(keep_seconds))
    call = Call(script("statefulRemoveLinkWithId"), service.uid_keys(uid), args, (service.counts,))
    return Request(call, _removed, lambda reply: _without(reply, keep_seconds))


async def remove_link_with_id(store: Store, service: Service, uid: str, ordinal: int, keep_seconds: int = 0) -> bool:
    """Remove the link of ``uid`` as `remove_link` if it names the pod, else change nothing; whether it did."""
    return (await answered(store, remove_link_with_id_request(service, uid, ordinal, keep_seconds))).done


def _set_call(name: str, service: Service, uid: str, ordinal: int, seconds: int) -> Call:
    args = (uid, service.name, check_ordinal(ordinal), _check_seconds(seconds))
    return Call(script(name), service.uid_keys(uid), args, (service.counts,))


def check_epoch(epoch: int) -> int:
    """The epoch, -1 for none; raises `InvalidArgument` for what is none."""
    if not isinstance(epoch, int) or isinstance(epoch, bool) or not -1 <= epoch <= MAX_EPOCH:
        raise InvalidArgument(f"an epoch is a number from 0 to {MAX_EPOCH}, or -1 for none, not {shown(epoch)}")
    return epoch


def _check_seconds(seconds: int) -> int:
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or (seconds != PERSISTENT and not 0 < seconds <= MAX_SECONDS):
        raise InvalidArgument(
            f"a link lives a whole number of seconds from 1 to {MAX_SECONDS}, or {PERSISTENT} for ever, "
            f"not {shown(seconds)}"
        )
    return seconds


def _check_keep(seconds: int) -> int:
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_SECONDS:
        raise InvalidArgument(f"a link is kept a whole number of seconds from 0 to {MAX_SECONDS}, not {shown(seconds)}")
    return seconds


def _relinked(reply: Any) -> Relinked:
    previous, epoch = reply
    return Relinked(None if previous < 0 else previous, epoch)


def _tried(reply: Any) -> Tried:
    done, ordinal, epoch, previous = reply
    return Tried(bool(done), ordinal, epoch, None if previous < 0 else previous)


def _removed(reply: Any) -> Removed:
    done, ordinal, epoch = reply
    return Removed(bool(done), None if ordinal < 0 else ordinal, epoch)


def _link(reply: Any) -> Link:
    return Link(*reply[:2])


def _ms(seconds: int) -> int:
    return -1 if seconds == PERSISTENT else seconds * 1000


def _without(reply: Any, keep_seconds: int) -> Effect:
    if keep_seconds:
        return Effect.relinked(reply[1], reply[1], keep_seconds * 1000) if reply[0] else NO_EFFECT
    return Effect.relinked(reply[1], -1) if reply[0] else NO_EFFECT


def _link_or_none(reply: Any) -> Link | None:
    return None if reply[0] < 0 else Link(*reply)


def _computed(reply: Any) -> Placed:
    ordinal, epoch, previous, lives, doubted = reply
    if ordinal < 0:
        return NoRoom(doubted) if doubted else None
    return Computed(
        ordinal, epoch, None if previous < 0 else previous, None if lives < 0 else lives, doubted=bool(doubted)
    )


def _listed(ordinals: Collection[int]) -> str:
    return "," + "".join(f"{ordinal}," for ordinal in sorted(ordinals)) if ordinals else ""
