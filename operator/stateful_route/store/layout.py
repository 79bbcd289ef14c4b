"""The layout version of a store: what we can follow, and what we must not touch."""

from stateful_route.domain.errors import LayoutMismatch
from stateful_route.store.connection import Store
from stateful_route.store.keys import META
from stateful_route.store.scripts import Call, script

LAYOUT_VERSION = 1


async def check_layout(store: Store, *, stamp: bool = True) -> None:
    """Read the store's layout version; write ours into a store that has none, unless ``stamp`` is False.

    Where the version stands, reading is all that is done: a tenant need not be able to write it.

    Raises:
        LayoutMismatch: it is newer than ours, or no number: this version must not write there.
    """
    reply = await store.command("HGET", META, "layout")
    if reply is None and (not stamp or await store.run(Call(script("stampLayout"), (META,), (LAYOUT_VERSION,)))):
        return
    if reply is None:  # another was quicker
        reply = await store.command("HGET", META, "layout")
    found = (reply or b"").decode(errors="replace")
    if not (found.isascii() and found.isdigit()) or int(found) > LAYOUT_VERSION:
        raise LayoutMismatch(
            f"{store.label} has layout version {found}, this stateful-route follows version {LAYOUT_VERSION}: "
            "upgrade stateful-route, or use another Redis"
        )
