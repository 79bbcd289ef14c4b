"""What happens when a StatefulRoute is deleted: the state keys that it owns go, its links go if it says so."""

from stateful_route.reconcile.upkeep import adopt_foreign
from stateful_route.store.connection import Store
from stateful_route.store.index import purge
from stateful_route.store.keys import Service
from stateful_route.store.migrate import MOVES_STREAM_SECONDS
from stateful_route.store.states import get_service, release


async def give_up(store: Store, service: Service, owner: str, *, delete_links: bool) -> int:
    """Release the service, if it is ours; how many links were deleted (0 where they stay, or it is another's).

    Pods and callers are told of the purge, so that no pod takes it for a loss and links its uids again.

    Raises:
        StoreUnavailable: it can be called again.
    """
    view = await get_service(store, service) if delete_links else None
    if view is None or view.owner != owner:
        await release(store, service, owner)
        return 0
    await adopt_foreign(store, service)
    purged = await purge(store, service)
    await release(store, service, owner, keep_moves_seconds=MOVES_STREAM_SECONDS)
    return purged.deleted


def keys_left(service: Service, *, delete_links: bool) -> str:
    """The keys that stay behind when the store cannot be reached, for the person who has to delete them."""
    state_keys = f"{service.states} and {service.states}#*"
    if not delete_links:
        return state_keys
    return f"{state_keys}, sf:{{{service.namespace}:lk:*}}{service.name}, sf:*ix:{service.namespace}:{service.name}*"
