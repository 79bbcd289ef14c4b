# Generated from batch.py by tools/twins.py: change that one, then run: make twins
"""Many uids in one round trip: each is answered, or told why not, by itself."""

from collections.abc import Callable, Iterable

from stateful_route.domain.errors import InvalidArgument, StatefulRouteError
from stateful_route.store.batch import REQUESTS_PER_TRIP, Replies, T
from stateful_route.store.connection_sync import Store
from stateful_route.store.counts import NO_EFFECT, Effect
from stateful_route.store.counts_sync import adjust
from stateful_route.store.links import Request


def answered_each(
    opened: Callable[[], Store], uids: Iterable[str], request: Callable[[str, int], Request[T]]
) -> Replies[T]:
    """Ask for each uid once, by ``request(uid, place)``: one round trip (one per node of a Cluster) for each 1,000.

    ``opened`` gives the store, once all requests are known to be sound.

    Raises:
        InvalidArgument: one of the uids cannot be stored; nothing was sent for any.
    """
    if isinstance(uids, (str, bytes)):
        raise InvalidArgument("a batch takes a list of uids, not one text")
    try:
        wanted = list(dict.fromkeys(uids))
    except TypeError:
        raise InvalidArgument("a batch takes a list of uids, each a text") from None
    requests = [request(uid, place) for place, uid in enumerate(wanted)]
    store = opened()
    done: dict[str, T] = {}
    failed: dict[str, StatefulRouteError] = {}
    for start in range(0, len(wanted), REQUESTS_PER_TRIP):
        part = requests[start : start + REQUESTS_PER_TRIP]
        replies = store.run_each([one.call for one in part])
        effects: dict[str, Effect] = {}
        for uid, one, reply in zip(wanted[start : start + REQUESTS_PER_TRIP], part, replies, strict=True):
            if isinstance(reply, StatefulRouteError):
                failed[uid] = reply
            else:
                done[uid] = one.decoded(reply)
                for counts in one.call.counts:
                    effects[counts] = effects.get(counts, NO_EFFECT).plus(one.effect(reply))
        for counts, effect in effects.items():
            adjust(store, counts, effect)
    return Replies(done, failed)
