"""Taking over a service from an owner that is gone, by a person's decision; operators claim and release (states.py)."""

from stateful_route.domain.errors import OwnedElsewhere
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script


async def adopt(store: Store, service: Service, seen: str | None, owner: str | None) -> None:
    """Hand the service to ``owner``, or with None to the operator that claims it next.

    The records of the pods stay as they are: the new operator compares them with its own pods.

    Args:
        store: Where.
        service: What.
        seen: The owner whom it is taken from, None: nobody; what `ServiceView.owner` has said.
        owner: The owner to be, ``<cluster id>/<StatefulRoute uid>``.

    Raises:
        OwnedElsewhere: meanwhile it is somebody else's; nothing was written.
    """
    call = Call(script("adoptService"), (service.owner,), (seen or "", owner or ""))
    done, before = await store.run(call)
    if not done:
        raise OwnedElsewhere(str(service), before.decode(errors="replace"))
