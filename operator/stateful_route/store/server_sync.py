# Generated from server.py by tools/twins.py: change that one, then run: make twins
"""Whether a server can be the store at all, told before anything is written there."""

from stateful_route.domain.address import host_port
from stateful_route.domain.errors import AuthenticationFailed, UnfitServer
from stateful_route.store.connection_sync import Store
from stateful_route.store.server import NEEDED, NEEDED_ON_CLUSTER


def check_server(store: Store) -> None:
    """See that the server has all commands that the scripts call, and takes writes.

    A user who may not ask is not told: then the first script says what is wrong.

    Raises:
        UnfitServer: it is too old, a read-only replica, or a single node of a Cluster.
    """
    needed = NEEDED_ON_CLUSTER if store.cluster else NEEDED
    try:
        found = store.ask("COMMAND INFO", *needed)
    except AuthenticationFailed:
        found = [True] * len(needed)
    missing = [f"{name} (Redis {needed[name]})" for name, known in zip(needed, found, strict=True) if not known]
    if missing:
        raise UnfitServer(f"{store.label} is too old or lacks commands: {', '.join(missing)}")
    if store.cluster:  # there the primaries are asked, whoever they are
        return
    try:
        role, *rest = store.ask("ROLE")
    except AuthenticationFailed:
        return
    if role in {b"slave", b"replica"}:
        primary = host_port(rest[0].decode(), rest[1])
        raise UnfitServer(
            f"{store.label} is a read-only replica of {primary}: use its primary's address, or redis+sentinel://"
        )
