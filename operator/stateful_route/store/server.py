"""Whether a server can be the store at all, told before anything is written there."""

from stateful_route.domain.errors import AuthenticationFailed, StoreRejected, UnfitServer
from stateful_route.store.connection import Store
from stateful_route.store.keys import META
from stateful_route.store.scripts import Call, called_commands, script

SINCE = {"SPUBLISH": "Redis 7.0", "ZMSCORE": "Redis 6.2"}
"""Command → the version that brought it, for those that an old server lacks; all versions of Valkey have them."""


async def check_server(store: Store) -> None:
    """See that the server lets scripts call all commands that ours call.

    It is judged by a script that tries them: a proxy need not know of them, COMMAND may have another name. A user who
    may not run that script is not told: then the first one that fails says what is wrong.

    Raises:
        UnfitServer: it lacks a command or scripts, or is a single node of a Cluster.
        StoreUnavailable, StoreRejected: see there.
    """
    try:
        missing = await store.run(Call(script("checkServer"), (META,), (*called_commands(), store.publish)))
    except AuthenticationFailed:
        missing = []
    except StoreRejected as error:
        text = str(error).lower()
        if "unknown command" not in text:
            raise
        scripts = "the server runs no Lua scripts, or a proxy hands none on"
        why = scripts if "eval" in text else "redis-py, the client, needs it there"  # COMMAND, on a Cluster
        raise UnfitServer(f"{error}: {why}") from error
    if missing:
        names = ", ".join(_with_version(name.decode()) for name in missing)
        raise UnfitServer(f"{store.label} is too old or lacks commands: its scripts cannot call {names}")


def _with_version(name: str) -> str:
    return f"{name} ({SINCE[name]})" if name in SINCE else name
