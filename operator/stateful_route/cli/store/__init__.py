"""``stateful-route store``: commands for the person on call; they need nothing but the store."""

from stateful_route.cli.store.app import app

__all__ = ["app"]
