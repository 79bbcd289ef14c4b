# Generated from layout.py by tools/twins.py: change that one, then run: make twins
"""The layout version of a store: what we can follow, and what we must not touch."""

from stateful_route.domain.errors import AuthenticationFailed, LayoutMismatch
from stateful_route.store.connection_sync import Store
from stateful_route.store.failures import says_no_permission
from stateful_route.store.keys import META
from stateful_route.store.layout import LAYOUT_VERSION
from stateful_route.store.scripts import Call, script


def check_layout(store: Store, *, stamp: bool = True) -> None:
    """Read the store's layout version; write ours into a store that has none, unless ``stamp`` is False.

    Where the version stands, reading is all that is done: a tenant need not be able to write it.

    Raises:
        LayoutMismatch: it is newer than ours, or no number: this version must not write there.
        AuthenticationFailed: the user may not read it, or there is none and the user may not write it; the message says
            what to do.
        StoreUnavailable, StoreRejected: see there.
    """
    reply = _read(store)
    if reply is None and (not stamp or _stamped(store)):
        return
    if reply is None:  # another was quicker
        reply = _read(store)
    found = (reply or b"").decode(errors="replace")
    if not (found.isascii() and found.isdigit()) or int(found) > LAYOUT_VERSION:
        raise LayoutMismatch(
            f"{store.label} has layout version {found}, this stateful-route follows version {LAYOUT_VERSION}: "
            "upgrade stateful-route, or use another Redis"
        )


def _read(store: Store) -> bytes | None:
    try:
        reply: bytes | None = store.command("HGET", META, "layout")
    except AuthenticationFailed as error:
        if not says_no_permission(error):
            raise
        raise AuthenticationFailed(
            f"{error}: this user may not read the layout version of the store: allow HGET and the key {META}",
            maybe_written=False,
        ) from error
    return reply


def _stamped(store: Store) -> bool:
    """Whether the store has our version now; False: another process was quicker."""
    try:
        return bool(store.run(Call(script("stampLayout"), (META,), (LAYOUT_VERSION,))))
    except AuthenticationFailed as error:
        if not says_no_permission(error):
            raise
        cli = "valkey-cli -c" if store.cluster else "valkey-cli"
        raise AuthenticationFailed(
            f"{error}: the store has no layout version, and this user may not write the key {META}: have an "
            f"administrator write it once: {cli} HSETNX {META} layout {LAYOUT_VERSION}",
            maybe_written=False,
        ) from error
