# Generated from links.py by tools/twins.py: change that one, then run: make twins
"""The links themselves: one function per script; nothing else knows the order of its keys and arguments.

Each comes in two forms: ``…_request``, for a pipeline, and the function that sends it, one round trip.
"""

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.renewal import Renewal
from stateful_route.store.connection_sync import Store
from stateful_route.store.counts_sync import adjust
from stateful_route.store.keys import Service
from stateful_route.store.links import (
    PERSISTENT,
    SERVICES_PER_CALL,
    Candidates,
    Link,
    Placed,
    Relinked,
    Request,
    T,
    Tried,
    check_whose,
    compute_link_if_absent_request,
    get_link_if_persist_request,
    get_link_request,
    is_owner_request,
    remove_link_request,
    remove_link_with_id_request,
    set_link_if_absent_request,
    set_link_request,
    try_set_link_request,
)
from stateful_route.store.scripts import Call, script


def answered(store: Store, request: Request[T]) -> T:
    """Send a request and decode its reply; one round trip.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    reply = store.run(request.call)
    for counts in request.call.counts:
        adjust(store, counts, request.effect(reply))
    return request.decoded(reply)


def set_link(store: Store, service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Relinked:
    """Link ``uid`` to the pod, whatever it is linked to now.

    Raises:
        InvalidArgument, StoreUnavailable, StoreRejected: see there.
    """
    return answered(store, set_link_request(service, uid, ordinal, seconds))


def try_set_link(store: Store, service: Service, uid: str, ordinal: int, seconds: int = PERSISTENT) -> Tried:
    """Link ``uid`` to the pod unless another pod has a persistent link to it; errors as `set_link`."""
    return answered(store, try_set_link_request(service, uid, ordinal, seconds))


def set_link_if_absent(store: Store, service: Service, uid: str, ordinal: int, seconds: int) -> Link:
    """Link ``uid`` to the pod unless it is linked already; the link that stands afterwards.

    Raises:
        StoreRejected: a foreign client has put something there that is no pod index; it is left untouched.
    """
    return answered(store, set_link_if_absent_request(service, uid, ordinal, seconds))


def compute_link_if_absent(
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
    return answered(store, compute_link_if_absent_request(service, uid, candidates, renewal))


def get_link(store: Store, service: Service, uid: str) -> Link | None:
    """The link of ``uid``, temporary or persistent, or None; the epoch is -1 for a foreign client's link.

    Raises:
        StoreRejected: a foreign client has put something there that is no pod index.
    """
    return answered(store, get_link_request(service, uid))


def get_link_if_persist(store: Store, service: Service, uid: str) -> Link | None:
    """The link of ``uid`` if it has no time to live, else None; otherwise as `get_link`."""
    return answered(store, get_link_if_persist_request(service, uid))


def get_link_service(store: Store, namespace: str, uid: str) -> dict[str, int]:
    """Service → pod index of all services that ``uid`` is linked to; fields whose link has expired are dropped.

    Two round trips: the services are read first, because a script declares all its keys. A service that is linked
    between the two is found by the next call. Fields that no service can be called, and links that hold no pod index,
    are left as they are and not given.
    """
    links = check_whose(namespace, uid)
    services = []
    for name in sorted(store.command("HKEYS", links)):
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
        for service, ordinal in zip(part, store.run(call), strict=True):
            if ordinal >= 0:
                found[service.name] = ordinal
    return found


def is_owner(store: Store, service: Service, uid: str, ordinal: int, epoch: int) -> bool:
    """The fence: whether the pod still owns ``uid`` since ``epoch``; one that asks before it writes elsewhere is safe.

    False also for the epoch -1 of a foreign client's link, and for a link that is only retained.
    """
    return answered(store, is_owner_request(service, uid, ordinal, epoch))


def remove_link(store: Store, service: Service, uid: str, keep_seconds: int = 0) -> bool:
    """Remove the link of ``uid``; whether there was one.

    With ``keep_seconds`` it is retained so long: late callers find the pod, nobody owns the uid (`is_owner`).
    """
    return (answered(store, remove_link_request(service, uid, keep_seconds))).done


def remove_link_with_id(store: Store, service: Service, uid: str, ordinal: int, keep_seconds: int = 0) -> bool:
    """Remove the link of ``uid`` as `remove_link` if it names the pod, else change nothing; whether it did."""
    return (answered(store, remove_link_with_id_request(service, uid, ordinal, keep_seconds))).done
